"""What the scorers of a config will take, timed on a few pictures before anything is scored.

Place in the flow: `cost` asks for `--dry-run`. The law: a scorer that cannot be loaded, or has no picture to look at,
is named with the reason; it never has a guessed pace.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence

from supir_console import UserError
from supir_curate.assess_actor import ChangedError, load_scorers, open_picture
from supir_curate.config import CurateConfig
from supir_curate.scorers.contract import Rgb
from supir_curate.sources.originals import Original
from supir_images import BadImage

NOT_FETCHED = "unknown: a dry run fetches nothing; after score, assess --dry-run tells"
NO_PICTURE = "unknown: none of the first pictures could be read"


def scorer_seconds(originals: Iterable[Original], config: CurateConfig) -> dict[str, float | str]:
    """Returns the seconds of one core a picture of every scorer, or why they are not known.

    Args:
        originals: a few pictures of the source.
        config: its assess section names the scorers.
    """
    if not config.assess.scorers:
        return {}
    pictures = [rgb for original in originals for rgb in _opened(original, config.assess.side_px)]
    return {name: _seconds(name, pictures, config) for name in config.assess.scorers}


def hours_at_most(seconds: dict[str, float | str], pictures: int, cores: int) -> float | None:
    """Returns the hours of the scorers if every picture passes the rules; None where one's pace is not known."""
    known = [value for value in seconds.values() if isinstance(value, float)]
    return round(pictures * sum(known) / cores / 3600, 3) if len(known) == len(seconds) else None


def _opened(original: Original, side_px: int) -> list[Rgb]:
    try:
        return [open_picture(original, hashlib.sha256(original.data).hexdigest(), side_px)]
    except (BadImage, ChangedError, OSError):
        return []


def _seconds(name: str, pictures: Sequence[Rgb], config: CurateConfig) -> float | str:
    if not pictures:
        return NO_PICTURE
    alone = config.assess.model_copy(update={"scorers": {name: config.assess.scorers[name]}})
    try:
        scorer = load_scorers(config.model_copy(update={"assess": alone}))[name]
    except UserError as error:
        return f"unknown: {error}"
    scorer.answer([scorer.prepare(pictures[0])])  # the first one warms up
    began = time.perf_counter()
    for rgb in pictures:
        scorer.answer([scorer.prepare(rgb)])
    return round((time.perf_counter() - began) / len(pictures), 3)
