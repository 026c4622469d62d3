"""The quality words of SUPIR: what is asked for, and what is asked to be avoided.

Place in the flow: `infer` takes the suffix and the negative prompt, the other branch of the guidance, as defaults of
its settings; `train` captions photos by `positive_prompt` and negatives by the negative prompt; `degrade negatives`
draws the prompts that make those negatives from the negative-quality words.
Source: paper section 3.3 and appendix A; term list in the order of the released defaults.
"""

from __future__ import annotations

from typing import Final

POSITIVE_TERMS: Final = (
    "Cinematic",
    "high contrast",
    "highly detailed",
    "shot on a Canon EOS R camera",
    "hyper detailed photo-realistic maximum detail",
    "32k",
    "color grading",
    "ultra HD",
    "extreme meticulous detailing",
    "skin pore detailing",
    "hyper sharpness",
    "perfect without deformations",
)

NEGATIVE_TERMS: Final = (
    "painting",
    "oil painting",
    "illustration",
    "drawing",
    "art",
    "sketch",
    "cartoon",
    "CG style",
    "3D render",
    "unreal engine",
    "blurring",
    "dirty",
    "messy",
    "worst quality",
    "low quality",
    "frames",
    "watermark",
    "signature",
    "jpeg artifacts",
    "deformed",
    "lowres",
    "over-smooth",
)

# The words that captioned the paper's 100 K negative samples (section 3.3).
NEGATIVE_QUALITY_WORDS: Final = (
    "oil painting",
    "cartoon",
    "blurring",
    "dirty",
    "messy",
    "low quality",
    "frames",
    "deformed",
    "lowres",
    "over-smooth",
)

POSITIVE_SUFFIX: Final = ", ".join(POSITIVE_TERMS) + "."
NEGATIVE_PROMPT: Final = ", ".join(NEGATIVE_TERMS)


def positive_prompt(caption: str) -> str:
    """The prompt of the conditional branch: the caption, then the quality suffix.

    Args:
        caption: what is in the picture; may be empty, may be longer than 77 tokens (it is encoded in chunks).
    """
    stem = caption.strip().rstrip(".,")
    return f"{stem}. {POSITIVE_SUFFIX}" if stem else POSITIVE_SUFFIX
