from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from supir_console import UserError
from supir_degrade import RECIPES, Recipe, degrade, draw, load_recipe, sample_generator
from supir_degrade.recipe import OneOfStep
from supir_degrade.steps import BlurStep, JpegStep, NoiseStep, ResizeStep
from supir_degrade.strength import weaken

MIX = {
    "iso": 0.45,
    "aniso": 0.25,
    "gen_iso": 0.12,
    "gen_aniso": 0.03,
    "plateau_iso": 0.12,
    "plateau_aniso": 0.03,
}


def _steps(recipe: Recipe, kind: type) -> list:
    return [step for step in recipe.steps if isinstance(step, kind)]


@pytest.mark.parametrize(
    ("name", "blurs", "second_blur", "resizes", "noises", "poissons", "quality"),
    [
        ("realesrgan", [(0.2, 3), (0.2, 1.5)], 0.8, [(0.15, 1.5), (0.3, 1.2)], [(1, 30), (1, 25)],
         [(0.05, 3), (0.05, 2.5)], (30, 95)),
        ("light", [(0.2, 1.5), (0.2, 1.0)], 0.5, [(0.3, 1.5), (0.6, 1.2)], [(1, 15), (1, 12)],
         [(0.05, 2), (0.05, 1)], (60, 95)),
    ],
)  # fmt: skip
def test_recipe_has_the_published_numbers(
    name: str, blurs: list, second_blur: float, resizes: list, noises: list, poissons: list, quality: tuple
) -> None:
    recipe = load_recipe(name)
    assert [step.sigma for step in _steps(recipe, BlurStep)] == blurs
    assert [step.probability for step in _steps(recipe, BlurStep)] == [1, second_blur]
    assert all(step.kernels == MIX and step.sinc_probability == 0.1 for step in _steps(recipe, BlurStep))
    assert [step.factor for step in _steps(recipe, ResizeStep)] == resizes
    shares = [(step.of, step.up_probability, step.down_probability) for step in _steps(recipe, ResizeStep)]
    assert shares == [("input", 0.2, 0.7), ("output", 0.3, 0.4)]
    assert [step.sigma for step in _steps(recipe, NoiseStep)] == noises
    assert [step.poisson_scale for step in _steps(recipe, NoiseStep)] == poissons
    assert {(s.gaussian_probability, s.gray_probability) for s in _steps(recipe, NoiseStep)} == {(0.5, 0.4)}
    final = _steps(recipe, OneOfStep)[0]
    jpegs = [s for branch in final.branches for s in branch.steps if isinstance(s, JpegStep)]
    assert [step.quality for step in [*_steps(recipe, JpegStep), *jpegs]] == [quality] * 3


def test_kernel_shapes_have_the_published_ranges() -> None:
    first, second = _steps(load_recipe("light"), BlurStep)
    assert (first.kernel_sizes, second.kernel_sizes) == ((7, 21), (7, 11))
    assert (second.beta_generalised, second.beta_plateau) == ((0.5, 2.0), (1.0, 1.5))
    full = _steps(load_recipe("realesrgan"), BlurStep)[1]
    assert (full.kernel_sizes, full.beta_generalised, full.beta_plateau) == ((7, 21), (0.5, 4.0), (1.0, 2.0))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_written_as_yaml_and_read_again_is_the_same(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    copy = tmp_path / "copy.yaml"
    copy.write_text(yaml.safe_dump(recipe.model_dump(mode="json")), encoding="utf-8")
    assert load_recipe(copy) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nstep: []", r"unknown config key 'step'; did you mean 'steps'\?"),
        (
            "name: x\nsteps: [{do: blur, sigma: [1, 2], sinc_probabilty: 0}]",
            r"did you mean 'sinc_probability'\?",
        ),
        (
            "name: x\nsteps: [{do: blur, sigma: [3, 2]}]",
            r"steps\.0\.blur\.sigma.*\[low, high\] within 0\.01\.\.100, got \[3\.0, 2\.0\]",
        ),
        ("name: x\nsteps: [{do: melt}]", r"steps\.0.*'melt'.*'blur', 'sinc'"),
        ("name: x\nsteps: [{do: jpeg, quality: [0, 90]}]", r"within 1\.\.100, got \[0, 90\]"),
        ("name: x\nscale: {0.5: 1}\nsteps: []", r"scale.*greater than or equal to 1"),
        ("name: x\nscale: {4: 0}\nsteps: []", r"not all zero, 1e\+09 in all at most; got \{4\.0: 0\.0\}"),
        (
            "name: x\nsteps: [{do: resize, up_probability: 0.6, down_probability: 0.6, factor: [0.5, 2]}]",
            r"up_probability \+ down_probability is above 1",
        ),
        (
            "name: x\nsteps: [{do: resize, up_probability: 0, down_probability: 1, factor: [1.5, 2]}]",
            r"enclose 1, got \[1\.5, 2\.0\]",
        ),
    ],
)
def test_a_wrong_recipe_is_named_with_its_mend(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load_recipe(path)


SHARES = "{do: shares, rounds: [1, 4], photo_side_px: [1200, 6000], caps_px: [720], codecs: [{steps: []}]}"


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("{do: blur, sigma: [0, 0]}", r"blur\.sigma.*within 0\.01\.\.100, got \[0\.0, 0\.0\]"),
        ("{do: blur, sigma: [1, .inf]}", r"blur\.sigma\.1.*finite number \(got inf\)"),
        ("{do: blur, sigma: [.nan, 2]}", r"blur\.sigma\.0.*finite number \(got nan\)"),
        ("{do: blur, sigma: [1, 1000]}", r"blur\.sigma.*within 0\.01\.\.100"),
        ("{do: blur, sigma: [1, 2], kernel_sizes: [8, 20]}", r"both odd, within 1\.\.101, got \[8, 20\]"),
        ("{do: blur, sigma: [1, 2], kernel_sizes: [21, 7]}", r"\[low, high\], both odd.*got \[21, 7\]"),
        ("{do: blur, sigma: [1, 2], kernel_sizes: [-3, 7]}", r"got \[-3, 7\]"),
        ("{do: blur, sigma: [1, 2], kernels: {iso: .inf}}", r"kernels\.iso.*finite"),
        (
            "{do: blur, sigma: [1, 2], beta_plateau: [2, 3]}",
            r"around 1 within 0\.1\.\.20, got \[2\.0, 3\.0\]",
        ),
        ("{do: sinc, min_cutoff: 1.0e-200}", r"min_cutoff.*greater than or equal to 0\.01"),
        ("{do: defocus, radius_px: [0, 3]}", r"radius_px.*within 0\.1\.\.100, got \[0\.0, 3\.0\]"),
        ("{do: motion, length_px: [-1, 3]}", r"length_px.*within 0\.\.200"),
        ("{do: resize, up_probability: 0, down_probability: 1, factor: [0, 2]}", r"within 0\.01\.\.8"),
        ("{do: resize, up_probability: 0, down_probability: 1, factor: [0.5, 999]}", r"within 0\.01\.\.8"),
        ("{do: to_output, interpolations: []}", r"interpolations.*at least 1 item"),
        ("{do: noise, sigma: [-1, 3], poisson_scale: [0, 1]}", r"sigma.*within 0\.\.255"),
        ("{do: noise, sigma: [1, 3], poisson_scale: [-1, 1]}", r"poisson_scale.*within 0\.\.100"),
        ("{do: sharpen, weight: [0, 1], radius_px: [4, 1]}", r"radius_px.*within 1\.\.200, got \[4, 1\]"),
        ("{do: camera_noise, shot: [0, 0.1], read_sigma: [0, 0]}", r"shot.*within 1e-06\.\.0\.1"),
        (
            "{do: moire, pitch: [0.9, 1.1], lens_sigma: [0.1, 0.5], blur_sigma_px: [0, 1]}",
            r"lens_sigma.*within 0\.15\.\.2",
        ),
        (
            "{do: upscaler, factor: {0.5: 1}, weight: [1, 2], radius_px: [1, 3]}",
            r"upscaler\.factor.*equal to 1",
        ),
        (
            "{do: upscaler, factor: {2: 1}, weight: [1, 99], radius_px: [1, 3]}",
            r"upscaler\.weight.*within 0\.\.10",
        ),
        ("{do: webp, quality: [50, 90], methods: [9]}", r"methods\.0.*less than or equal to 6 \(got 9\)"),
        ("{do: webp, quality: [50, 90], methods: []}", r"methods.*at least 1 item"),
        ("{do: video, codec: h264, crf: [0, 30]}", r"crf.*within 1\.\.51, got \[0, 30\]"),
        ("{do: video, codec: av1, crf: [20, 30]}", r"codec.*'h264' or 'h265'"),
        (
            "{do: video, codec: h264, crf: [20, 30], matrices: {bt2020: 1}}",
            r"matrices\.bt2020.*'bt601' or 'bt709'",
        ),
        ("{do: vae, weights: ''}", r"vae\.weights.*at least 1 character"),
        ("{do: one_of, branches: [{weight: 0, steps: []}]}", r"branches.*not all zero.*got \{0: 0\.0\}"),
        ("{do: one_of, branches: []}", r"branches.*not all zero.*got \{\}"),
        (SHARES.replace("1200, 6000", "0, 10"), r"photo_side_px.*within 16\.\.100000, got \[0\.0, 10\.0\]"),
        (SHARES.replace("1, 4", "4, 1"), r"rounds.*within 0\.\.20, got \[4, 1\]"),
        (SHARES.replace("[720]", "[0]"), r"caps_px\.0.*greater than or equal to 16 \(got 0\)"),
    ],
)
def test_numbers_that_make_no_picture_are_refused(step: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(f"name: x\nsteps: [{step}]", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load_recipe(path)


def test_scale_is_bounded_and_enlarging_needs_a_way() -> None:
    with pytest.raises(UserError, match=r"scale.*less than or equal to 64"):
        load_recipe("light", ["scale={1000: 1}"])
    with pytest.raises(UserError, match=r"enlarge.*at least 1 item"):
        load_recipe("light", ["enlarge=[]"])


# Each field at the lowest and at the highest value that is accepted; cutoffs at the lowest.
EXTREMES = [
    *(
        f"{{do: blur, sigma: [{s}, {s}], kernel_sizes: [{k}, {k}], kernels: {{{kind}: 1}}, sinc_probability: 0,"
        f" beta_generalised: {beta}, beta_plateau: {beta}}}"
        for s in (0.01, 100)
        for k in (1, 3, 101)
        for kind, beta in (("iso", "[1, 1]"), ("gen_aniso", "[0.1, 1]"), ("plateau_aniso", "[1, 20]"))
    ),
    *(f"{{do: sinc, min_cutoff: 0.01, kernel_sizes: [{k}, {k}]}}" for k in (1, 101)),
    *(f"{{do: defocus, radius_px: [{r}, {r}]}}" for r in (0.1, 100)),
    *(f"{{do: motion, length_px: [{r}, {r}]}}" for r in (0, 200)),
    *(
        f"{{do: resize, up_probability: {up}, down_probability: {1 - up}, factor: [0.01, 8]}}, {{do: to_output}}"
        for up in (0, 1)
    ),
    *(f"{{do: noise, sigma: [{s}, {s}], poisson_scale: [{p}, {p}]}}" for s, p in ((0, 0), (255, 100))),
    *(
        f"{{do: sharpen, weight: [{w}, {w}], radius_px: [{r}, {r}], threshold: {t}}}"
        for w, r, t in ((0, 1, 0), (10, 200, 255))
    ),
    *(
        f"{{do: camera_noise, shot: [{s}, {s}], read_sigma: [{r}, {r}]}}" for s, r in ((1e-6, 0), (0.1, 0.2))
    ),
    *(
        f"{{do: moire, pitch: [{p}, {p}], max_angle: {a}, lens_sigma: [{s}, {s}], blur_sigma_px: [{b}, {b}]}}"
        for p, a, s, b in ((0.1, 0, 0.15, 0), (4, 0.8, 2, 10))
    ),
    *(
        f"{{do: upscaler, factor: {{{f}: 1}}, weight: [{w}, {w}], radius_px: [{r}, {r}]}}"
        for f, w, r in ((1, 0, 1), (64, 10, 200))
    ),
    "{do: upscaler, factor: {4: 1}, interpolations: [lanczos], weight: [1, 1], radius_px: [1, 1]}",
    *(f"{{do: webp, quality: [{q}, {q}], methods: [{m}]}}" for q, m in ((1, 0), (100, 6))),
    *(
        f"{{do: video, codec: {codec}, crf: [{crf}, {crf}], preset: {preset}, matrices: {{{matrix}: 1}}}}"
        for codec, matrix in (("h264", "bt601"), ("h265", "bt709"))
        for crf, preset in ((1, "ultrafast"), (51, "slow"))
    ),
    "{do: vae}",
    *(f"{{do: shares, rounds: [20, 20], photo_side_px: [{p}, {p}], caps_px: [16], codecs: [{{steps: []}}]}}"
      for p in (16, 100000)),
]  # fmt: skip


@pytest.mark.parametrize("steps", EXTREMES)
def test_a_gray_picture_stays_gray_at_both_ends_of_every_range(steps: str, tmp_path: Path) -> None:
    path = tmp_path / "extreme.yaml"
    path.write_text(f"name: x\nscale: {{64: 1}}\nsteps: [{steps}]", encoding="utf-8")
    recipe = load_recipe(path)
    gray = np.full((40, 56, 3), 128, np.uint8)
    for number in range(3):
        degraded, _ = degrade(gray, recipe, sample_generator(0, "k", number))
        assert degraded.shape == gray.shape
        # Strong noise is clipped, which moves the mean; a black or a white picture would be 127 off.
        assert abs(float(degraded.mean()) - 128) < 40


def test_an_unknown_recipe_name_lists_those_there_are() -> None:
    with pytest.raises(UserError, match=r"'real' is neither a file nor one of realesrgan, light, web2026"):
        load_recipe("real")


@pytest.mark.parametrize("name", RECIPES)
def test_a_weaker_recipe_makes_the_same_choices_with_gentler_numbers(name: str) -> None:
    recipe = load_recipe(name, ["clean_share=0", "scale={4: 1}"])
    for number in range(100):
        full, half = (
            draw(weaken(recipe, strength), (512, 512), sample_generator(0, "k", number)).ops
            for strength in (1, 0.5)
        )
        full, half = ([op for op in ops if op.op != "resize"] for ops in (full, half))
        assert [op.op for op in full] == [op.op for op in half]
        for strong, weak in zip(full, half, strict=True):
            for key in (
                "sigma",
                "scale",
                "shot",
                "read_sigma",
                "blur_sigma_px",
                "radius_px",
                "length_px",
                "weight",
                "sigma_x",
                "crf",
            ):
                assert getattr(weak, key, 0) <= getattr(strong, key, 0)
            assert getattr(weak, "quality", 0) >= getattr(strong, "quality", 0)


def test_weakening_halves_the_ranges_from_their_harmless_end() -> None:
    half = weaken(load_recipe("realesrgan"), 0.5)
    assert half.scale == {2.5: 0.7, 1.5: 0.15, 1.0: 0.15}
    assert _steps(half, NoiseStep)[0].sigma == (1, 15.5)
    np.testing.assert_allclose(_steps(half, ResizeStep)[0].factor, (0.575, 1.25))
    assert _steps(half, JpegStep)[0].quality == (62, 95)
    with pytest.raises(UserError, match=r"strength 1\.5 is not in \(0, 1\]"):
        weaken(half, 1.5)


def _nested(folder: Path, depth: int) -> Path:
    step = "{do: jpeg, quality: [5, 5]}"
    for _ in range(depth):
        step = f"{{do: one_of, branches: [{{steps: [{step}]}}]}}"
    path = folder / "nested.yaml"
    path.write_text(f"name: x\nsteps: [{step}]", encoding="utf-8")
    return path


def test_branches_inside_branches_have_a_deepest_level(tmp_path: Path) -> None:
    deepest = load_recipe(_nested(tmp_path, 20))
    assert draw(deepest, (8, 8), sample_generator(0, "k", 0)).ops[0].quality == 5
    with pytest.raises(UserError, match="'steps': branches inside branches go deeper than 20; join some"):
        load_recipe(_nested(tmp_path, 21))
    with pytest.raises(UserError, match=r"nested\.yaml has too many levels of brackets inside each other"):
        load_recipe(_nested(tmp_path, 1000))


def test_a_strength_leaves_probabilities_and_the_ranges_that_its_text_names() -> None:
    full, half = load_recipe("web2026"), weaken(load_recipe("web2026"), 0.5)
    whole = ("probability", "kernel_sizes", "beta_generalised", "beta_plateau", "pitch", "max_angle", "rounds",
             "caps_px", "threshold", "speed", "methods", "preset", "sinc_probability")  # fmt: skip
    for step, weaker in zip(full.steps, half.steps, strict=True):
        for name in whole:
            assert getattr(step, name, None) == getattr(weaker, name, None)
