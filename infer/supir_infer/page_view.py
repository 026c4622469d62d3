"""What the page's board shows, as plain data: one status line and a row a photo.

Place in the flow: `page_work` changes a `View` while it works, `page/board.js` draws `View.as_dict`.
The law it keeps: versions only grow, over all visitors and restarts, so that the board can tell what is stale.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

State = Literal["ready", "waiting", "working", "done", "failed", "stopped"]

_last_version = 0
_versions = threading.Lock()


def next_version() -> int:
    """Returns a number larger than every one before, exact as a float of JavaScript: microseconds since 1970."""
    global _last_version
    with _versions:
        _last_version = max(_last_version + 1, time.time_ns() // 1000)
        return _last_version


def file_url(path: Path) -> str:
    """Returns where the page finds a file of a visitor's folder, relative to its own address."""
    return "gradio_api/file=" + quote(path.as_posix())


@dataclass(frozen=True, slots=True)
class Row:
    """A photo: what it is called, how far it is, its width and height on the board, px.

    `thumb` is a URL with a small picture of it; `files` holds the URLs `before`, `png` and `jpeg`, and the `name` that
    a download gets; `made_with` is what its PNG carries.
    """

    name: str
    state: State = "waiting"
    note: str = ""
    width: int = 0
    height: int = 0
    thumb: str = ""
    files: dict[str, str] = field(default_factory=dict)
    made_with: dict[str, Any] | None = None

    def waits(self) -> Row:
        """Returns the row of a photo that waits for its turn; one that cannot be used stays failed."""
        return self if self.state == "failed" else replace(self, state="waiting", note="waiting")


@dataclass(frozen=True, slots=True)
class View:
    """All that a visitor sees of the work: `share` of it that is done, 0 to 1; `live` is a URL with the estimate.

    `run` names the work that it is of; `archives` are the URLs of all results, `png` and `jpeg`.
    """

    run: int = field(default_factory=next_version)
    version: int = field(default_factory=next_version)
    status: str = ""
    running: bool = False
    share: float = 0.0
    live: str = ""
    rows: tuple[Row, ...] = ()
    archives: dict[str, str] = field(default_factory=dict)

    def changed(self, **changes: Any) -> View:
        """Returns the view with changes, under a newer version."""
        return replace(self, version=next_version(), **changes)

    def with_row(self, index: int, **changes: Any) -> View:
        """Returns the view with changes of one row, under a newer version."""
        rows = [replace(row, **changes) if i == index else row for i, row in enumerate(self.rows)]
        return self.changed(rows=tuple(rows))

    def as_dict(self) -> dict[str, Any]:
        """Returns it as `board.js` reads it."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "rows"}
        rows = [{name: getattr(row, name) for name in Row.__dataclass_fields__} for row in self.rows]
        return {**fields, "archives": self.archives or None, "rows": rows}
