from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import correlate1d

from supir_infer.colour import fix_colour


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    content = torch.rand(2, 3, 40, 56, generator=generator) * 2 - 1
    style = (
        torch.rand(2, 3, 40, 56, generator=generator) * 0.4 + torch.tensor([0.3, -0.2, 0.0])[:, None, None]
    )
    return content, style


def low_frequencies(image: np.ndarray) -> np.ndarray:
    """The same a-trous ladder, separably and with SciPy's border handling."""
    for level in range(5):
        kernel = np.zeros(2 ** (level + 1) + 1)
        kernel[[0, 2**level, -1]] = 0.25, 0.5, 0.25
        for axis in (2, 3):
            image = correlate1d(image, kernel, axis=axis, mode="nearest")
    return image


def test_wavelet_takes_low_frequencies_from_style_and_high_ones_from_content():
    content, style = pair()
    fixed = fix_colour(content, style, "wavelet").numpy()
    expected = content.numpy() - low_frequencies(content.numpy()) + low_frequencies(style.numpy())
    assert np.abs(fixed - expected).max() < 1e-5


def test_adain_gives_each_channel_the_mean_and_deviation_of_style():
    content, style = pair()
    fixed = fix_colour(content, style, "adain")
    assert torch.allclose(fixed.mean(dim=(2, 3)), style.mean(dim=(2, 3)), atol=1e-5)
    assert torch.allclose(fixed.std(dim=(2, 3)), style.std(dim=(2, 3)), rtol=1e-3)
    assert not torch.allclose(fixed.std(dim=(2, 3)), content.std(dim=(2, 3)), rtol=0.1)


def test_mean_moves_each_channel_of_each_picture_to_the_mean_of_style():
    content, style = pair()
    fixed = fix_colour(content, style, "mean")
    assert torch.allclose(fixed.mean(dim=(2, 3)), style.mean(dim=(2, 3)), atol=1e-6)
    assert torch.allclose(fixed.diff(dim=-1), content.diff(dim=-1), atol=1e-6)


def test_a_uniform_colour_cast_is_removed_and_detail_kept_by_the_wavelet_fix():
    content, _ = pair()
    cast = content + torch.tensor([0.3, -0.1, 0.2])[:, None, None]
    assert torch.allclose(fix_colour(cast, content, "wavelet"), content, atol=1e-5)


def test_none_returns_the_content_untouched():
    content, style = pair()
    assert torch.equal(fix_colour(content, style, "none"), content)
