"""Which restored picture belongs to which reference and which LQ: by name, and everything left over is named.

Place in the flow: first step of `evaluate`.
The law it keeps: a name is the path below the folder without its suffix, with it where two files would have one
name (`picture_names`); a file without its partner is listed, none is dropped in silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from supir_console import UserError
from supir_infer.listing import SUFFIXES, list_pictures
from supir_infer.picture_names import picture_names


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture to measure and its partners; a partner is None where the folder was not given."""

    name: str
    restored: Path
    reference: Path | None
    lq: Path | None


@dataclass(frozen=True, slots=True)
class Matches:
    """Samples in name order, and the names that lack a partner, by what is missing."""

    samples: list[Sample]
    missing: dict[str, list[str]]


def match_samples(restored: Path, reference: Path | None, lq: Path | None) -> Matches:
    """Returns the samples that have all their partners.

    Args:
        restored: a picture, or a folder of pictures.
        reference: the clean picture or folder; None measures without one.
        lq: the degraded picture or folder; None adds no baseline.

    Raises:
        UserError: a path is missing or empty, or nothing matches.
    """
    files = {"restored": _by_name(restored)}
    for role, path in (("reference", reference), ("lq", lq)):
        if path is not None:
            files[role] = _by_name(path)
    if restored.is_file():
        # A single picture is compared with a single file whatever its name, and with a folder's by name.
        for role, path in (("reference", reference), ("lq", lq)):
            if path is not None and path.is_dir():
                files[role] = {name: file for name, file in files[role].items() if name == restored.stem}
            elif path is not None:
                files[role] = {restored.stem: path}
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
    return Matches(samples, {role: names for role, names in missing.items() if names})


def _by_name(path: Path) -> dict[str, Path]:
    if path.is_file():
        return {path.stem: path}
    if not path.is_dir():
        raise UserError(f"{path} does not exist; give a picture or a folder of pictures")
    files = list_pictures(path).pictures
    if not files:
        raise UserError(f"{path} holds no picture ({' '.join(SUFFIXES)})")
    names = picture_names([file.relative_to(path) for file in files])
    return dict(zip(names, files, strict=True))
