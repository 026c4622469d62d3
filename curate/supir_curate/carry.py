"""What samples of another dataset bring into this one: their measurements, so that nothing is measured twice.

Place in the flow: `score` asks it for the parts whose source is a dataset. The law: a sample has the ledger row of its
photo in the source, as far as the probes and the working side that made it are these; else its stored bytes are
measured now. A negative is never measured, for no rule is about negatives: only its perceptual hash is taken, to tell
pictures of evaluation sets. The row's key, hash and size are the stored sample's, in any case.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from supir_curate.config import ProbeConfig
from supir_curate.pictures.picture import decode
from supir_curate.probes.phash import perceptual_hash
from supir_curate.scores import PROBES_STAMP, probes_stamp
from supir_curate.sources.candidate import Candidate
from supir_curate.sources.dataset import dataset_at, source_part
from supir_curate.sources.originals import Original
from supir_shards import Dataset, Role, Store, ledger_path

OK = "ok"  # status in the ledger


class Brought:
    """What the samples of one part bring along.

    Args:
        place: of the source dataset.
        candidates: of the part; all lie in one part of the source.
        config: what ours are measured under.
    """

    def __init__(self, place: str, candidates: list[Candidate], config: ProbeConfig) -> None:
        self._candidates, self._config = candidates, config
        part = source_part(candidates[0].file)
        dataset = Dataset(dataset_at(place) or place)
        self._index = {row["key"]: row for row in dataset.index(part).to_pylist()}
        self._known = known_rows(dataset.store, part, config)

    def row(self, number: int) -> dict[str, Any] | None:
        """Returns the measurements of a sample, in the ledger's columns; None where its bytes must be looked at."""
        one = self._candidates[number]
        known = self._known.get(one.key) or self._known.get(one.source_key)
        if known is None or one.key not in self._index:
            return None
        return known | self.identity(number)

    def identity(self, number: int) -> dict[str, Any]:
        """Returns the columns that say which sample it is."""
        one = self._candidates[number]
        told = {"key": one.key, "url": one.url, "licence": one.licence}
        sample = self._index.get(one.key)  # gone if the source was rewritten since it was listed
        if sample is None:
            return told
        return told | {"sha256": sample["sha256"], "bytes": sample["bytes"], "format": sample["extension"]}

    def is_negative(self, number: int) -> bool:
        """Returns whether a sample is there to be unlike a photo."""
        return self._candidates[number].role == Role.NEGATIVE

    def unmeasured(self) -> Iterator[int]:
        """Yields the numbers of the samples whose bytes must be looked at."""
        yield from (number for number in range(len(self._candidates)) if self.row(number) is None)


def known_rows(source: Store, part: str, config: ProbeConfig) -> dict[str, dict[str, Any]]:
    """Returns the measured rows of a dataset's ledger by key, none where other probes or another side made them."""
    path = ledger_path(part)
    if not source.exists(path):
        return {}
    table = source.read_table(path)
    if (table.schema.metadata or {}).get(PROBES_STAMP) != probes_stamp(config.working_side_px):
        return {}
    return {row["key"]: row for row in table.to_pylist() if row["status"] == OK and row["key"]}


def num_known(place: str, config: ProbeConfig) -> int:
    """Returns how many samples of a dataset bring their measurements along."""
    dataset, count = Dataset(dataset_at(place) or place), 0
    for part in dataset.parts():
        known = known_rows(dataset.store, part, config)
        rows = dataset.index(part).select(["key", "source_key"]).to_pylist()
        count += sum(row["key"] in known or row["source_key"] in known for row in rows)
    return count


def looked_at(original: Original, config: ProbeConfig) -> dict[str, Any]:
    """Returns the ledger's columns of a negative, which is not measured.

    Raises:
        BadImage: it cannot be decoded.
    """
    picture = decode(original.data, config.max_pixels, config.working_side_px)
    return {
        "status": OK,
        "reason": "",
        "detail": "",
        "width": picture.header.width,
        "height": picture.header.height,
        "phash": perceptual_hash(picture.working_gray),
    }
