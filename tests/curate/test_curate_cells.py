"""Means over cells, and the memory that scoring keeps: what is fast must also be right."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest

from supir_curate.pictures.memory import keep_freed_memory
from supir_curate.probes.areas import area_weights, cell_moments

COUNT_FAULTS = """
import resource
from supir_curate.pictures.memory import keep_freed_memory
{call}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
bytearray(b"x") * (30 << 20), bytearray(b"x") * (30 << 20)
before = faults()
bytearray(b"x") * (30 << 20)
print(faults() - before)
"""


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"), [(96, 160, 3, 5), (100, 171, 3, 5), (20, 40, 1, 1)]
)
def test_cell_moments_are_area_means_of_the_response_and_its_square(height, width, rows, columns):
    gray = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    field = cv2.Laplacian(gray, cv2.CV_32F)
    weights = area_weights(height, rows, height), area_weights(width, columns, width)
    mean, square = cell_moments(gray, *weights, lambda lines: cv2.Laplacian(lines, cv2.CV_32F))
    for found, of in ((mean, field), (square, field * field)):
        expected = cv2.resize(of, (columns, rows), interpolation=cv2.INTER_AREA)
        assert found == pytest.approx(expected, rel=1e-4, abs=0.01)


def test_pixels_beyond_the_cells_count_nowhere():
    gray = np.zeros((40, 70), np.uint8)
    gray[32:] = gray[:, 64:] = 255
    mean, square = cell_moments(
        gray, area_weights(40, 1, 32), area_weights(70, 2, 64), lambda lines: lines.astype(np.float32)
    )
    assert not mean.any()
    assert not square.any()


def test_scoring_reuses_the_memory_of_the_last_picture():
    if not keep_freed_memory():
        pytest.skip("this C library has no such setting")
    faults = [
        int(
            subprocess.run(
                [sys.executable, "-c", COUNT_FAULTS.format(call=call)], capture_output=True, check=True
            ).stdout
        )
        for call in ("", "keep_freed_memory()")
    ]
    assert faults[0] > 7000  # 30 MB in pages of 4 kB: without it every picture pays anew
    assert faults[1] < 100
