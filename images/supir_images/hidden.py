"""Which names a listing passes over: hidden ones, and those that systems give to files of their own.

Place in the flow: whatever lists a folder or a tar asks here before it looks at a file. The law: one rule for all.
"""

from __future__ import annotations

HIDDEN = {
    *("@eadir", "@recycle", "@recently-snapshot", "#recycle", "$recycle.bin", "__macosx", "lost+found"),
    *("system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini"),
}
"""Names that systems give to files of their own, lower case; those that begin with a dot come on top."""


def hidden_name(path: str) -> str:
    """Returns the part of a path that makes it hidden, "" where none does; macOS's own members are all `._*`.

    Example:
        >>> hidden_name("a/.thumbnails/1.jpg"), hidden_name("a/._1.jpg"), hidden_name("./a.b.jpg")
        ('.thumbnails', '._*', '')
    """
    for part in path.split("/"):
        if part.startswith("._"):
            return "._*"
        if (part.startswith(".") and part not in (".", "..")) or part.lower() in HIDDEN:
            return part
    return ""
