"""Pictures that a dataset must not hold, such as those that models are evaluated on: their hashes and embeddings.

Place in the flow: `select` drops what is near to one of them. They come as datasets of their own, scored (and, for
embeddings, assessed) like any other, so that no picture is read here and both sides were measured alike. The law: what
they hold is part of the selection's hash; a set that was made otherwise is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from supir_console import UserError
from supir_curate.config.select import SimilarConfig
from supir_curate.score import OK
from supir_curate.selection.embeddings import Embeddings
from supir_curate.selection.similar import Features, Places
from supir_curate.sources.plan import load_plan
from supir_shards import Store, absolute_url, ledger_path

CHUNK_PAIRS = 4_000_000  # hashes compared at once


class Barred(NamedTuple):
    """The pictures of all evaluation sets.

    Args:
        names: set and path of each.
        hashes: (E,) uint64 perceptual hashes.
        features: (E, D) float16, None where none are compared.
        origin: config and weights of the features.
    """

    names: list[str]
    hashes: NDArray[np.uint64]
    features: Features | None = None
    origin: tuple[str, str] = ("", "")

    def digest(self) -> str:
        """Returns a SHA-256 over all that is compared."""
        digest = hashlib.sha256("\n".join(self.names).encode())
        digest.update(self.hashes.tobytes())
        if self.features is not None:
            digest.update(np.ascontiguousarray(self.features).tobytes())
        return digest.hexdigest()


NOBODY = Barred([], np.empty(0, np.uint64))


def read_barred(datasets: Sequence[str], similar: SimilarConfig | None) -> Barred:
    """Returns the measured pictures of scored datasets.

    Args:
        datasets: paths or URLs.
        similar: whose embeddings are compared besides the hashes; None for hashes alone.

    Raises:
        UserError: one is no scored dataset, the scorer has not looked at it, or they were made otherwise.
    """
    import pyarrow.compute as pc

    names: list[str] = []
    hashes, features, origins = [], [], set()
    for place in datasets:
        store = Store(absolute_url(place))
        plan = load_plan(store)
        part_of, row_of = [], []
        for number, part in enumerate(plan.parts()):
            if not store.exists(ledger_path(part)):
                raise UserError(
                    f"{place} is not scored whole; run: supir-curate score {plan.source} -o {place}"
                )
            table = store.read_table(ledger_path(part), ["source_row", "url", "status", "phash"])
            table = table.filter(pc.equal(table.column("status"), OK))
            names += [f"{place}: {url}" for url in table.column("url").to_pylist()]
            hashes.append(table.column("phash").to_numpy())
            row_of.append(table.column("source_row").to_numpy())
            part_of.append(np.full(table.num_rows, number))
        if similar is not None:
            embeddings = Embeddings(store, similar.scorer, plan.parts())
            origins.add(embeddings.origin())
            features.append(embeddings.rows(np.concatenate(part_of), np.concatenate(row_of)))
    if len(origins) > 1:
        raise UserError(
            f"{', '.join(datasets)} were assessed by other weights or settings; assess them alike"
        )
    return Barred(
        names,
        np.concatenate([*hashes, np.empty(0, np.uint64)]).astype(np.uint64),
        np.concatenate(features) if features else None,
        origins.pop() if origins else ("", ""),
    )


def first_barred(hashes: NDArray[np.uint64], barred: NDArray[np.uint64], max_distance: int) -> Places:
    """Returns for each picture the first barred one within the distance, -1 for none.

    Args:
        hashes: (N,) uint64 perceptual hashes.
        barred: (E,) likewise.
        max_distance: bits in which near duplicates may differ.
    """
    found = np.full(len(hashes), -1, dtype=np.int64)
    if len(barred):
        step = max(1, CHUNK_PAIRS // len(barred))
        for begin in range(0, len(hashes), step):
            differing = np.bitwise_count(hashes[begin : begin + step, None] ^ barred) <= max_distance
            found[begin : begin + step] = np.where(differing.any(axis=1), differing.argmax(axis=1), -1)
    return found
