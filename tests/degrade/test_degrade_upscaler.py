from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from supir_degrade import Recipe, degrade, draw, load_recipe, sample_generator
from supir_degrade.filters import resize


def _recipe(folder: Path, step: str) -> Recipe:
    path = folder / "r.yaml"
    path.write_text(f"name: x\nsteps: [{step}]", encoding="utf-8")
    return load_recipe(path)


@pytest.mark.parametrize("factor", [2, 4])
def test_an_earlier_enlargement_is_area_then_bicubic_as_torch_has_it(
    astronaut: np.ndarray, tmp_path: Path, factor: int
) -> None:
    step = f"{{do: upscaler, factor: {{{factor}: 1}}, weight: [0, 0], radius_px: [1, 3]}}"
    image = astronaut[:128, :192]
    got, trace = degrade(image, _recipe(tmp_path, step), sample_generator(0, "k", 0))
    assert [op.op for op in trace.ops] == ["resize", "resize", "sharpen"]
    small = torch.nn.functional.avg_pool2d(
        torch.from_numpy(image.copy()).permute(2, 0, 1)[None].double(), factor
    )
    large = torch.nn.functional.interpolate(small, scale_factor=factor, mode="bicubic", align_corners=False)
    expected = large[0].permute(1, 2, 0).clamp(0, 255).round().numpy()
    assert np.abs(got - expected).max() <= 1


def _lanczos_weights(old: int, new: int) -> np.ndarray:
    """(new, old): sinc(t) sinc(t / 4) at pixel centres, each row of sum one, the border repeated."""
    weights = np.zeros((new, old))
    for row, centre in enumerate((np.arange(new) + 0.5) * old / new - 0.5):
        columns = np.floor(centre).astype(int) + np.arange(-3, 5)
        taps = np.sinc(centre - columns) * np.sinc((centre - columns) / 4)
        np.add.at(weights[row], columns.clip(0, old - 1), taps / taps.sum())
    return weights


@pytest.mark.parametrize("size", [(57, 101), (60, 40), (13, 7)])
def test_lanczos_is_the_windowed_sinc_of_four_lobes(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random((20, 24, 3), dtype=np.float32)
    down, across = _lanczos_weights(20, size[0]), _lanczos_weights(24, size[1])
    expected = np.einsum("yr,rcb,xc->yxb", down, image, across)
    np.testing.assert_allclose(resize(image, *size, "lanczos"), expected, atol=1e-5)


def test_over_sharpening_overshoots_the_edges_that_are_left(tmp_path: Path) -> None:
    edge = np.full((64, 64, 3), 80, np.uint8)
    edge[:, 32:] = 170
    step = "{do: upscaler, factor: {4: 1}, weight: [3, 3], radius_px: [3, 3]}"
    got, _ = degrade(edge, _recipe(tmp_path, step), sample_generator(0, "k", 0))
    assert got.min() < 80 - 15
    assert got.max() > 170 + 15
    np.testing.assert_array_equal(got[:, :16], edge[:, :16])


def test_a_picture_too_small_to_shrink_is_only_sharpened(tmp_path: Path) -> None:
    step = "{do: upscaler, factor: {4: 1}, weight: [1, 1], radius_px: [1, 1]}"
    trace = draw(_recipe(tmp_path, step), (1, 1), sample_generator(0, "k", 0))
    assert [op.op for op in trace.ops] == ["sharpen"]


def test_web2026_holds_its_share_of_earlier_enlargements() -> None:
    recipe = load_recipe("web2026", ["clean_share=0"])
    factors: Counter[int] = Counter()
    lanczos = 0
    for number in range(4000):
        resizes = [
            o for o in draw(recipe, (512, 512), sample_generator(3, "k", number)).ops if o.op == "resize"
        ]
        # A share never gives a picture its whole size back before the last operation does.
        if (
            len(resizes) > 1
            and resizes[0].interpolation == "area"
            and resizes[1].width == 512 > resizes[0].width
        ):
            factors[512 // resizes[0].width] += resizes[0].width in (256, 128)
            lanczos += resizes[1].interpolation == "lanczos"
    assert stats.binomtest(factors[2] + factors[4], 4000, 0.08).pvalue > 1e-4
    assert stats.binomtest(factors[4], factors[2] + factors[4], 0.3).pvalue > 1e-4
    assert stats.binomtest(lanczos, factors[2] + factors[4], 0.5).pvalue > 1e-4


def test_the_papers_recipes_keep_to_their_three_interpolations() -> None:
    for name in ("realesrgan", "light"):
        recipe = load_recipe(name)
        drawn = {o.interpolation for n in range(300) for o in draw(recipe, (64, 64), sample_generator(1, "k", n)).ops
                 if o.op == "resize"}  # fmt: skip
        assert drawn == {"area", "bilinear", "bicubic"}
