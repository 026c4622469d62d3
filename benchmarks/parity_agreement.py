"""What the parity cases share: a stored fixture that knows what was read of it, and one compared quantity.

Law: a shape that differs, a NaN or an infinity never counts as agreement.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

RELATIVE = 1e-4
"""Share of the largest stored number that a float32 quantity may be off, at any size."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """One quantity of one case beside its stored value.

    Args:
        case: fixture file and group.
        quantity: what was compared.
        worst: worst absolute difference.
        largest: largest absolute stored number.
        tolerance: the absolute tolerance written down for this quantity; 0 for exact equality.
        relative: share of `largest` that is allowed where that is more than `tolerance`; 0 for exact equality.
    """

    case: str
    quantity: str
    worst: float
    largest: float
    tolerance: float
    relative: float = RELATIVE

    @property
    def limit(self) -> float:
        """What `worst` may be."""
        return max(self.tolerance, self.relative * self.largest)

    @property
    def verdict(self) -> str:
        """`ok`, `over` (above the tolerance, within the share of the largest number) or `MISS`."""
        if not self.worst <= self.limit:  # so that NaN is a miss
            return "MISS"
        return "ok" if self.worst <= self.tolerance else "over"


def agree(case: str, quantity: str, ours: Tensor, stored: Tensor, tolerance: float) -> Agreement:
    """The agreement of two float tensors, in absolute terms."""
    if ours.shape != stored.shape:
        told = f"{quantity}: shape {list(ours.shape)}, stored {list(stored.shape)}"
        return Agreement(case, told, math.inf, float(stored.abs().max()), tolerance)
    difference = (ours.double() - stored.double()).abs().max()
    return Agreement(case, quantity, float(difference), float(stored.double().abs().max()), tolerance)


def agree_in_ratio(case: str, quantity: str, ours: Tensor, stored: Tensor, tolerance: float) -> Agreement:
    """The agreement of ours / stored with 1, number by number; two zeros agree."""
    both_zero = (ours == 0) & (stored == 0) if ours.shape == stored.shape else torch.tensor(False)
    ratio = ours.double() / stored.double() if ours.shape == stored.shape else ours.double()
    ratio = torch.where(both_zero, 1.0, ratio)
    row = agree(case, f"{quantity} (ratio)", ratio, torch.ones(stored.shape, dtype=torch.float64), tolerance)
    return Agreement(row.case, row.quantity, row.worst, row.largest, tolerance, relative=0.0)


def agree_exactly(case: str, quantity: str, ours: Tensor, stored: Tensor) -> Agreement:
    """The agreement of two tensors that must be equal."""
    row = agree(case, f"{quantity} (exact)", ours, stored, 0.0)
    return Agreement(row.case, row.quantity, row.worst, row.largest, 0.0, relative=0.0)


def cannot_run(case: str, error: Exception) -> Agreement:
    """The miss of a case that the public functions cannot run."""
    told = f"cannot run: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return Agreement(case, told, math.nan, math.nan, 0.0)


def or_miss(case: str, rows: Iterator[Agreement]) -> Iterator[Agreement]:
    """The rows of one group; an error is a miss of that group and does not hide the next ones."""
    try:
        yield from rows
    except Exception as error:
        yield cannot_run(case, error)


def no_problems(case: str, quantity: str, problems: int) -> Agreement:
    """An agreement that counts problems and allows none."""
    return Agreement(case, quantity, float(problems), 0.0, 0.0, relative=0.0)


class Arrays(Mapping[str, Tensor]):
    """The arrays of a fixture below a prefix, as tensors; remembers which were read."""

    def __init__(self, tensors: dict[str, Tensor], prefix: str = "", read: set[str] | None = None) -> None:
        self._tensors = tensors
        self._prefix = prefix
        self._read = set() if read is None else read

    def __getitem__(self, key: str) -> Tensor:
        tensor = self._tensors[self._prefix + key]
        self._read.add(self._prefix + key)
        return tensor

    def __contains__(self, key: object) -> bool:
        return f"{self._prefix}{key}" in self._tensors

    def __iter__(self) -> Iterator[str]:
        start = len(self._prefix)
        return (name[start:] for name in self._tensors if name.startswith(self._prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def under(self, group: str) -> Arrays:
        """The arrays of one group, without the group's name."""
        return Arrays(self._tensors, f"{self._prefix}{group}.", self._read)

    def groups(self) -> list[str]:
        """The groups in the order of the file."""
        return list(dict.fromkeys(key.split(".")[0] for key in self if "." in key))

    def unread(self) -> list[str]:
        """Full names of the arrays that nothing looked at."""
        return [name for name in self._tensors if name not in self._read]

    def unread_groups(self) -> list[str]:
        """The groups of which nothing was looked at."""
        return [group for group in self.groups() if not self._read.intersection(self.under(group).names())]

    def names(self) -> list[str]:
        """Full names of the arrays below this prefix."""
        return [name for name in self._tensors if name.startswith(self._prefix)]


class Fixture:
    """One fixture of a folder: `meta` from NAME.json, `arrays` from NAME.npz; either may be absent (empty).

    Attributes:
        notes: what a case did not do, and why; printed below its rows.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.notes: list[str] = []
        meta, arrays = folder / f"{name}.json", folder / f"{name}.npz"
        self.meta: dict[str, Any] = json.loads(meta.read_text()) if meta.is_file() else {}
        loaded = np.load(arrays) if arrays.is_file() else {}
        self.arrays = Arrays({key: torch.from_numpy(loaded[key]) for key in loaded})

    def has_arrays(self) -> bool:
        """Whether there is anything to compare; notes it where a network is only described, for another fixture."""
        if not len(self.arrays):
            self.notes.append(f"{self.name}: there is no {self.name}.npz")
        return bool(len(self.arrays))
