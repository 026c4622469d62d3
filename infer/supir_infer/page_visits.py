"""Who is looking at the page: each visitor's files and work, and the end of both when they leave.

Place in the flow: `web` looks its visitors up here by gradio's session name.
The law it keeps: what a visitor brought and got is deleted when they leave, or a day after their last click where the
browser did not say that they left; an upload that another visitor brought too stays for them (equal files are one). A
visitor has one work at a time, however often and fast they click.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from supir_console import UserError
from supir_infer.page_rows import RowMaker, thumb_px
from supir_infer.page_view import Row
from supir_infer.page_work import Order, Work

FORGOTTEN_AFTER_S = 86400.0


@dataclass(slots=True)
class Visit:
    """A visitor: `folder` holds the files that the page shows them, under a name that nobody can guess."""

    folder: Path
    uploads: set[Path] = field(default_factory=set)
    rows: dict[Path, Row] = field(default_factory=dict)
    work: Work | None = None
    seen: float = field(default_factory=time.monotonic)
    stops: int = 0
    left: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def rows_of(self, paths: Sequence[Path], max_megapixels: float) -> tuple[Row, ...]:
        """Returns the rows of uploads; a picture that can be used is looked at once.

        Args:
            paths: the uploads.
            max_megapixels: a larger picture is refused.
        """
        maker = RowMaker(self.folder / "photos", max_megapixels, thumb_px(len(paths)))
        for path in paths:
            known = self.rows.get(path)
            if known is None or known.state == "failed" or not path.exists():
                self.rows[path] = maker.row_of(path)
        return tuple(self.rows[path] for path in paths)

    def begin(self, order: Order, make: Callable[[Path], Work]) -> Work:
        """Returns the work on an order, begun; where the same goes on already (two clicks on Restore), that.

        What the visitor's last work made is deleted.

        Args:
            order: what is asked for.
            make: returns the work, given an empty folder.

        Raises:
            UserError: the visitor has left.
        """
        stops = self.stops
        with self.lock:
            if self.left:
                raise UserError("the page lost its connection; bring the photos again")
            if self.work is not None and self.work.running and self.work.order == order:
                return self.work
            self._end_work()
            shutil.rmtree(self.folder / "results", ignore_errors=True)
            folder = self.folder / "results" / secrets.token_hex(8)
            folder.mkdir(parents=True)
            self.work = make(folder)
            if self.stops != stops:  # pressed while the last work came to its end
                self.work.stop()
            self.work.start()
            return self.work

    def leave(self) -> None:
        """Ends the visitor's work and deletes the page's files."""
        self.stop()
        with self.lock:
            self.left = True
            self._end_work()
            shutil.rmtree(self.folder, ignore_errors=True)

    def stop(self) -> None:
        """Ends the visitor's work, if any goes on, before its next call of a network."""
        self.stops += 1
        if (work := self.work) is not None:
            work.stop()

    def _end_work(self) -> None:
        if self.work is not None:
            self.work.stop()
            self.work.join()


class Visits:
    """All visitors, by session.

    Args:
        folder: for their folders; its owner deletes it at last.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._visits: dict[str, Visit] = {}
        self._lock = threading.Lock()

    def of(self, session: str, uploads: Sequence[Path] = ()) -> Visit:
        """Returns the session's visit, which keeps `uploads` until it ends; forgets who was not seen for a day."""
        self._forget()
        with self._lock:
            visit = self._visits.setdefault(session, Visit(self._folder / secrets.token_hex(16)))
            visit.seen = time.monotonic()
            visit.uploads.update(uploads)
            return visit

    def leave(self, session: str) -> None:
        """Ends the session's visit: its work stops, its files are deleted."""
        with self._lock:
            visit = self._visits.pop(session, None)
        if visit is None:
            return
        visit.leave()
        with self._lock:
            others = {path for other in self._visits.values() for path in other.uploads}
            for upload in visit.uploads - others:
                upload.unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    upload.parent.rmdir()  # gradio makes one for every file

    def stop_all(self) -> None:
        """Ends all work; waits for it."""
        with self._lock:
            works = [visit.work for visit in self._visits.values() if visit.work is not None]
        for work in works:
            work.stop()
        for work in works:
            work.join()

    def _forget(self) -> None:
        now = time.monotonic()
        with self._lock:
            gone = [name for name, visit in self._visits.items() if now - visit.seen > FORGOTTEN_AFTER_S]
        for session in gone:
            self.leave(session)
