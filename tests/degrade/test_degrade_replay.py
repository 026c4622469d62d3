from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supir_console import UserError
from supir_degrade import RECIPES, Trace, degrade, load_recipe, replay, sample_generator

LOADED = {name: load_recipe(name) for name in RECIPES}

IN_ANOTHER_PROCESS = """
import hashlib, skimage.data
from supir_degrade import degrade, load_recipe, sample_generator
crop = skimage.data.astronaut()[100:356, 100:356]
digest = hashlib.sha256()
for name in ("realesrgan", "light", "web2026"):
    for epoch in range(6):
        lq, trace = degrade(crop, load_recipe(name), sample_generator(5, "abc", epoch))
        digest.update(lq.tobytes() + trace.to_json().encode())
print(digest.hexdigest())
"""


@settings(max_examples=60, deadline=None)
@given(
    recipe=st.sampled_from(RECIPES),
    seed=st.integers(0, 2**40),
    height=st.integers(8, 96),
    width=st.integers(8, 96),
)
def test_replaying_a_trace_gives_the_same_bytes(recipe: str, seed: int, height: int, width: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    lq, trace = degrade(image, LOADED[recipe], sample_generator(seed, "key", 0))
    assert lq.shape == image.shape
    assert lq.dtype == np.uint8
    again = replay(image, Trace.from_json(trace.to_json()))
    assert again.tobytes() == lq.tobytes()


def test_another_process_draws_and_renders_the_same_bytes(astronaut: np.ndarray) -> None:
    crop = astronaut[100:356, 100:356]
    digest = hashlib.sha256()
    for name in RECIPES:
        for epoch in range(6):
            lq, trace = degrade(crop, LOADED[name], sample_generator(5, "abc", epoch))
            digest.update(lq.tobytes() + trace.to_json().encode())
    other = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS], capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == digest.hexdigest()


def test_degrading_changes_the_picture_and_leaves_the_original_alone(astronaut: np.ndarray) -> None:
    before = astronaut.copy()
    lq, trace = degrade(astronaut, load_recipe("realesrgan", ["clean_share=0"]), sample_generator(0, "k", 0))
    assert np.abs(lq.astype(int) - astronaut).mean() > 3
    np.testing.assert_array_equal(astronaut, before)
    assert len(trace.to_json()) < 2000


def test_a_clean_sample_is_a_copy(astronaut: np.ndarray) -> None:
    lq, trace = degrade(astronaut, load_recipe("light", ["clean_share=1"]), sample_generator(0, "k", 0))
    assert trace.ops == ()
    np.testing.assert_array_equal(lq, astronaut)
    assert not np.shares_memory(lq, astronaut)


def test_replay_refuses_a_picture_of_another_size(astronaut: np.ndarray) -> None:
    _, trace = degrade(astronaut, LOADED["light"], sample_generator(0, "k", 0))
    with pytest.raises(
        UserError, match=r"uint8 \(100, 512, 3\), the trace was drawn for uint8 \(512, 512, 3\)"
    ):
        replay(astronaut[:100], trace)


def test_a_trace_with_an_unknown_operation_is_refused() -> None:
    text = json.dumps({"version": 1, "recipe": "x", "height": 8, "width": 8, "ops": [{"op": "melt"}]})
    with pytest.raises(UserError, match=r"not a degradation trace: ops\.0: .*'melt'"):
        Trace.from_json(text)
