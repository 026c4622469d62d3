"""The captions of a captioner as they lie in a dataset, part by part.

Place in the flow: the pages read through this. The law: of a large dataset evenly spread parts are read, the same ones
every time; what was not read is said on the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from supir_console import UserError
from supir_shards import Caption, Dataset, absolute_url, caption_path, read_captions

CAPTIONS = "captions"


@dataclass(frozen=True, slots=True)
class Stored:
    """The captions of one captioner.

    Attributes:
        dataset: where they lie.
        name: the captioner's.
        parts: those that are read.
        num_parts: that have captions.
    """

    dataset: Dataset
    name: str
    parts: list[str]
    num_parts: int

    def read(self, part: str) -> dict[str, list[Caption]]:
        """Returns a part's captions by sample key, in the order of their regions."""
        return read_captions(self.dataset.store, self.name, part)

    def captions(self) -> Iterator[tuple[str, Caption]]:
        """Yields every caption with its part."""
        for part in self.parts:
            for captions in self.read(part).values():
                for caption in captions:
                    yield part, caption


def open_captions(dataset: Dataset, name: str, max_parts: int) -> Stored:
    """Returns a captioner's captions, of at most `max_parts` parts.

    Raises:
        UserError: there are none under that name.
    """
    there = [part for part in dataset.parts() if dataset.store.exists(caption_path(name, part))]
    if not there:
        names = captioners(dataset)
        raise UserError(
            f"{dataset.store.url} has no captions {name!r}; it has {', '.join(names) or 'none: run supir-caption'}"
        )
    return Stored(dataset, name, spread(there, max_parts), len(there))


def open_both(dataset: Dataset, names: tuple[str, str], max_parts: int) -> tuple[Stored, Stored]:
    """Returns two captioners' captions of the parts that both have captioned.

    Raises:
        UserError: one of them has no captions, or no part has captions of both.
    """
    one, other = (open_captions(dataset, name, max_parts=len(dataset.parts())) for name in names)
    both = [part for part in one.parts if part in set(other.parts)]
    if not both:
        raise UserError(f"{dataset.store.url}: no part has captions of both {names[0]!r} and {names[1]!r}")
    parts = spread(both, max_parts)
    return Stored(dataset, one.name, parts, len(both)), Stored(dataset, other.name, parts, len(both))


def captioners(dataset: Dataset) -> list[str]:
    """Returns the names under which captions are stored."""
    return sorted(dataset.store.folders(CAPTIONS))


def spread(parts: list[str], most: int) -> list[str]:
    """Returns at most `most` of the parts, evenly spread, in their order."""
    number = min(most, len(parts))
    return [parts[index * len(parts) // number] for index in range(number)]


def split_place(place: str) -> tuple[str, str]:
    """Returns the dataset and the captioner's name of a folder DATASET/captions/NAME.

    Raises:
        UserError: it is no such folder.
    """
    dataset, between, name = place.rstrip("/").rpartition(f"/{CAPTIONS}/")
    if not between or "/" in name:
        raise UserError(f"{place!r} is no folder DATASET/{CAPTIONS}/NAME; give DATASET and NAME")
    return absolute_url(dataset), name
