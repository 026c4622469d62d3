"""The embeddings of chosen pictures, out of a scorer's answers: rows of one table that need not fit in memory.

Place in the flow: `survivors` asks for those that passed the rules, `barred` for whole evaluation sets. The law: a
picture that the scorer has not looked at is an error that says how to let it, never a picture without twins.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from supir_console import UserError, counted
from supir_curate.selection.similar import Features, Places
from supir_curate.sidecar import CONFIG, EMBEDDING, WEIGHTS, read_stamp
from supir_shards import Store
from supir_shards.layout import scores_path

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Embeddings:
    """A scorer's embeddings of one dataset.

    Args:
        store: the dataset.
        scorer: name of the scorer.
        parts: names of all parts.
    """

    store: Store
    scorer: str
    parts: Sequence[str]

    def origin(self) -> tuple[str, str]:
        """Returns config and weights that made them: only what agrees in both can be compared.

        Raises:
            UserError: there are none.
        """
        path = scores_path(self.scorer, self.parts[0])
        if not self.store.exists(path):
            raise UserError(f"{self.store.url} has no answers of {self.scorer}; {self._mend()}")
        told = read_stamp(self.store, path)
        return told.get(CONFIG, ""), told.get(WEIGHTS, "")

    def rows(self, part_of: NDArray[Any], row_of: NDArray[Any]) -> Features:
        """Returns the embedding of each picture, (N, D) float16, in a file of the system that goes with it.

        Args:
            part_of: (N,) number of its part.
            row_of: (N,) its source row.

        Raises:
            UserError: the scorer has not looked at one of them, or has no embeddings.
        """
        order = np.argsort(part_of, kind="stable")
        edges = np.searchsorted(part_of[order], np.arange(len(self.parts) + 1))
        features: Features | None = None
        for number, part in enumerate(self.parts):
            places = order[edges[number] : edges[number + 1]]
            if len(places):
                found = self._of_part(part, row_of[places])
                if features is None:
                    features = _scratch(len(order), found.shape[1])
                features[places] = found
        return np.empty((0, 1), np.float16) if features is None else features

    def _of_part(self, part: str, rows: Places) -> Features:
        path = scores_path(self.scorer, part)
        if not self.store.exists(path):
            raise UserError(f"{self.store.url}/{path} is not there; {self._mend()}")
        if EMBEDDING not in self.store.columns(path):
            raise UserError(
                f"scorer {self.scorer} gives no embeddings; take one that does, such as mobilenet"
            )
        table = self.store.read_table(path, ["source_row", EMBEDDING])
        theirs = np.asarray(table.column("source_row").to_numpy())
        place = np.searchsorted(theirs, rows)  # the file is sorted
        place = np.minimum(place, max(0, len(theirs) - 1))
        unseen = rows if not len(theirs) else rows[theirs[place] != rows]
        if len(unseen):
            raise UserError(
                f"{self.scorer} has not looked at {counted(len(unseen), 'picture')} of {part} that pass, first row"
                f" {unseen[0]}; {self._mend()}"
            )
        return _matrix(table)[place]

    def _mend(self) -> str:
        return f"run, with the rules of this selection: supir-curate assess {self.store.url} --with {self.scorer}"


def _matrix(table: pa.Table) -> Features:
    column = table.column(EMBEDDING).combine_chunks()
    width = column.type.list_size
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False), dtype=np.float16).reshape(-1, width)


def _scratch(rows: int, width: int) -> Features:
    """Returns an array in a nameless temporary file: 2.5 GB a million pictures, which memory need not hold at once."""
    with tempfile.TemporaryFile(prefix="supir-") as file:
        file.truncate(rows * width * 2)
        return np.memmap(file, dtype=np.float16, mode="r+", shape=(rows, width))
