"""What the page says about its presets and sliders, and which presets it offers.

Place in the flow: `web` builds its controls from this; the values themselves are `settings`'.
"""

from __future__ import annotations

from supir_infer.settings import PRESET_BASES

PRESET_WORDS = {
    "mini": "One step from the photo itself; leaves a clean photo alone",
    "fidelity": "50 steps; stays near the photo",
    "quality": "50 steps; invents more detail",
    "paper": "100 steps as published; slow, pulled towards the photo",
    "few-step": "2 steps; only for models taught to restore in few (distill-sdxl)",
    "few-step-mini": "2 steps; only for models taught to restore in few (distill-mini)",
    "lightning": "8 steps; only with an 8-step Lightning or Hyper-SD base, or such a LoRA",
    "lcm": "4 steps; only with an LCM or DMD2 base, or such a LoRA",
}

WORDS = {
    "caption": "What is in the photo, in plain English. It tells the model what the blur may have been; empty is fine.",
    "upscale": "How many times the photo's width and height the result has. 1 keeps the size.",
    "strength_auto": "By how damaged the photo looks; a clean one comes back as it was.",
    "strength": "0 is the photo as it is, 1 the whole restoration. Lower it where faces or text change.",
    "steps": "More take longer and give finer detail; beyond the preset's number little is gained.",
    "guidance_scale": "How hard to follow the caption and the quality words. High: crisper, more invented. 1 is off.",
    "control_scale": "How closely the result keeps to the photo's shapes. Lower it for very damaged photos.",
    "restore_guidance": "Pulls the result back to the photo. Small numbers pull hardest; 0 is off.",
    "colour_fix": "How colours are brought back to the photo's: coarse colours (wavelet), mean and spread (adain), "
    "mean alone, or not at all.",
    "seed": "Another number gives another variant; the same number the same result.",
    "preview_every": "Shows what the photo looks like so far, every so many steps; 0 never.",
}


def offered(first: str) -> list[str]:
    """Returns the presets that fit a model, the one it starts with first.

    Args:
        first: name of the preset that the command was started with; the others are for the same size of model.
    """
    size = PRESET_BASES[first].size
    return [first, *(name for name, base in PRESET_BASES.items() if base.size == size and name != first)]


def said_of(preset: str) -> str:
    """Returns what the page says about a preset."""
    return f"{PRESET_WORDS[preset]}. Sets the sliders below."
