"""One visitor's photos, restored one after the other in a thread of their own while the page looks on.

Place in the flow: `web` starts a `Work` and hands its views to the page. A photo takes the same way as in
`supir-infer`, so its file carries the same metadata.
The law it keeps: one bad photo is a row with its reason and the others go on; the thread waits in line by itself and
ends by itself, so that a visitor who vanishes holds nobody up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional

from supir_console import UserError
from supir_infer.images import read_picture, stored_size, to_bytes
from supir_infer.interrupt import Stopped, stop_here, stoppable
from supir_infer.outcomes import reason_of, write_result
from supir_infer.page_files import data_url, write_archive, write_before, write_jpeg
from supir_infer.page_rows import gone
from supir_infer.page_view import Row, View, file_url
from supir_infer.picture_names import picture_names
from supir_infer.plan import Job, Recipe
from supir_infer.restore import Restorer
from supir_infer.sizes import plan_sizes
from supir_infer.waiting_line import WaitingLine
from supir_model import Supir
from supir_model.sampler import OnStep, Step

LIVE_LATENT = 64  # side in latent px of the estimate that is decoded for the board: 512 px
LOOK_S = 0.1
LONGEST_NAME = 200  # bytes, and no letter has more than four


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done: photos by their files, what they are made with, and when to show the estimate.

    `preview_every` is in steps, 0 is never.
    """

    uploads: tuple[Path, ...]
    caption: str
    recipe: Recipe
    preview_every: int


class Work:
    """An order being carried out.

    Args:
        supir: the network.
        line: who may use it.
        order: what to do.
        rows: the photos' rows on the board, in the order of its uploads.
        folder: for the results.
    """

    def __init__(
        self, supir: Supir, line: WaitingLine, order: Order, rows: Sequence[Row], folder: Path
    ) -> None:
        self.order = order
        self.problem: Exception | None = None
        self._restorer = Restorer(supir, order.recipe.settings)
        self._line = line
        self._stop = threading.Event()
        self._news = threading.Condition()
        self._folder = folder
        self._view = View(status="Starting", running=True, rows=tuple(row.waits() for row in rows))
        self._names = _result_names([row.name for row in rows])
        self._found_clean = 0
        self._thread = threading.Thread(target=self._run, daemon=True, name="supir-web restores")

    @property
    def running(self) -> bool:
        """Whether it goes on: it has not ended and nobody asked it to."""
        return self._view.running and not self._stop.is_set()

    def start(self) -> None:
        """Begins; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Asks it to end before the next call of a network, and says so; returns at once."""
        self._stop.set()
        with self._news:
            if self._view.running:
                self._view = self._view.changed(status="Stopping")
                self._news.notify_all()

    def join(self) -> None:
        """Waits for its end."""
        self._thread.join()

    def views(self) -> Iterator[View]:
        """Yields the view whenever it changed, a few times a second at most; ends with the work."""
        view = None
        while view is None or view.running:
            with self._news:
                while view is self._view:
                    self._news.wait()
                view = self._view
            yield view
            time.sleep(LOOK_S)

    # --- in the thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with self._line.turn(self._stop.is_set, self._tell_place) as has_turn:
                if has_turn:
                    for index in range(len(self.order.uploads)):
                        self._restore_row(index)
            self._finish()
        except Exception as error:  # whatever it is, the visitor must hear of it
            self.problem = error
            self._tell(status=reason_of(error), running=False, live="")

    def _tell(self, **changes: object) -> None:
        with self._news:
            self._view = self._view.changed(**changes)
            self._news.notify_all()

    def _tell_row(self, index: int, **changes: object) -> None:
        with self._news:
            self._view = self._view.with_row(index, **changes)
            self._news.notify_all()

    def _tell_place(self, ahead: int) -> None:
        others = "1 other is" if ahead == 1 else f"{ahead} others are"
        self._tell(status=f"Waiting: {others} before you" if ahead else "Starting")

    def _restore_row(self, index: int) -> None:
        if self._stop.is_set() or self._view.rows[index].state == "failed":
            return
        self._tell_row(index, state="working", note="working")
        self._tell(status=self._place_of(index), share=0.0, live="")
        try:
            with stoppable(self._restorer.supir, self._stop.is_set):
                self._restore(index)
        except Stopped:
            self._tell_row(index, state="stopped", note="stopped")
        except Exception as error:  # one bad photo is a row, whatever is wrong with it
            self._tell_row(index, state="failed", note=reason_of(error))

    def _restore(self, index: int) -> None:
        upload, row = self.order.uploads[index], self._view.rows[index]
        if not upload.exists():
            raise UserError(gone(upload))
        plan_sizes(stored_size(upload), self._restorer.settings)  # refused before a pixel is decoded
        picture = read_picture(upload)
        stop_here()
        seed = self.order.recipe.seed
        outcome = self._restorer.restore(picture.rgb, self.order.caption, seed, self._step_teller(index))
        stop_here()  # what is written takes as long as what is computed where a large photo is clean
        png, jpeg, before = (self._file(index, end) for end in (".png", ".jpg", "-before.png"))
        job = Job(upload, png, self.order.caption, picture.sha256)
        made_with = write_result(job, picture, outcome, self.order.recipe, self._restorer)
        stop_here()
        write_before(before, picture, outcome.sizes.output)
        write_jpeg(jpeg, outcome.image, picture, made_with, self._restorer.settings.output_quality)
        urls = {"before": file_url(before), "png": file_url(png), "jpeg": file_url(jpeg)}
        width, height = outcome.sizes.output
        self._found_clean += outcome.strength == 0
        self._tell_row(
            index,
            state="done",
            note=f"{row.width}×{row.height} → {width}×{height} px"
            + (", clean already: as it was" if outcome.strength == 0 else ""),
            width=width,
            height=height,
            files={**urls, "name": self._names[index]},
            made_with=made_with,
        )

    def _step_teller(self, index: int) -> OnStep:
        started = time.monotonic()
        steps, every = self._restorer.num_steps, self.order.preview_every

        def tell(step: Step) -> None:
            if self._stop.is_set():
                return  # "Stopping" stands there
            done = step.index + 1
            left_s = (time.monotonic() - started) / done * (steps - done)
            status = f"{self._place_of(index)}: step {done} of {steps}, {_about(left_s)} left"
            live = self._view.live
            if every and done % every == 0 and done < steps:
                live = self._estimate(step.restored)
            self._tell(status=status, share=done / steps, live=live)

        return tell

    @torch.no_grad()
    def _estimate(self, latent: torch.Tensor) -> str:
        """A URL with the picture that a latent (1, C, h, w) stands for, at most 512 px a side."""
        longest = max(latent.shape[-2:])
        if longest > LIVE_LATENT:
            size = [max(4, round(side * LIVE_LATENT / longest / 4) * 4) for side in latent.shape[-2:]]
            latent = functional.interpolate(latent, size=size, mode="area")
        image = self._restorer.supir.decode(latent)[0].permute(1, 2, 0)
        return data_url(to_bytes(((image + 1) / 2).clamp(0, 1).cpu().numpy()))

    def _file(self, index: int, end: str) -> Path:
        """Where a photo's file lies: under the name that a browser saves it by."""
        return self._folder / str(index) / f"{self._names[index]}{end}"

    def _place_of(self, index: int) -> str:
        return (
            "Restoring" if len(self.order.uploads) == 1 else f"Photo {index + 1} of {len(self.order.uploads)}"
        )

    def _finish(self) -> None:
        rows = self._view.rows
        for index, row in enumerate(rows):
            if row.state == "waiting":
                self._tell_row(index, state="stopped", note="stopped")
        done = sum(row.state == "done" for row in rows)
        failed = sum(row.state == "failed" for row in rows)
        found_clean, restored = self._found_clean, done - self._found_clean
        kept = "it was" if found_clean == 1 else "they were"
        counts = [
            f"{restored} restored" if restored else "",
            f"{found_clean} found clean, left as {kept}" if found_clean else "",
            f"{failed} failed" if failed else "",
        ]
        words = [part for part in ("Stopped" if self._stop.is_set() else "", *counts) if part]
        archives = self._archives() if done > 1 else {}
        self._tell(
            status=", ".join(words) or "Nothing to do", running=False, share=1.0, live="", archives=archives
        )

    def _archives(self) -> dict[str, str]:
        rows = self._view.rows
        results = [
            {"photo": row.name, "state": row.state, "note": row.note, "made_with": row.made_with}
            for row in rows
        ]
        urls = {}
        for kind, suffix in (("png", ".png"), ("jpeg", ".jpg")):
            files = [
                (f"{self._names[index]}{suffix}", self._file(index, suffix))
                for index, row in enumerate(rows)
                if row.state == "done"
            ]
            path = self._folder / f"restored-{kind}.zip"
            write_archive(path, files, results)
            urls[kind] = file_url(path)
        return urls


def _about(seconds: float) -> str:
    return f"about {seconds:.0f} s" if seconds < 100 else f"about {seconds / 60:.0f} min"


def _result_names(photos: Sequence[str]) -> list[str]:
    """What the results are called without their suffix: all different, none longer than file systems take."""
    names = picture_names([Path(photo) for photo in photos])
    return [
        f"{name if len(name.encode()) <= LONGEST_NAME else f'{name[: LONGEST_NAME // 4]}-{index + 1}'}-restored"
        for index, name in enumerate(names)
    ]
