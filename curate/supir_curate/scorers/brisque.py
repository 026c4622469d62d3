"""BRISQUE: quality as people rated it, predicted from natural-scene statistics. 0 is good, 100 is bad.

Place in the flow: a scorer of `assess`, on the CPU. Parameters: the support vectors and feature ranges of the package
brisque 0.2.0 (Apache-2.0), trained on the LIVE ratings; its features are followed, and none of its code runs.

Source: A. Mittal et al., "No-Reference Image Quality Assessment in the Spatial Domain", TIP 2012. Blind spots: it knows
blur, noise, JPEG, JPEG 2000 and fading; the photos it was trained on are small (768 px).
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, NoReturn

import numpy as np
from pydantic import Field

from supir_console import UserError
from supir_curate.scorers.contract import Answer, Identity, PathSetting, Rgb
from supir_curate.scorers.weights import file_sha256, weight_file
from supir_curate.scores import Score
from supir_curate.strict import StrictConfig
from supir_quality.natural_scene import Array, fitted, normalised

REQUIREMENT = "brisque==0.2.0"
NUM_FEATURES = 36
MIN_SIDE_PX = 16


class BrisqueConfig(StrictConfig):
    """BRISQUE."""

    uses_gpu: ClassVar = False

    kind: Literal["brisque"] = "brisque"
    weights: PathSetting | None = Field(
        default=None,
        description="libsvm's svm.txt, with normalize.pickle beside it; null takes the installed one",
    )

    def scores(self, name: str) -> tuple[Score, ...]:
        """Returns what the scorer measures."""
        return (Score(name, "0 good to 100 bad", -20, 120),)

    def load(self, name: str, _device: str, _batch_images: int) -> Brisque:
        """Returns the loaded scorer."""
        return Brisque(name, self.weights)


class Brisque:
    """BRISQUE with its support vectors loaded.

    Raises:
        UserError: they are not there.
    """

    width = 0

    def __init__(self, name: str, weights: Path | None) -> None:
        path = weight_file(name, weights, "brisque", "models/svm.txt", REQUIREMENT)
        ranges = weight_file(name, path.with_name("normalize.pickle"), "", "normalize.pickle", REQUIREMENT)
        try:
            self._gamma, self._rho, self._weights, self._vectors = read_svm(path.read_text())
            self._low, self._high = read_ranges(ranges.read_bytes())
        except (ValueError, KeyError, IndexError, pickle.UnpicklingError) as error:
            raise UserError(
                f"{path} and {ranges.name} are no BRISQUE model ({error}); give the files of {REQUIREMENT}"
            ) from error
        self._name = name
        self.identity = Identity({file.name: file_sha256(file) for file in (path, ranges)})

    def prepare(self, rgb: Rgb) -> Answer:
        """Returns the answer: NaN for a picture without texture."""
        return Answer({self._name: self._score(rgb)})

    def answer(self, prepared: Sequence[Answer]) -> list[Answer]:
        """Returns them as they are."""
        return list(prepared)

    def _score(self, rgb: Rgb) -> float:
        if min(rgb.shape[:2]) < MIN_SIDE_PX:
            return float("nan")
        scaled = 2 * (features(rgb) - self._low) / (self._high - self._low) - 1
        kernel = np.exp(-self._gamma * ((self._vectors - scaled) ** 2).sum(axis=1))
        return float(self._weights @ kernel - self._rho)


def features(rgb: Rgb) -> Array:
    """Returns the 36 features of a picture at full and half size."""
    import cv2

    gray = np.ascontiguousarray(rgb @ np.array([0.2125, 0.7154, 0.0721]))
    half = cv2.resize(gray, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_CUBIC)
    return np.concatenate([_at_one_size(gray), _at_one_size(half)])


def _at_one_size(gray: Array) -> Array:
    import cv2
    from scipy.special import gammaln

    mscn = normalised(gray, cv2.BORDER_CONSTANT)
    neighbours = (
        mscn[:, :-1] * mscn[:, 1:],
        mscn[:-1] * mscn[1:],
        mscn[:-1, :-1] * mscn[1:, 1:],
        mscn[1:, :-1] * mscn[:-1, 1:],
    )
    shape, left, right = fitted(mscn.reshape(1, -1))
    found = [shape, (left**2 + right**2) / 2]
    for product in neighbours:
        shape, left, right = fitted(product.reshape(1, -1))
        width = gammaln(2 / shape) - (gammaln(1 / shape) + gammaln(3 / shape)) / 2
        found += [shape, (right - left) * np.exp(width), left**2, right**2]
    return np.concatenate(found)


def read_svm(text: str) -> tuple[float, float, Array, Array]:
    """Returns gamma, rho, the weights (N,) and the support vectors (N, 36) of a libsvm regression.

    Raises:
        ValueError: it is another kind of machine.
        KeyError: a line of the head is missing.
    """
    head, _, body = text.partition("\nSV\n")
    values = dict(line.split(maxsplit=1) for line in head.splitlines())
    if (values["svm_type"], values["kernel_type"]) != ("epsilon_svr", "rbf"):
        raise ValueError(f"a {values['svm_type']} with kernel {values['kernel_type']}")
    rows = [line.split() for line in body.splitlines()]
    vectors = np.zeros((len(rows), NUM_FEATURES))
    for number, (_, *entries) in enumerate(rows):
        for entry in entries:  # libsvm leaves zeros out
            place, _, value = entry.partition(":")
            vectors[number, int(place) - 1] = float(value)
    weights = np.array([float(row[0]) for row in rows])
    return float(values["gamma"]), float(values["rho"]), weights, vectors


def read_ranges(data: bytes) -> tuple[Array, Array]:
    """Returns the lowest and highest value of each feature, from a pickle that may hold plain values alone."""
    stored = _PlainUnpickler(io.BytesIO(data)).load()
    return np.array(stored["min_"], dtype=np.float64), np.array(stored["max_"], dtype=np.float64)


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it names {module}.{name}, which a table of numbers has no use for")
