"""Who is looking at the page: each visitor's files and work, and the end of both when they leave.

Place in the flow: `web` looks its visitors up here by gradio's session name.
The law it keeps: what a visitor brought and got is deleted when they leave, or a day after their last click where the
browser did not say that they left; an upload that another visitor brought too stays for them (equal files are one).
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from supir_infer.page_work import Work

FORGOTTEN_AFTER_S = 86400.0


@dataclass(slots=True)
class Visit:
    """A visitor: `folder` holds the files that the page shows them, under a name that nobody can guess."""

    folder: Path
    uploads: set[Path] = field(default_factory=set)
    work: Work | None = None
    seen: float = field(default_factory=time.monotonic)

    def new_folder(self) -> Path:
        """Returns an empty folder for the next work; what the last one made is deleted."""
        shutil.rmtree(self.folder, ignore_errors=True)
        folder = self.folder / secrets.token_hex(8)
        folder.mkdir(parents=True)
        return folder

    def stop(self) -> None:
        """Ends the visitor's work, if any goes on, before its next call of a network."""
        if self.work is not None:
            self.work.stop()


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
        if visit.work is not None:
            visit.work.stop()
            visit.work.join()
        shutil.rmtree(visit.folder, ignore_errors=True)
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
