"""Which pictures of a folder are to be restored: all that `listing` finds, without results of earlier runs among them.

Place in the flow: `plan` lists here, and `cli` tells what was left out. The law: a picture is a result where it says in
itself what it was made from and lies in or below a folder with a run's `results.jsonl`; other folders are not opened
for it. A folder of nothing but results was named for them: they are restored, as a single one that is named is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from supir_infer.listing import Listing, list_pictures
from supir_infer.saving import is_result

RESULTS = "results.jsonl"
"""The file that every run writes beside its results, see `results`."""
EARLIER_RESULT = "(result of an earlier run)"
"""Name that `left_out` has for them."""


def list_to_restore(source: Path, output: Path) -> Listing:
    """Returns the pictures below `source` that a run into `output` restores, and what else is there.

    Args:
        source: folder.
        output: folder; what lies in it is neither restored nor counted.
    """
    found, left_out = list_pictures(source)
    inside, results = (Path(os.path.realpath(path)) for path in (source, output))
    if inside in results.parents:
        found = [path for path in found if results not in Path(os.path.realpath(path)).parents]
    earlier = _earlier(found, source)
    if not earlier or len(earlier) == len(found):
        return Listing(found, left_out)
    return Listing([path for path in found if path not in earlier], left_out | {EARLIER_RESULT: len(earlier)})


def _earlier(pictures: Sequence[Path], source: Path) -> set[Path]:
    @cache
    def is_below_results(folder: Path) -> bool:
        return (folder / RESULTS).is_file() or (folder != source and is_below_results(folder.parent))

    return {path for path in pictures if is_below_results(path.parent) and is_result(path)}
