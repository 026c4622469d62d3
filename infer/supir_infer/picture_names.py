"""What each picture of a folder is called without its suffix, so that no two are called the same.

Place in the flow: `plan` names results by it, `matching` finds partners by it. The law: a result's name without .png is
the name of its picture, and of that picture's reference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath


def picture_names(paths: Sequence[PurePath]) -> list[str]:
    """Returns the name of each path: without its suffix, or with it where another would have the same name.

    Args:
        paths: below one folder, all different.

    >>> picture_names([PurePath("A.JPG"), PurePath("A.png"), PurePath("trip/A.png")])
    ['A.JPG', 'A.png', 'trip/A']
    """
    names = [path.with_suffix("").as_posix() for path in paths]
    while twice := {name for name, count in Counter(names).items() if count > 1}:
        names = [path.as_posix() if name in twice else name for path, name in zip(paths, names, strict=True)]
    return names
