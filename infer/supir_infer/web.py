"""The restorer as a page: photos in, a board with before and after, PNG and JPEG with their provenance out.

Place in the flow: `web_cli` builds and launches it; `page_work` does the work, `page/` draws the board, `page_visits`
knows who is there. One photo is restored at a time; other visitors wait in line and see their place in it.
The law it keeps: nothing leaves the machine: no analytics, no fonts or scripts from elsewhere, no share link
unless asked for. A bad picture or setting is a message on the page.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from supir_console import UserError, counted
from supir_infer.listing import SUFFIXES
from supir_infer.outcomes import reason_of
from supir_infer.page_presets import WORDS, said_of
from supir_infer.page_view import View
from supir_infer.page_visits import Visit, Visits
from supir_infer.page_work import Order, Work
from supir_infer.plan import Recipe
from supir_infer.settings import RestoreSettings, change_settings
from supir_infer.waiting_line import WaitingLine
from supir_model import Supir

LINE_LENGTH = 16
MAX_PHOTOS = 50
MAX_UPLOAD_BYTES = 128 * 2**20
LOOKED_AT_ONCE = 2
CACHE_S = (3600, 86400)  # every hour, files older than a day are deleted
PARTS = Path(__file__).parent / "page"
# gradio's grey of what explains a control has a contrast of 2.3 : 1 to white; this one has 4.8
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]).set(
    block_info_text_color="*neutral_500",
    block_info_text_color_dark="*neutral_400",
    body_text_color_subdued="*neutral_500",
    body_text_color_subdued_dark="*neutral_400",
)


@dataclass(frozen=True, slots=True)
class Studio:
    """What the page restores with: the model and its identity, the settings to start from by preset, who is there.

    The first preset is the one that the page starts with.
    """

    supir: Supir
    model: str
    model_sha256: str
    presets: dict[str, RestoreSettings]
    visits: Visits
    line: WaitingLine = field(default_factory=lambda: WaitingLine(LINE_LENGTH))

    @property
    def start(self) -> RestoreSettings:
        """The settings that the page starts with."""
        return next(iter(self.presets.values()))

    def show(self, uploads: list[str] | None, request: gr.Request) -> dict[str, Any]:
        """Returns the board for new uploads; work on earlier ones stops and its results go."""
        paths = [Path(upload) for upload in uploads or []]
        visit = self.visits.of(_session(request), paths)
        visit.stop()
        rows = visit.rows_of(paths[:MAX_PHOTOS], self.start.max_megapixels)
        ready = sum(row.state == "ready" for row in rows)
        words = f"{counted(ready, 'photo')} ready: press Restore" if ready else ""
        if len(paths) > MAX_PHOTOS:
            words = f"Of {len(paths)} photos the first {MAX_PHOTOS} are taken at once. {words}"
        return View(status=words, rows=rows).as_dict()

    def restore(
        self,
        uploads: list[str] | None,
        preset: str,
        caption: str | None,
        upscale: float,
        strength_auto: bool,
        strength: float,
        steps: float,
        guidance_scale: float,
        control_scale: float,
        restore_guidance: float,
        colour_fix: str | None,
        seed: float | None,
        preview_every: float | None,
        request: gr.Request,
    ) -> Iterator[dict[str, Any]]:
        """Yields the board as the work goes on, at last with the URLs of the results.

        Args:
            uploads: paths of the uploaded files.
            preset: one of `presets`; the other arguments are laid over it.
            caption: what is in the pictures; None is the empty one.
            upscale: output side / input side.
            strength_auto: by how degraded a picture is, instead of `strength`.
            strength: share of the restoration in the result.
            steps: denoising steps.
            guidance_scale: text guidance at the end.
            control_scale: strength of the LQ control.
            restore_guidance: tau_r, 0 = off.
            colour_fix: wavelet, adain, mean or none.
            seed: of all noise, a whole number from 0.
            preview_every: steps between two estimates on the board, 0 for none.
            request: whose it is.

        Raises:
            gr.Error: no picture can be used, or a setting; the message says why.
        """
        paths = _photos(uploads)
        if preset not in self.presets:
            raise _message(f"Preset {preset} is unknown; choose {', '.join(self.presets)}")
        changes = {
            "upscale": upscale,
            "strength": "auto" if strength_auto else strength,
            "steps": steps,
            "guidance_scale": guidance_scale,
            "control_scale": control_scale,
            "restore_guidance": restore_guidance,
            "colour_fix": colour_fix,
            "output_format": "png",  # the page hands out PNG, and JPEG beside it
        }
        visit = self.visits.of(_session(request), paths)
        try:
            settings = change_settings(self.presets[preset], changes)
            recipe = Recipe(settings, _seed(seed), self.model, self.model_sha256)
            work = self._begin(visit, Order(paths, caption or "", recipe, int(preview_every or 0)))
        except (UserError, OSError) as error:
            raise _message(reason_of(error)) from error
        try:
            for view in work.views():
                if visit.work is work:
                    yield view.as_dict()
        finally:
            work.stop()  # does nothing where it has ended
        _raise_if_all_failed(work, view)

    def stop(self, request: gr.Request) -> None:
        """Ends the visitor's work; what is restored already stays."""
        self.visits.of(_session(request)).stop()

    def leave(self, request: gr.Request) -> None:
        """Ends the visitor's work and deletes their files."""
        self.visits.leave(_session(request))

    def values_of(self, preset: str) -> list[Any]:
        """Returns what the controls that a preset sets show for it, in the order of `_controls`."""
        settings = self.presets[preset]
        is_auto = settings.strength == "auto"
        return [
            settings.upscale,
            is_auto,
            1.0 if is_auto else settings.strength,
            settings.steps,
            settings.guidance_scale,
            settings.control_scale,
            settings.restore_guidance,
            settings.colour_fix,
        ]

    def _begin(self, visit: Visit, order: Order) -> Work:
        rows = visit.rows_of(order.uploads, order.recipe.settings.max_megapixels)
        return visit.begin(order, lambda folder: Work(self.supir, self.line, order, rows, folder))


def _photos(uploads: list[str] | None) -> tuple[Path, ...]:
    if not uploads:
        raise _message("no photo yet, or it is still on its way; bring one with the field for photos")
    return tuple(Path(upload) for upload in uploads[:MAX_PHOTOS])


def _seed(seed: float | None) -> int:
    if seed is None or not math.isfinite(seed) or seed < 0 or seed != int(seed):
        raise _message(
            f"Seed is {'empty' if seed is None else seed}; give a whole number from 0, for example 0"
        )
    return int(seed)


def build_page(studio: Studio) -> gr.Blocks:
    """Returns the page; its endpoints are `/show`, `/restore` and `/stop`, see the methods of `Studio`."""
    with gr.Blocks(title="supir-web", analytics_enabled=False, delete_cache=CACHE_S) as page:
        gr.Markdown(f"## Restore photos\nModel `{studio.model}` on {studio.supir.device}")
        with gr.Row(elem_id="parts"):
            with gr.Column(elem_id="bring"):
                uploads = gr.File(
                    label=f"Photos, up to {MAX_PHOTOS} at once",
                    file_count="multiple",
                    file_types=list(SUFFIXES),
                    height=150,
                    elem_id="uploads",
                )
                with gr.Row():
                    button = gr.Button("Restore", variant="primary", min_width=120)
                    stop = gr.Button("Stop", min_width=80)
            with gr.Column(elem_id="result"):
                board = gr.HTML(
                    View().as_dict(),
                    html_template=_part("board.html"),
                    css_template=_part("board.css"),
                    js_on_load=_part("board.js"),
                    apply_default_css=False,
                    elem_id="board",
                )
            with gr.Column(elem_id="knobs"):
                settings = _controls(studio)
        quiet: dict[str, Any] = {"show_progress": "hidden"}
        # several at once: nobody waits for another's photos to be looked at
        uploads.change(
            studio.show, uploads, board, api_name="show", concurrency_limit=LOOKED_AT_ONCE, **quiet
        )
        button.click(
            studio.restore,
            [uploads, *settings],
            board,
            api_name="restore",
            concurrency_limit=None,  # they stand in our own line
            trigger_mode="multiple",
            **quiet,
        )
        stop.click(studio.stop, None, None, api_name="stop", concurrency_limit=None, **quiet)
        page.unload(studio.leave)
    return page.queue(max_size=4 * LINE_LENGTH, default_concurrency_limit=1, api_open=False)


def page_style() -> str:
    """Returns the page's own CSS, which `launch` takes."""
    return _part("page.css")


def _controls(studio: Studio) -> list[gr.components.Component]:
    """The inputs of `Studio.restore` after the uploads, in its order."""
    names = list(studio.presets)
    preset = gr.Dropdown(names, value=names[0], label="Preset", info=said_of(names[0]))
    caption = gr.Textbox(label="What is in it", info=WORDS["caption"], lines=2, max_length=2000)
    first = studio.values_of(names[0])
    upscale = gr.Slider(1, 8, first[0], step=0.5, label="Upscale", info=WORDS["upscale"])
    auto = gr.Checkbox(first[1], label="Automatic strength", info=WORDS["strength_auto"])
    strength = gr.Slider(
        0, 1, first[2], step=0.05, label="Strength", info=WORDS["strength"], interactive=not first[1]
    )
    steps = gr.Slider(1, 100, first[3], step=1, label="Steps", info=WORDS["steps"])
    with gr.Accordion("More", open=False):
        guidance = gr.Slider(0, 15, first[4], step=0.1, label="Text guidance", info=WORDS["guidance_scale"])
        control = gr.Slider(0, 1.5, first[5], step=0.01, label="Control", info=WORDS["control_scale"])
        pull = gr.Slider(
            0, 10, first[6], step=0.1, label="Restoration guidance", info=WORDS["restore_guidance"]
        )
        colour = gr.Radio(
            ["wavelet", "adain", "mean", "none"], value=first[7], label="Colours", info=WORDS["colour_fix"]
        )
        seed = gr.Number(0, precision=0, minimum=0, label="Seed", info=WORDS["seed"])
        every = gr.Slider(0, 20, 4, step=1, label="Preview every", info=WORDS["preview_every"])
    set_by_preset = [upscale, auto, strength, steps, guidance, control, pull, colour]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    preset.input(studio.values_of, preset, set_by_preset, **quiet)
    preset.change(lambda name: gr.Dropdown(info=said_of(name)), preset, preset, **quiet)
    auto.change(lambda is_auto: gr.Slider(interactive=not is_auto), auto, strength, **quiet)
    return [preset, caption, *set_by_preset, seed, every]


def _part(name: str) -> str:
    return (PARTS / name).read_text(encoding="utf-8")


def _session(request: gr.Request) -> str:
    return str(request.session_hash)


def _raise_if_all_failed(work: Work, view: View) -> None:
    if work.problem is not None:
        raise _message(reason_of(work.problem))
    reasons = [row.note for row in view.rows if row.state == "failed"]
    if reasons and len(reasons) == len(view.rows):
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        raise _message(reasons[0] + more)


def _message(text: str) -> gr.Error:
    return gr.Error(text, print_exception=False)
