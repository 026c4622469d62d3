"""Listings counted and cut into parts of one size, as they stream.

Place in the flow: `plan` and `additions` write what comes out, `--dry-run` only counts. The law: rows keep their order,
and few of them are held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from supir_console import UserError
from supir_curate.sources.folder import printed
from supir_curate.sources.left_out import Counts, in_words, without_notes
from supir_images.formats import readable_suffixes

if TYPE_CHECKING:
    import pyarrow as pa


class ListingTally:
    """What a listing came to: `seen` candidates, `unread` with a reason, `first_unread`; and what it `left_out`."""

    def __init__(self) -> None:
        self.seen = self.unread = 0
        self.first_unread = ""
        self.left_out: Counts = {}

    def counted(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Yields the tables that hold candidates, counted; their notes are taken out and counted too."""
        for with_notes in tables:
            table = without_notes(with_notes, self.left_out)
            unread = table.num_rows - table.column("reason").null_count
            if unread and not self.unread:
                first = table.filter(table.column("reason").is_valid()).slice(0, 1).to_pylist()[0]
                self.first_unread = printed(f"{first['url']}: {first['detail']}")
            self.seen += table.num_rows
            self.unread += unread
            if table.num_rows:
                yield table


def in_parts(tables: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """Yields the rows of tables in tables of `size` rows, the last one of what is left."""
    import pyarrow as pa

    waiting: list[pa.Table] = []
    missing = size
    for table in tables:
        place = 0
        while table.num_rows - place >= missing:
            yield pa.concat_tables([*waiting, table.slice(place, missing)]).combine_chunks()
            place += missing
            waiting, missing = [], size
        if place < table.num_rows:
            waiting.append(table.slice(place))
            missing -= table.num_rows - place
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def nothing_to_read(place: str, tally: ListingTally) -> UserError:
    """Returns the error of a source that holds nothing to look at."""
    if tally.unread:
        return UserError(f"nothing in {place} can be read; the first of {tally.unread}: {tally.first_unread}")
    words = "".join(f"; {heading}: {labels}" for heading, labels in in_words(tally.left_out).items())
    suffixes = ", ".join(readable_suffixes())
    return UserError(
        f"{place} holds no candidates; give a folder with {suffixes} files, tars, Parquet files or lists of URLs{words}"
    )


def together(parts: Iterator[pa.Table], count: int, first: int) -> Iterator[dict[int, pa.Table]]:
    """Yields the parts by their numbers from `first` on, some at a time."""
    numbered = enumerate(parts, first)
    while some := dict(islice(numbered, count)):
        yield some
