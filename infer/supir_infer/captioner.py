"""The captioner of a run: which engine says what is in a picture that nobody has captioned.

Place in the flow: `cli` names it in the recipe and loads it once there is work; `folder` shows it the cleaned picture
(the robust encoder's latent, decoded), as the paper does. Heavy imports happen inside.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from supir_console import UserError, load_config

if TYPE_CHECKING:
    from PIL.Image import Image

    from supir_caption.config import CaptionConfig as CaptionConfig
    from supir_caption.inline import Said as Said
    from supir_infer.images import Picture
    from supir_infer.plan import Job
    from supir_infer.restore import Restorer

    Shown = Image | Said | None
    """A picture that is to be captioned, why it cannot be, or nothing."""

ENGINES = ("tags", "vllm", "openai", "transformers")
_MEMORY_SHARE = 0.4  # of a GPU that vLLM shares with the restorer; a config file says otherwise


class Captioner(Protocol):
    """What says what is in pictures: `supir_caption.inline.InlineCaptioner`."""

    def describe(self, images: Sequence[Image]) -> list[Said]:
        """Returns what is said about each picture, in order."""


def captioner_config(engine: str | None, model: str | None, path: Path | None) -> CaptionConfig | None:
    """Returns the config of the captioner that a command line asks for, None for none.

    Args:
        engine: one of `ENGINES`.
        model: as `supir-caption --model`.
        path: YAML file, as `supir-caption --print-config` writes it.

    Raises:
        UserError: the engine is unknown or left out, or the file is no such config.
    """
    if engine is None and path is None:
        if model is not None:
            raise UserError(f"--captioner-model {model} needs --captioner, one of {', '.join(ENGINES)}")
        return None
    if engine is not None and engine not in ENGINES:
        raise UserError(f"--captioner {engine} is unknown; use one of {', '.join(ENGINES)}")
    from supir_caption.config import CaptionConfig

    # What the given picture's detail is like is what is to be changed: the prompt must not ask for it.
    changes = ["tags.tells_detail=false"]
    if engine is not None:
        changes.append(f"engine={engine}")
    if path is None:
        changes.append(f"run.memory_share={_MEMORY_SHARE}")
    config = load_config(CaptionConfig, path, changes)
    if model is None:
        return config
    key = "tags.weights" if config.engine == "tags" else f"{config.engine}.model"
    return load_config(CaptionConfig, path, [*changes, f"{key}={json.dumps(model)}"])


def label_of(config: CaptionConfig | None) -> str | None:
    """Returns the engine and the hash of all that shapes its captions: what a result is told to be made with.

    None for none.
    """
    return None if config is None else f"{config.engine}#{config.made_by_hash()}"


def load_captioner(config: CaptionConfig, device: str) -> Captioner:
    """Returns the captioner, its engine loaded.

    Args:
        config: see `captioner_config`.
        device: of the restorer; a model beside it uses the GPU where it does.

    Raises:
        UserError: a package or model is missing.
    """
    from supir_caption.inline import InlineCaptioner

    return InlineCaptioner(config, num_gpus=int(device.startswith("cuda")))


def shown_of(restorer: Restorer, job: Job, picture: Picture | None) -> Shown:
    """Returns what a captioner is to be shown of a picture: nothing where it has a caption or could not be read.

    What goes wrong with one picture costs its text.
    """
    if picture is None or job.caption:
        return None
    try:
        return restorer.cleaned(picture.rgb)
    except Exception as error:
        return _nothing(error)


def said_of(captioner: Captioner, shown: Shown) -> Said | None:
    """Returns what the captioner says about a picture; None where it was shown none.

    Raises:
        UserError: it answers nobody.
    """
    from PIL.Image import Image

    if not isinstance(shown, Image):
        return shown
    try:
        return captioner.describe([shown])[0]
    except UserError:
        raise
    except Exception as error:
        return _nothing(error)


def _nothing(error: Exception) -> Said:
    from supir_caption.inline import Said
    from supir_infer.outcomes import reason_of

    return Said("", abstains=reason_of(error))


def told(said: Said) -> dict[str, Any]:
    """Returns what was said as a result carries it."""
    return asdict(said)
