"""What a source holds and a run does not look at: counted, never silent.

Place in the flow: whatever lists a source hands out notes among its tables of candidates, from whichever machine;
`plan.ListingTally` takes them out and counts; the commands print them, `plan.json` and the report keep them. The law:
every file or member of a source is a candidate or is counted here, under one of the headings below.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

from supir_curate.config import SourceConfig
from supir_curate.sources.candidate import listing
from supir_images.formats import how_to_read, kind_of_suffix

if TYPE_CHECKING:
    import pyarrow as pa

NOTE = "left_out"  # the reason of a row that is no candidate but a count
MAX_LABELS = 40  # a heading; what comes later is counted under one
MAX_SUFFIX = 16  # characters; a longer one is no suffix but part of a name
REST = "(others)"
NO_SUFFIX = "(no suffix)"
Counts = dict[str, dict[str, int]]  # heading, label, count


class Heading(StrEnum):
    """Why something is not a candidate. Stored in `plan.json`."""

    FORMATS = "formats"  # pictures of a kind that nothing installed reads, by suffix
    NOT_PICTURES = "not_pictures"  # by suffix
    HIDDEN = "hidden"  # in hidden folders, or hidden themselves, by the hidden name
    LINKS = "links"  # to folders that are listed anyway, or that hold the source
    SIDECARS_USED = "sidecars_used"  # by suffix; what they say stands in their pictures' rows
    SIDECARS_UNUSED = "sidecars_unused"  # no picture is theirs
    NOT_TEXT = "not_text"  # texts that are objects or bytes: their pictures come without them


WORDS = {
    Heading.FORMATS: "left out, pictures that cannot be read here",
    Heading.NOT_PICTURES: "left out, no pictures",
    Heading.HIDDEN: "left out, hidden",
    Heading.LINKS: "left out, links to folders that are listed anyway or hold the source",
    Heading.SIDECARS_USED: "sidecars used",
    Heading.SIDECARS_UNUSED: "sidecars without a picture",
    Heading.NOT_TEXT: "texts that are none",
}

Notes = Counter[tuple[Heading, str]]


def suffix_of(path: str) -> str:
    """Returns a name's suffix in lower case, as counts are labelled."""
    name = path.rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    return f".{suffix.lower()}" if dot and stem and len(suffix) < MAX_SUFFIX else NO_SUFFIX


def format_label(path: str, kind: str) -> str:
    """Returns how a picture of a kind that cannot be read is counted: by its suffix where that tells the kind."""
    suffix = suffix_of(path)
    return suffix if kind_of_suffix(path) == kind else f"{suffix}, {kind} by its bytes"


def noted(notes: Notes, config: SourceConfig) -> Iterator[pa.Table]:
    """Yields notes as rows of a listing, if there are any."""
    import pyarrow as pa

    order = sorted(notes.items())  # the plan is the same in every run
    if not order:
        return
    yield listing(
        config,
        len(order),
        url=pa.array([label for (_, label), _ in order], pa.string()),
        detail=pa.array([str(heading) for (heading, _), _ in order], pa.string()),
        size=pa.array([count for _, count in order], pa.int64()),
        reason=NOTE,
    )


def without_notes(table: pa.Table, counts: Counts) -> pa.Table:
    """Returns a listing's candidates; its notes are added to the counts."""
    import pyarrow.compute as pc

    is_note = pc.fill_null(pc.equal(table.column("reason"), NOTE), False)
    if not pc.any(is_note).as_py():
        return table
    for row in table.filter(is_note).select(["detail", "url", "size"]).to_pylist():
        _add(counts.setdefault(row["detail"], {}), row["url"], row["size"])
    return table.filter(pc.invert(is_note))


def _add(labels: dict[str, int], label: str, count: int) -> None:
    if label not in labels and len(labels) >= MAX_LABELS:
        label = REST
    labels[label] = labels.get(label, 0) + count


def summed(counts: Iterable[Counts]) -> Counts:
    """Returns the counts of several sources together."""
    total: Counts = {}
    for one in counts:
        for heading, labels in one.items():
            for label, count in labels.items():
                _add(total.setdefault(heading, {}), label, count)
    return total


def in_words(counts: Mapping[str, Mapping[str, int]]) -> dict[str, str]:
    """Returns a line a heading: its words and what stands under it, most first.

    Example:
        >>> in_words({"not_pictures": {".pdf": 1, ".mp4": 3}})
        {'left out, no pictures': '.mp4 3, .pdf 1'}
    """
    lines = {}
    for heading in Heading:
        labels = counts.get(heading, {})
        if labels:
            order = sorted(labels.items(), key=lambda item: (-item[1], item[0]))
            lines[WORDS[heading]] = ", ".join(
                f"{label} {count:,}{_remedy(heading, label)}" for label, count in order
            )
    return lines


def _remedy(heading: Heading, label: str) -> str:
    if heading is not Heading.FORMATS:
        return ""
    suffix, _, by_bytes = label.partition(", ")
    kind = by_bytes.partition(" ")[0] or kind_of_suffix(f"x{suffix}")
    remedy = how_to_read(kind) if kind else ""
    return f" ({remedy})" if remedy else ""
