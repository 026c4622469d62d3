"""The restorer as a page: upload, settings, a before/after slider, the PNG with its provenance to download.

Place in the flow: `web_cli` builds and launches it; a picture takes the same way as in `supir-infer`, so the
downloaded file carries the same metadata. One restoration and one preview run at a time, the others wait in
the queue, and nothing gets past it.
The law it keeps: nothing leaves the machine: no analytics, no fonts or scripts from elsewhere, no share link
unless asked for. A bad picture or setting is a message on the page. A picture's size is looked up in its header
and refused above `max_megapixels` before a pixel is decoded; a preview is a thumbnail.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from PIL import Image

from supir_console import UserError
from supir_infer.folder import reason_of, write_result
from supir_infer.images import (
    ByteImage,
    ImageError,
    read_picture,
    read_thumbnail,
    resize,
    stored_size,
    to_bytes,
)
from supir_infer.listing import SUFFIXES
from supir_infer.plan import Job, Recipe
from supir_infer.restore import Restorer
from supir_infer.settings import RestoreSettings, change_settings
from supir_infer.sizes import plan_sizes

QUEUE_LENGTH = 16
MAX_UPLOAD_BYTES = 128 * 2**20
PREVIEW_PX = 1024
CACHE_S = (3600, 86400)  # every hour, files older than a day are deleted
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])


@dataclass(frozen=True, slots=True)
class Studio:
    """What the page restores with: the model, the settings it starts from and the model's identity.

    `folder` holds the files of the latest restoration; gradio copies them before the next one starts.
    """

    restorer: Restorer
    model: str
    model_sha256: str
    folder: Path

    def restore(
        self,
        upload: str | None,
        caption: str | None,
        upscale: float,
        steps: float,
        guidance_scale: float,
        control_scale: float,
        restore_guidance: float,
        colour_fix: str | None,
        seed: float | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - gradio finds the argument by this default
    ) -> tuple[tuple[str, str], str, dict[str, Any]]:
        """Returns the before/after pair, the PNG to download and its metadata.

        Args:
            upload: path of the uploaded file.
            caption: what is in the picture; None is the empty one.
            upscale: output side / input side.
            steps: denoising steps.
            guidance_scale: text guidance at the end.
            control_scale: strength of the LQ control.
            restore_guidance: tau_r, 0 = off.
            colour_fix: wavelet, adain, mean or none.
            seed: of all noise, a whole number from 0.
            progress: gradio's bar.

        Raises:
            gr.Error: the picture or a setting cannot be used; the message says why.
        """
        if upload is None:
            raise _message("no picture yet: drop one on the left")
        changes = {
            "upscale": upscale,
            "steps": steps,
            "guidance_scale": guidance_scale,
            "control_scale": control_scale,
            "restore_guidance": restore_guidance,
            "colour_fix": colour_fix,
        }
        if seed is None or seed < 0 or seed != int(seed):
            raise _message(
                f"Seed is {'empty' if seed is None else seed}; give a whole number from 0, for example 0"
            )
        try:
            settings = change_settings(self.restorer.settings, changes)
            return self._restore(Path(upload), caption or "", settings, int(seed), progress)
        except (ImageError, OSError) as error:
            raise _message(str(error)) from error
        except (UserError, torch.OutOfMemoryError) as error:
            raise _message(reason_of(error)) from error

    def preview(self, upload: str | None) -> ByteImage | None:
        """Returns the uploaded picture the right way up, at most `PREVIEW_PX` wide and high.

        Raises:
            gr.Error: the file is no picture, or too large a one; the message says why.
        """
        if upload is None:
            return None
        try:
            _require_size(Path(upload), self.restorer.settings)
            return read_thumbnail(Path(upload), PREVIEW_PX)
        except (ImageError, UserError) as error:
            raise _message(str(error)) from error

    def _restore(
        self, upload: Path, caption: str, settings: RestoreSettings, seed: int, progress: gr.Progress
    ) -> tuple[tuple[str, str], str, dict[str, Any]]:
        _require_size(upload, settings)
        plan_sizes(stored_size(upload), settings)  # refused before a pixel is decoded, turned or not
        picture = read_picture(upload)
        recipe = Recipe(settings, seed, self.model, self.model_sha256)
        restorer = Restorer(self.restorer.supir, settings)
        outcome = restorer.restore(
            picture.rgb,
            caption,
            seed,
            on_step=lambda step: progress((step.index + 1, restorer.num_steps), "denoising", unit="steps"),
        )
        job = Job(upload, self.folder / f"{upload.stem}-restored.png", caption, picture.sha256)
        metadata = write_result(job, picture, outcome, recipe, restorer)
        image = outcome.image
        shown = to_bytes(image if image.dtype == np.uint8 else image / np.float32(65535))
        before = _save(self.folder / "before.png", to_bytes(resize(picture.rgb, outcome.sizes.output)))
        after = _save(self.folder / "after.png", shown)
        return (before, after), str(job.target), metadata


def build_page(studio: Studio) -> gr.Blocks:
    """Returns the page; its endpoints are `/preview` and `/restore`, see the methods of `Studio`."""
    with gr.Blocks(title="supir-web", analytics_enabled=False, delete_cache=CACHE_S) as page:
        gr.Markdown(f"## Restore a photo\nModel `{studio.model}` on {studio.restorer.supir.device}")
        with gr.Row():
            with gr.Column(scale=1):
                upload = gr.File(label="Photo", file_types=list(SUFFIXES), height=130)
                shown = gr.Image(label="Input", interactive=False, height=200, buttons=["fullscreen"])
                button = gr.Button("Restore", variant="primary")
                settings = _controls(studio.restorer.settings)
            with gr.Column(scale=2):
                slider = gr.ImageSlider(
                    label="Before | after", type="filepath", interactive=False, max_height=620
                )
                download = gr.DownloadButton("Download the PNG, provenance inside")
                with gr.Accordion("Made with", open=False):
                    metadata = gr.JSON(show_label=False)
        upload.upload(studio.preview, upload, shown, api_name="preview")
        button.click(studio.restore, [upload, *settings], [slider, download, metadata], api_name="restore")
    return page.queue(max_size=QUEUE_LENGTH, default_concurrency_limit=1, api_open=False)


def _controls(start: RestoreSettings) -> list[gr.components.Component]:
    """The inputs of `Studio.restore` after the upload, in its order."""
    caption = gr.Textbox(label="What is in it (may stay empty)", lines=2)
    upscale = gr.Slider(1, 8, start.upscale, step=0.5, label="Upscale")
    steps = gr.Slider(1, 100, start.steps, step=1, label="Steps")
    seed = gr.Number(0, precision=0, minimum=0, label="Seed")
    with gr.Accordion("More", open=False):
        guidance = gr.Slider(0, 15, start.guidance_scale, step=0.1, label="Text guidance")
        control = gr.Slider(0, 1.5, start.control_scale, step=0.01, label="Control scale")
        pull = gr.Slider(0, 10, start.restore_guidance, step=0.1, label="Restoration guidance (0 = off)")
        colour = gr.Radio(["wavelet", "adain", "mean", "none"], value=start.colour_fix, label="Colour fix")
    return [caption, upscale, steps, guidance, control, pull, colour, seed]


def _require_size(path: Path, settings: RestoreSettings) -> None:
    width, height = stored_size(path)
    if width * height > settings.max_megapixels * 1e6:
        raise UserError(
            f"{path.name} is {width}x{height} px, more than max_megapixels={settings.max_megapixels:g}; upload a "
            "smaller one, or start supir-web with a larger --set max_megapixels"
        )


def _message(text: str) -> gr.Error:
    return gr.Error(text, print_exception=False)


def _save(path: Path, rgb: ByteImage) -> str:
    Image.fromarray(rgb).save(path, compress_level=1)
    return str(path)
