"""Which restored picture belongs to which reference and which LQ: by name, and everything left over is named.

Place in the flow: first step of `evaluate` and of a vote.
The law it keeps: a name is the path below the folder without its suffix, with it where two files would have one
name (`picture_names`); a file without its partner is listed, none is dropped in silence.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from supir_console import UserError
from supir_infer.listing import SUFFIXES, list_pictures
from supir_infer.picture_names import picture_names

Key = Callable[[str], str]
"""From a file's name to that of its sample; published sets end their names by the side that a file is of."""


def same_name(name: str) -> str:
    """Returns the name itself: partners are called the same."""
    return name


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture to measure and its partners; a partner is None where the folder was not given."""

    name: str
    restored: Path
    reference: Path | None
    lq: Path | None


@dataclass(frozen=True, slots=True)
class Matches:
    """Samples in name order, the names that lack a partner, by what is missing, and how names were read."""

    samples: list[Sample]
    missing: dict[str, list[str]]
    key: Key = same_name

    def with_restored(self, restored: Path) -> Matches:
        """Returns the same samples with another run's restored pictures, those that it has.

        Args:
            restored: a picture, or a folder of pictures.

        Raises:
            UserError: it has none of them.
        """
        files = by_name(restored, self.key)
        if restored.is_file() and len(self.samples) == 1:
            files = {self.samples[0].name: restored}
        samples = [
            replace(sample, restored=files[sample.name]) for sample in self.samples if sample.name in files
        ]
        if not samples:
            raise UserError(
                f"{restored} has no picture by the name of any that is measured; names must be equal"
            )
        return Matches(samples, {}, self.key)


def match_samples(restored: Path, reference: Path | None, lq: Path | None, key: Key = same_name) -> Matches:
    """Returns the samples that have all their partners.

    Args:
        restored: a picture, or a folder of pictures.
        reference: the clean picture or folder; None measures without one.
        lq: the degraded picture or folder; None adds no baseline.
        key: from a file's name to its sample's.

    Raises:
        UserError: a path is missing or empty, or nothing matches.
    """
    files = {"restored": by_name(restored, key)}
    for role, path in (("reference", reference), ("lq", lq)):
        if path is not None:
            files[role] = by_name(path, key)
    if restored.is_file():
        # A single picture is compared with a single file whatever its name, and with a folder's by name.
        [own] = files["restored"]
        for role, path in (("reference", reference), ("lq", lq)):
            if path is not None and path.is_dir():
                files[role] = {name: file for name, file in files[role].items() if name == own}
            elif path is not None:
                files[role] = {own: path}
    every_name = sorted(set().union(*files.values()))
    missing = {role: [name for name in every_name if name not in found] for role, found in files.items()}
    names = [name for name in every_name if all(name in found for found in files.values())]
    if not names:
        roles = " and ".join(files)
        raise UserError(f"no picture has the same name in {roles}; names (without suffix) must be equal")
    samples = [
        Sample(
            name,
            files["restored"][name],
            files["reference"][name] if reference else None,
            files["lq"][name] if lq else None,
        )
        for name in names
    ]
    return Matches(samples, {role: names for role, names in missing.items() if names}, key)


def by_name(path: Path, key: Key = same_name) -> dict[str, Path]:
    r"""Returns a picture, or the pictures below a folder, by name.

    Names are in Unicode's form C, however a file system writes accents; bytes that are no UTF-8 stand as \xNN.

    Args:
        path: of the picture or folder.
        key: from a file's name to its sample's.

    Raises:
        UserError: it does not exist, holds no picture, or `key` gives two of them one name.
    """
    if path.is_file():
        return {_readable(key(path.stem)): path}
    if not path.is_dir():
        raise UserError(f"{path} does not exist; give a picture or a folder of pictures")
    files = list_pictures(path).pictures
    if not files:
        raise UserError(f"{path} holds no picture ({' '.join(SUFFIXES)})")
    found: dict[str, Path] = {}
    for name, file in zip(picture_names([file.relative_to(path) for file in files]), files, strict=True):
        sample = _readable(key(name))
        if sample in found:
            raise UserError(
                f"{found[sample].name} and {file.name} in {path} are both {sample}; take one of them out"
            )
        found[sample] = file
    return found


def _readable(name: str) -> str:
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", text)  # macOS writes accents apart
