"""The index of a part that is being captioned, read once: which samples are wanted, and where each one lies.

Place in the flow: `worker` takes the keys from it in the part's order, and the row of a picture that a second
engine is to see. The table stays as Arrow holds it: a part may have many thousand rows, and most are asked for
nothing but their key.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from supir_shards import Dataset
    from supir_shards.reader import IndexRow


class PartIndex:
    """A part's index, read when it is first asked for.

    Args:
        dataset: the dataset.
        part: name of a committed part.
    """

    def __init__(self, dataset: Dataset, part: str) -> None:
        self._dataset = dataset
        self.part = part

    @cached_property
    def _table(self) -> pa.Table:
        return self._dataset.index(self.part)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {key: number for number, key in enumerate(self._table["key"].to_pylist())}

    def keys(self, roles: Collection[str]) -> list[str]:
        """Returns the keys of the samples in these roles, in the part's order.

        Raises:
            DatasetError: the index cannot be read.
        """
        rows = self._table.select(["key", "role"]).to_pylist()
        return [row["key"] for row in rows if row["role"] in roles]

    def row(self, key: str) -> IndexRow:
        """Returns the index row of a sample, as `Dataset.read_sample` takes it.

        Raises:
            DatasetError: the index cannot be read.
            KeyError: the part has no such sample.
        """
        row: IndexRow = self._table.slice(self._numbers[key], 1).to_pylist()[0]
        return row
