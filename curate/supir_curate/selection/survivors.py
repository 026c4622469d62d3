"""The pictures that passed the rules, ranked from best to worst: which show the same, and which are too many.

Place in the flow: `select` collects them over all parts and asks which are excluded. The law: the best picture of a
kind stays: most effective pixels a side, then most pixels, then the smaller key. Of files of the same bytes the one
stays whose role and quota want it most; part and row decide where these are the same too. Quotas come last. What is
packed stays packed: it goes before all that came later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from supir_console import UserError
from supir_curate.config.select import Quotas
from supir_curate.ledger import numbers
from supir_curate.selection.barred import NOBODY, Barred, first_barred
from supir_curate.selection.dedup import twins
from supir_curate.selection.embeddings import Embeddings
from supir_curate.selection.roles import ROLES, SOURCE_KEY, Codes, preference
from supir_curate.selection.similar import near_any, similar_twins
from supir_curate.verdict import Reason
from supir_shards import Role

if TYPE_CHECKING:
    import pyarrow as pa

RANKING = (
    "source_row",
    "key",
    "phash",
    "width",
    "height",
    "score.effective_ratio",
    "score.short_side_px",
)  # columns of the ledger
COLUMNS = (
    "part",
    "row",
    "key_high",
    "key_low",
    "photo",
    "phash",
    "side",
    "area",
    "role",
    "wanted",
    "settled",
)
KEPT, EXACT, NEAR, OVER, BARRED = range(5)
REASONS = (
    "",
    Reason.EXACT_DUPLICATE,
    Reason.NEAR_DUPLICATE,
    Reason.OVER_QUOTA,
    Reason.EVALUATION_DUPLICATE,
)

Places = NDArray[np.int64]


class Exclusion(NamedTuple):
    """Why a picture that passed the rules is not kept; `detail` names its twin, or its place in the quota's rank."""

    row: int
    reason: Reason
    detail: str


class Survivors:
    """What is needed of every picture that passed the rules: 70 bytes each.

    Args:
        quotas: of the roles.
    """

    def __init__(self, quotas: Quotas | None = None) -> None:
        self._quotas = quotas or {}
        self._columns: dict[str, list[NDArray[Any]]] = {name: [] for name in COLUMNS}

    def add(self, part_number: int, ledger: pa.Table, codes: Codes, *, settled: bool = False) -> None:
        """Adds rows of a part's ledger, all of which passed the rules, with their roles; settled ones were kept."""
        key = np.frombuffer(bytes.fromhex("".join(ledger.column("key").to_pylist())), dtype=">u8")
        halves = key.reshape(-1, 2).astype(np.uint64)
        side = numbers(ledger, "score.effective_ratio") * numbers(ledger, "score.short_side_px")
        values = {
            "part": np.full(ledger.num_rows, part_number, dtype=np.int32),
            "row": ledger.column("source_row").to_numpy(),
            "key_high": halves[:, 0],
            "key_low": halves[:, 1],
            "photo": _first_half(ledger.column(SOURCE_KEY if SOURCE_KEY in ledger.column_names else "key")),
            "phash": ledger.column("phash").to_numpy(),
            "side": np.nan_to_num(side),
            "area": numbers(ledger, "width") * numbers(ledger, "height"),
            "role": codes,
            "wanted": preference(ledger, codes, self._quotas),
            "settled": np.full(ledger.num_rows, settled),
        }
        for name in COLUMNS:
            self._columns[name].append(values[name])

    def keep(self, chosen: NDArray[np.bool_]) -> None:
        """Forgets all but the chosen ones, told in the order in which they were added."""
        for name, arrays in self._columns.items():
            self._columns[name] = [np.concatenate(arrays)[chosen]]

    def rows_of(self, num_parts: int) -> list[NDArray[np.int64]]:
        """Returns the source rows of each part's survivors; parts were added in order."""
        part, row = (np.concatenate(self._columns[name]) for name in ("part", "row"))
        return np.split(row, np.searchsorted(part, np.arange(1, num_parts)))

    def excluded(
        self,
        max_hash_distance: int | None,
        barred: Barred = NOBODY,
        embeddings: Embeddings | None = None,
        min_cosine: float = 1,
    ) -> Excluded:
        """Returns which of them duplicate a barred or a better one, or are more than their role's quota.

        Args:
            max_hash_distance: bits in which near duplicates may differ; None looks for equal bytes alone.
            barred: pictures that the dataset must not hold.
            embeddings: of the survivors, which are compared besides their hashes; None for hashes alone.
            min_cosine: of two embeddings, from which pictures are the same.

        Raises:
            UserError: a survivor has no embedding, or the barred ones were made otherwise.
        """
        column: dict[str, NDArray[Any]] = {name: np.concatenate(self._columns[name]) for name in COLUMNS}
        # The last key sorts first; photo is the least of the roles.
        bytes_rank = (column["key_low"], column["key_high"], -column["area"], -column["side"])
        copy_rank = (column["row"], column["part"], -column["wanted"], -column["role"])
        order = np.lexsort([*copy_rank, *bytes_rank, ~column["settled"]])
        column = {name: values[order] for name, values in column.items()}
        code = np.full(len(order), KEPT, dtype=np.int8)
        better = np.zeros(len(order), dtype=np.int64)
        _mark_copies(column, code, better)
        _mark_by_hash(column, code, better, max_hash_distance, barred)
        if embeddings is not None:
            _mark_by_embedding(column, code, better, barred, embeddings, min_cosine)
        for role, quota in self._quotas.items():
            chosen = np.flatnonzero((code == KEPT) & (column["role"] == ROLES.index(role)))
            if quota.score:
                keys = (column["key_low"], column["key_high"], -column["wanted"], ~column["settled"])
                chosen = chosen[np.lexsort([key[chosen] for key in keys])]
            code[chosen[quota.count :]] = OVER
            better[chosen] = np.arange(1, len(chosen) + 1)
        return Excluded(column, code, better, self._quotas, barred.names)


class Excluded:
    """The excluded pictures, by part.

    Args:
        column: what is known of every survivor, best first.
        code: (N,) what became of each.
        better: (N,) the survivor or barred picture that a duplicate repeats, or the rank in the quota.
        quotas: of the roles.
        barred: names of the barred pictures.
    """

    def __init__(
        self,
        column: dict[str, NDArray[Any]],
        code: NDArray[np.int8],
        better: Places,
        quotas: Quotas,
        barred: list[str],
    ) -> None:
        self._column, self._code, self._better = column, code, better
        self._quotas, self._barred = quotas, barred
        self._named: dict[int, tuple[Places, pa.Array]] = {}
        places = np.flatnonzero(code != KEPT)
        self._places = places[np.argsort(column["part"][places], kind="stable")]
        self._parts = column["part"][self._places]

    def repeated(self, num_parts: int) -> list[Places]:
        """Returns for each part the source rows whose bytes excluded pictures have too, ascending."""
        first = np.unique(self._better[self._code == EXACT])
        part, row = self._column["part"][first], self._column["row"][first].astype(np.int64)
        order = np.lexsort((row, part))
        return np.split(row[order], np.searchsorted(part[order], np.arange(1, num_parts)))

    def name_repeated(self, number: int, rows: Places, urls: pa.Array) -> None:
        """Takes the files or URLs of a part's repeated rows, by which their copies are told.

        Args:
            number: of the part.
            rows: its repeated rows.
            urls: (len(rows),) string.
        """
        self._named[number] = rows, urls

    def of_part(self, number: int) -> list[Exclusion]:
        """Returns the excluded pictures of a part; every part's repeated rows have been named."""
        begin, end = np.searchsorted(self._parts, [number, number + 1])
        return [self._exclusion(int(place)) for place in self._places[begin:end]]

    def _exclusion(self, place: int) -> Exclusion:
        code, other = self._code[place], int(self._better[place])
        if code == EXACT:
            rows, urls = self._named[int(self._column["part"][other])]
            detail = urls[int(np.searchsorted(rows, self._column["row"][other]))].as_py()
        elif code == NEAR:
            detail = f"{self._column['key_high'][other]:016x}{self._column['key_low'][other]:016x}"
        elif code == BARRED:
            detail = self._barred[other]
        else:
            role = ROLES[self._column["role"][place]]
            quota = self._quotas[role]
            detail = f"rank {other} as {role}, kept are {quota.count}"
        reason = REASONS[code]
        assert isinstance(reason, Reason)
        return Exclusion(int(self._column["row"][place]), reason, detail)


def _mark_copies(column: dict[str, NDArray[Any]], code: NDArray[np.int8], better: Places) -> None:
    """Marks every picture whose bytes a better place has too."""
    by_key = np.lexsort(
        [column["key_low"], column["key_high"]]
    )  # stable: of each key the best place is first
    high, low = column["key_high"][by_key], column["key_low"][by_key]
    is_copy = np.concatenate(
        [np.zeros(min(1, len(code)), dtype=bool), (high[1:] == high[:-1]) & (low[1:] == low[:-1])]
    )
    first = np.maximum.accumulate(np.where(is_copy, -1, np.arange(len(code))))
    code[by_key[is_copy]] = EXACT
    better[by_key[is_copy]] = by_key[first[is_copy]]


def _mark_by_hash(
    column: dict[str, NDArray[Any]],
    code: NDArray[np.int8],
    better: Places,
    max_distance: int | None,
    barred: Barred,
) -> None:
    """Marks what repeats a barred picture, then what repeats a better survivor, by perceptual hash."""
    places = np.flatnonzero(code == KEPT)
    found = first_barred(column["phash"][places], barred.hashes, max_distance or 0)
    _mark(places, found, BARRED, code, better)
    if max_distance is not None:
        for places in _comparable(column, np.flatnonzero(code == KEPT)):
            twin = twins(column["phash"][places], max_distance)
            _mark(places, _of_other_photos(column, places, twin), NEAR, code, better)


def _mark_by_embedding(
    column: dict[str, NDArray[Any]],
    code: NDArray[np.int8],
    better: Places,
    barred: Barred,
    embeddings: Embeddings,
    min_cosine: float,
) -> None:
    """Marks the same by embedding; what repeats a picture that is now dropped then repeats what that one does."""
    places = np.flatnonzero(code == KEPT)
    features = embeddings.rows(column["part"][places], column["row"][places])
    if barred.features is not None and len(places):
        if embeddings.origin() != barred.origin:
            raise UserError(
                f"{embeddings.scorer} looked at {embeddings.store.url} and at the excluded sets with other weights or"
                " settings; assess them alike"
            )
        found = near_any(features, barred.features, min_cosine)
        _mark(places, found, BARRED, code, better)
        features[found >= 0] = 0  # near to nothing any more
    for chosen in _comparable(column, places):
        twin = similar_twins(features[np.searchsorted(places, chosen)], min_cosine)
        _mark(chosen, _of_other_photos(column, chosen, twin), NEAR, code, better)
    led = np.flatnonzero(code == NEAR)
    led = led[code[better[led]] != KEPT]
    code[led], better[led] = code[better[led]], better[better[led]]


def _comparable(column: dict[str, NDArray[Any]], places: Places) -> list[Places]:
    """Returns the places that may repeat each other: a negative looks like its photo and repeats negatives alone."""
    is_negative = column["role"][places] == ROLES.index(Role.NEGATIVE)
    return [places[~is_negative], places[is_negative]]


def _of_other_photos(column: dict[str, NDArray[Any]], places: Places, twin: Places) -> Places:
    """Returns the place of each one's twin, -1 without; samples of one photo (its crops) are no twins."""
    better = np.where(twin >= 0, places[twin], -1) if len(places) else places
    is_same_photo = column["photo"][places] == column["photo"][better]
    return np.where(is_same_photo, -1, better)


def _first_half(keys: pa.ChunkedArray) -> NDArray[np.uint64]:
    """Returns the first 64 bits of keys; two photos that share them are not told apart as twins, which is no harm."""
    digits = "".join(key[:16] for key in keys.to_pylist())
    return np.frombuffer(bytes.fromhex(digits), dtype=">u8").astype(np.uint64)


def _mark(places: Places, found: Places, reason: int, code: NDArray[np.int8], better: Places) -> None:
    hit = found >= 0
    code[places[hit]], better[places[hit]] = reason, found[hit]
