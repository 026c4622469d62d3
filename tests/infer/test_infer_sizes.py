from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supir_console import UserError
from supir_infer import PRESETS, RestoreSettings
from supir_infer.settings import change_settings
from supir_infer.sizes import plan_sizes


@given(
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
    upscale=st.floats(0.25, 4),
    snap=st.sampled_from([32, 64]),
)
def test_working_sides_sit_on_the_grid_and_the_output_is_input_times_upscale(width, height, upscale, snap):
    settings = RestoreSettings(upscale=upscale, snap_px=snap, min_size_px=256, max_megapixels=1e4)
    sizes = plan_sizes((width, height), settings)
    assert all(side % snap == 0 for side in sizes.working)
    assert min(sizes.working) >= 256
    wanted = (width * upscale, height * upscale)
    assert all(side >= asked - snap / 2 for side, asked in zip(sizes.working, wanted, strict=True))
    assert sizes.output == (max(1, round(width * upscale)), max(1, round(height * upscale)))


def test_min_size_enlarges_the_working_image_and_not_the_output():
    sizes = plan_sizes((300, 200), PRESETS["paper"])
    assert (sizes.working, sizes.output) == ((1536, 1024), (300, 200))


def test_a_working_image_that_is_too_large_is_refused_with_its_size():
    with pytest.raises(
        UserError, match=r"a 10x4000 picture needs a working image of 256x102400 px, more than"
    ):
        plan_sizes((10, 4000), RestoreSettings(max_megapixels=20))


def test_tiles_that_leave_gaps_are_refused():
    with pytest.raises(
        ValueError, match=r"tile_stride_px=512 leaves gaps between tiles of 256 px; use at most 256"
    ):
        RestoreSettings(tile_px=256, tile_stride_px=512)


def limits() -> list[tuple[str, float, float]]:
    """The keys of `RestoreSettings` that are numbers, with their least and their most."""
    schema = RestoreSettings.model_json_schema()["properties"]
    numbers = [
        (key, option)
        for key in schema
        for option in schema[key].get("anyOf", [schema[key]])
        if option.get("type") in ("number", "integer") and "enum" not in option
    ]
    return [(key, option["minimum"], option["maximum"]) for key, option in numbers]


@pytest.mark.parametrize(("key", "least", "most"), limits())
def test_every_number_has_a_least_and_a_most(key, least, most):
    tiles = {"tile_px": most} if key == "tile_stride_px" else {"tile_stride_px": 32}
    for allowed in (least, most):
        assert getattr(change_settings(RestoreSettings(), tiles | {key: allowed}), key) == allowed
    for refused in ("-1", "1e300", ".inf", ".nan", str(10**30)):
        with pytest.raises(UserError, match=f"config key '{key}': "):
            change_settings(RestoreSettings(), {}, [f"{key}={refused}"])
