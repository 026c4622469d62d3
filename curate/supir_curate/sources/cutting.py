"""Listings counted and cut into parts of one size, as they stream.

Place in the flow: `plan` and `additions` write what comes out, `--dry-run` only counts. The law: rows keep their order,
and few of them are held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from supir_console import UserError
from supir_curate.sources.listing import IMAGE_SUFFIXES

if TYPE_CHECKING:
    import pyarrow as pa


class ListingTally:
    """What a listing came to: `seen` candidates; of these `unread` have a reason, the first one `first_unread`."""

    def __init__(self) -> None:
        self.seen = self.unread = 0
        self.first_unread = ""

    def counted(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Yields the tables that hold rows, counted."""
        for table in tables:
            unread = table.num_rows - table.column("reason").null_count
            if unread and not self.unread:
                first = table.filter(table.column("reason").is_valid()).slice(0, 1).to_pylist()[0]
                self.first_unread = f"{first['url']}: {first['detail']}"
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
    suffixes = ", ".join(IMAGE_SUFFIXES)
    return UserError(
        f"{place} holds no candidates; give a folder with {suffixes} files, WebDataset tars, or Parquet files"
    )


def together(parts: Iterator[pa.Table], count: int, first: int) -> Iterator[dict[int, pa.Table]]:
    """Yields the parts by their numbers from `first` on, some at a time."""
    numbered = enumerate(parts, first)
    while some := dict(islice(numbered, count)):
        yield some
