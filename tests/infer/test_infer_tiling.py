from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from supir_infer.tiling import normalised_weights, tile_windows, tiled

sides = st.integers(min_value=1, max_value=70)


@settings(max_examples=150, deadline=None)
@given(height=sides, width=sides, tile=st.integers(4, 32), overlap=st.floats(0, 1))
def test_every_pixel_is_covered_and_its_weights_sum_to_one(height, width, tile, overlap):
    windows = tile_windows(height, width, tile, max(1, round(tile * overlap)))
    total = np.zeros((height, width))
    for window, weight in zip(windows, normalised_weights(windows, height, width), strict=True):
        assert 0 <= window.top < window.bottom <= height
        assert 0 <= window.left < window.right <= width
        assert (weight > 0).all()
        total[window.top : window.bottom, window.left : window.right] += weight
    assert np.allclose(total, 1, atol=1e-12)
    assert len({(w.bottom - w.top, w.right - w.left) for w in windows}) == 1


def test_a_stride_that_leaves_gaps_is_refused_with_the_range():
    with pytest.raises(ValueError, match=r"stride=17 does not cover tiles of 16; use 1 to 16"):
        tile_windows(40, 40, 16, 17)


def latents() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x, z_lq = torch.randn(2, 2, 4, 44, 60, generator=generator)
    return x, z_lq


def pointwise(controls, group=None):
    return lambda x, sigma_hat, sigma: torch.tanh(x) * sigma_hat + controls * sigma


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_pointwise_denoiser_gives_the_same_estimate_tiled_and_untiled(batch):
    x, z_lq = latents()
    windows = tile_windows(44, 60, 16, 8)
    estimate = tiled(pointwise, z_lq, windows, batch)(x, 3.0, 2.0)
    assert torch.allclose(estimate, pointwise(z_lq)(x, 3.0, 2.0), atol=1e-5)


def test_tiles_that_disagree_leave_no_step_where_a_tile_ends():
    x, z_lq = latents()

    def denoise_for(controls, group):
        # the crop's own mean makes neighbouring tiles disagree, as a network with a view of one tile does
        return lambda x, sigma_hat, sigma: torch.zeros_like(x) + controls.mean(dim=(1, 2, 3), keepdim=True)

    x, z_lq = x[..., :40, :56], z_lq[..., :40, :56]
    windows = tile_windows(40, 56, 16, 8)
    estimate = tiled(denoise_for, z_lq, windows, 3)(x, 1.0, 1.0)[0, 0]
    ends = sorted({window.right for window in windows if window.right < 56})
    across = (estimate[:, ends] - estimate[:, [end - 1 for end in ends]]).abs().max()
    disagreement = estimate.max() - estimate.min()
    assert disagreement > 0.05
    assert across < 0.002 * disagreement
