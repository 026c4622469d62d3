"""Which sidecar is whose: one rule for folders, for tars as WebDataset names them, and for tars as people name them.

Place in the flow: `tars` and `folder_pictures` pair names here before any sidecar is read. The law: a sidecar's stem is
its name without `.txt`, `.caption` or `.json`; it may describe a picture whose name is the stem, or the stem and a dot
and more. Of each kind of sidecar a picture has the one with the longest stem: `a.b.txt` goes before `a.txt` for
`a.b.jpg`. Where that stem is another picture's whole name or its name without the suffix (`a.json` for `a.b.jpg` beside
`a.jpg`), WebDataset, which splits names at the first dot, and everybody else, who splits at the last, say different
things: the picture is refused. Order plays no part, so a tar need not be sorted.

Source: WebDataset's naming (a sample's key is the path up to the first dot of the base name); img2dataset's `files` and
`webdataset` outputs; Google Takeout's `IMG.jpg.json`.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import NamedTuple

TEXT_SUFFIXES = (".txt", ".caption")  # the first one that is there and holds something is the text
JSON = ".json"
SIDECAR_SUFFIXES = (*TEXT_SUFFIXES, JSON)
METADATA = (
    "metadata.jsonl",
    "metadata.csv",
    "metadata.parquet",
)  # tables of what the pictures below them are


class Sidecars(NamedTuple):
    """The sidecars of one picture.

    Args:
        names: full names by suffix.
        related: further JSON files that no picture has for sure and that this one's licence might stand in.
        fault: why nobody can tell which are its own; "" where that is clear.
    """

    names: dict[str, str]
    related: tuple[str, ...] = ()
    fault: str = ""


class Pairs(NamedTuple):
    """The sidecars of every picture by its name, and the sidecars that are nobody's."""

    of: dict[str, Sidecars]
    unused: list[str]


def is_sidecar(name: str) -> bool:
    """Returns whether a name is that of a sidecar."""
    return name.lower().endswith(SIDECAR_SUFFIXES)


def is_metadata(path: str) -> bool:
    """Returns whether a path is that of a table of metadata."""
    return _base(path).lower() in METADATA


def pair(pictures: Collection[str], sidecars: Collection[str]) -> Pairs:
    """Returns each picture's sidecars.

    Args:
        pictures: names, with their folders.
        sidecars: names that `is_sidecar` said yes to.

    Example:
        >>> pair(["d/a.b.jpg"], ["d/a.json", "d/a.b.txt", "d/c.txt"])
        Pairs(of={'d/a.b.jpg': Sidecars(names={'.txt': 'd/a.b.txt', '.json': 'd/a.json'}, related=(), fault='')}, \
unused=['d/c.txt'])
    """
    by_stem: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in sidecars:
        stem, _, suffix = name.rpartition(".")
        by_stem[stem][f".{suffix.lower()}"].append(name)
    owners = {stem: picture for picture in pictures for stem in (picture, _stem(picture))} if by_stem else {}
    found = {picture: _sidecars_of(picture, by_stem, owners) for picture in pictures}
    used = {name for one in found.values() for name in one.names.values()}
    unused = [name for name in sidecars if name not in used]
    return Pairs(_with_related(found, unused), unused)


def _sidecars_of(picture: str, by_stem: dict[str, dict[str, list[str]]], owners: dict[str, str]) -> Sidecars:
    own = (picture, _stem(picture))
    names: dict[str, str] = {}
    for stem in _prefixes(picture) if by_stem else ():
        for suffix, candidates in by_stem.get(stem, {}).items():
            if suffix in names:
                continue
            names[suffix] = candidates[0]
            if len(candidates) > 1:
                candidates = sorted(candidates)
                return Sidecars(
                    names, fault=f"{_base(candidates[0])} and {_base(candidates[1])} may both be its own"
                )
            if stem not in own and stem in owners:
                owner = _base(owners[stem])
                return Sidecars(
                    names, fault=f"{_base(candidates[0])} may be its own or that of {owner} alone"
                )
    return Sidecars({suffix: names[suffix] for suffix in SIDECAR_SUFFIXES if suffix in names})


def _with_related(found: dict[str, Sidecars], unused: list[str]) -> dict[str, Sidecars]:
    """Returns the sidecars of each picture with the JSON files that are nobody's and may be its own.

    Their stem begins the picture's or is begun by it, or is the same in another folder, case or normal form.
    """
    loose = [name for name in unused if name.lower().endswith(JSON)]
    if not loose:
        return found
    by_prefix: dict[str, list[str]] = defaultdict(list)
    for name in loose:
        for prefix in _prefixes(name.rpartition(".")[0]):
            by_prefix[prefix].append(name)
    by_base: dict[str, list[str]] = defaultdict(list)
    for name in loose:
        by_base[alike(name.rpartition(".")[0])].append(name)
    stems = {name.rpartition(".")[0]: name for name in loose}
    related = {}
    for picture, one in found.items():
        longer = by_prefix.get(_stem(picture), [])
        shorter = [stems[prefix] for prefix in _prefixes(picture) if prefix in stems]
        elsewhere = by_base.get(alike(_stem(picture)), [])
        related[picture] = one._replace(related=tuple(dict.fromkeys((*longer, *shorter, *elsewhere))))
    return related


def _prefixes(name: str) -> Iterator[str]:
    """Yields a name, then what is left of it before its dots, from the last to the first one of its base name."""
    yield name
    first = name.rfind("/") + 1
    place = name.rfind(".", first + 1)
    while place > first:
        yield name[:place]
        place = name.rfind(".", first + 1, place)


def _stem(name: str) -> str:
    place = name.rfind(".", name.rfind("/") + 2)
    return name[:place] if place > 0 else name


def alike(path: str) -> str:
    """Returns what is equal of two names that may mean one file: folders, case and normal form left aside.

    Example:
        >>> alike("a/Photo 1.JPG"), alike("photo 1.jpg")
        ('photo 1.jpg', 'photo 1.jpg')
    """
    return unicodedata.normalize("NFC", _base(path)).casefold()


def _base(name: str) -> str:
    return name.rpartition("/")[2]
