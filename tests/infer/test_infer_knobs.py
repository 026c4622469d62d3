"""What a user can turn: LoRAs, 8 bits, offloading, compiled blocks, tile captions, size vector, ramps, presets."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from supir_console import UserError
from supir_infer.cli import main
from supir_infer.conditioning import size_vectors, tile_prompts
from supir_infer.model_source import load_model, resolve_model
from supir_infer.regions import Region, TileCaptions, tile_text
from supir_infer.restore import Restorer
from supir_infer.running import Changes, Execution, Lora, read_loras
from supir_infer.saving import read_metadata
from supir_infer.sizes import Sizes
from supir_infer.tiling import Window, tile_windows

QUICK = ("--model", "tiny", "--steps", 1, "--min-size", 64, "--strength", 1, "--set", "start_sigma=0.5")
LAYER = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.fixture
def lora(tmp_path, supir):
    width = supir.unet.get_submodule(LAYER).weight.shape[0]
    generator = torch.Generator().manual_seed(0)
    down, up = torch.randn(2, 4, width, generator=generator)
    path = tmp_path / "style.safetensors"
    save_file({f"unet.{LAYER}.lora_A.weight": down, f"unet.{LAYER}.lora_B.weight": up.T.contiguous()}, path)
    return path


def restored(path):
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


# --- LoRA, 8 bits, offloading, compiled blocks ---


def test_a_lora_with_its_weight_changes_the_picture_and_stands_in_it(command, photos, tmp_path, lora):
    face = photos / "face.png"
    for name, options in (
        ("plain", ()),
        ("style", ("--lora", f"{lora}:0.5")),
        ("none", ("--lora", f"{lora}:0")),
    ):
        ended = command(main, face, "-o", tmp_path / name, *QUICK, *options)
        assert ended.code == 0, ended.err
    assert "style.safetensors: weight 0, layers: 1 of unet" in ended.err
    plain, style, none = (restored(tmp_path / name / "face.png") for name in ("plain", "style", "none"))
    assert np.abs(plain - style).max() > 2
    assert np.array_equal(plain, none)
    record = read_metadata(tmp_path / "style" / "face.png")
    assert record["model"] == "tiny+style:0.5"
    again = command(main, face, "-o", tmp_path / "style", *QUICK, "--lora", f"{lora}:0.7")
    assert "was made with another model (tiny+style:0.5, now tiny+style:0.7)" in again.err
    assert record["model_sha256"] != read_metadata(tmp_path / "none" / "face.png")["model_sha256"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{lora}:strong", "the weight 'strong' is no number from -10 to 10; write FILE:0.8"),
        ("{lora}:nan", "the weight 'nan' is no number"),
        ("{lora}:11", "the weight '11' is no number"),
        ("{folder}/none.safetensors:1", "none.safetensors is no file; give a LoRA"),
        ("{folder}/none.safetensors", "none.safetensors is no file; give a LoRA"),
    ],
)
def test_a_lora_that_is_none_is_said_before_the_model_is_loaded(
    command, photos, tmp_path, lora, value, words
):
    value = value.format(lora=lora, folder=tmp_path)
    ended = command(main, photos, "-o", tmp_path / "out", *QUICK, "--lora", value)
    assert ended.code == 2
    assert words in ended.err


def test_a_file_with_a_colon_in_its_name_is_a_file(tmp_path):
    path = tmp_path / "style:0.5"
    path.write_bytes(b"")
    assert read_loras([str(path), f"{path}:-2"]) == (Lora(path), Lora(path, -2.0))


def test_a_lora_for_another_model_ends_the_run_in_one_line(command, photos, tmp_path):
    save_file({f"unet.{LAYER}.lora_A.weight": torch.ones(4, 640)}, tmp_path / "wide.safetensors")
    ended = command(main, photos, "-o", tmp_path / "out", *QUICK, "--lora", tmp_path / "wide.safetensors")
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert "wide.safetensors is incomplete" in ended.err


def test_8_bit_weights_are_another_model_and_files_of_weights_are_the_same(command, photos, tmp_path):
    face = photos / "face.png"
    runs = {"plain": (), "float8": ("--float8",), "files": ("--offload", tmp_path / "weights")}
    for name, options in runs.items():
        ended = command(main, face, "-o", tmp_path / name, *QUICK, *options)
        assert ended.code == 0, ended.err
    plain, float8, files = (restored(tmp_path / name / "face.png") for name in runs)
    assert np.array_equal(plain, files)
    assert 0 < np.abs(plain - float8).mean() < 5
    assert read_metadata(tmp_path / "float8" / "face.png")["model"] == "tiny+float8"
    assert not list((tmp_path / "weights").iterdir())
    ended = command(main, face, "-o", tmp_path / "ram", *QUICK, "--offload", "ram", "--device", "cpu")
    assert ended.code == 2
    assert "--offload ram keeps weights in main memory beside a GPU, and this run is on the CPU" in ended.err


def test_compiled_blocks_are_asked_for(supir):
    model = load_model(resolve_model("tiny"), "cpu", "float32", Execution(compiled=True))
    blocks = [module for name, module in model.unet.named_modules() if name.endswith("transformer_blocks.0")]
    assert blocks
    assert all(block._compiled_call_impl is not None for block in blocks)


def test_changes_are_part_of_the_hash_and_their_absence_is_not(lora):
    source = resolve_model("tiny")
    hashes = {
        source.changed(changes).sha256()
        for changes in (
            Changes(),
            Changes(float8=True),
            Changes((Lora(lora),)),
            Changes((Lora(lora, 0.5),)),
            Changes((Lora(lora),) * 2),
        )
    }
    assert len(hashes) == 5
    assert source.sha256() == source.changed(Changes()).sha256()


# --- tile captions ---

REGIONS = (
    Region((0, 0, 50, 100), "a cat"),
    Region((50, 0, 100, 100), "a dog"),
    Region((0, 0, 5, 5), "an ear"),
)


@pytest.mark.parametrize(
    ("tile", "text"),
    [
        ((0, 0, 50, 100), "a cat"),
        ((40, 0, 100, 100), "a dog"),
        ((0, 0, 100, 100), "two pets"),  # agrees with the whole best
        ((20, 0, 80, 100), "two pets"),  # neither covers half and agrees better than the whole
        ((0, 0, 10, 10), "a cat"),  # the ear covers a quarter only
    ],
)
def test_a_tile_is_told_of_by_the_region_that_it_agrees_with_best(tile, text):
    assert tile_text(REGIONS, tile, (0, 0, 100, 100), "two pets") == text


def test_tiles_lie_in_the_picture_by_its_own_size():
    windows = tile_windows(8, 16, 8, 8)
    sizes = [Sizes((100, 100), (128, 64), (200, 100))]
    prompts = tile_prompts(["two pets"], [REGIONS], windows, sizes, "sharp")
    assert prompts == [["a cat. sharp"], ["a dog. sharp"]]


def test_each_tile_is_sampled_with_its_own_words(supir, quick, face):
    tiles = quick.model_copy(
        update={"tile_px": 64, "tile_stride_px": 32, "colour_fix": "none", "s_churn": 0.0}
    )
    wide = np.tile(face, (1, 3, 1))[:96, :224]
    restorer = Restorer(supir, tiles)
    left = Region((0, 0, 80, 96), "a cat on a wall " * 8)

    def made(*regions):
        return restorer.restore(wide, "a woman", 3, regions=regions).image.astype(int)

    change = np.abs(made(left) - made()).mean(axis=(0, 2))
    assert change[:40].mean() > 10 * change[160:].mean()
    assert change[:40].mean() > 0.5
    assert np.array_equal(made(Region((0, 0, 9, 9), "no tile's")), made())


def test_tile_captions_come_from_json_or_from_the_parts_of_supir_caption(tmp_path):
    written = {"a.jpg": [{"box": [0, 0, 5, 6], "text": "a cat"}]}
    (tmp_path / "tiles.json").write_text(json.dumps(written))
    assert TileCaptions(tmp_path / "tiles.json", tmp_path)(tmp_path / "x" / "a.jpg", str)[0] == Region(
        (0, 0, 5, 6), "a cat"
    )
    without = TileCaptions(tmp_path / "tiles.json", tmp_path)
    assert without(tmp_path / "b.jpg", str) == ()
    assert without.summary() == {"tile_captions": "0 of 1 entry with a picture; none has a.jpg"}
    row = {"key": "f" * 32, "x0": 0, "y0": 0, "x1": 5, "y1": 6, "text": "a cat", "short_text": "cat"}
    rows = [
        row | {"region": 0, "text": "whole"},
        row | {"region": 1},
        row | {"region": 2, "text": "", "short_text": ""},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "tiles.parquet")
    assert TileCaptions(tmp_path / "tiles.parquet", tmp_path)(tmp_path / "c.jpg", lambda: "f" * 64) == (
        Region((0, 0, 5, 6), "a cat"),
    )
    short = TileCaptions(tmp_path / "tiles.parquet", tmp_path, "short_text")
    assert short(tmp_path / "c.jpg", lambda: "f" * 64) == (Region((0, 0, 5, 6), "cat"),)


@pytest.mark.parametrize(
    "text",
    [
        '{"a.jpg": "a cat"}',
        '{"a.jpg": [{"box": [5, 0, 5, 6], "text": "a"}]}',
        "[1, 2]",
        "{",
        '{"a.jpg": [{"box": 1}]}',
    ],
)
def test_tile_captions_of_another_form_are_refused(tmp_path, text):
    (tmp_path / "tiles.json").write_text(text)
    with pytest.raises(UserError, match=r"tiles\.json must hold \{\"picture\.jpg\": \[\{\"box\""):
        TileCaptions(tmp_path / "tiles.json", tmp_path)


def test_tile_captions_decide_the_result_and_stand_in_it(command, photos, tmp_path):
    captions = tmp_path / "tiles.json"
    captions.write_text(json.dumps({"face.png": [{"box": [0, 0, 60, 100], "text": "a face"}]}))
    tiles = (*QUICK, "--tile", 64, "--tile-stride", 32, "--tile-captions", captions)
    ended = command(main, photos, "-o", tmp_path / "out", *tiles)
    assert ended.code == 0, ended.err
    assert read_metadata(tmp_path / "out" / "face.png")["tile_captions"] == [[0, 0, 60, 100, "a face"]]
    assert "tile_captions" not in read_metadata(tmp_path / "out" / "trip" / "cat.png")
    assert json.loads(command(main, photos, "-o", tmp_path / "out", *tiles, "--json").out)["skipped"] == 2
    captions.write_text(json.dumps({"face.png": [{"box": [0, 0, 60, 100], "text": "another"}]}))
    assert "tile_captions=" in command(main, photos, "-o", tmp_path / "out", *tiles).err


# --- size vector, ramps, presets ---


def test_the_size_vector_says_what_the_policy_says():
    windows = [Window(0, 8, 0, 8), Window(4, 12, 8, 16)]
    assert size_vectors("tile", (128, 96), windows, 1).tolist() == [[64, 64, 0, 0, 64, 64]] * 2
    assert size_vectors("picture", (128, 96), windows, 2).tolist() == [
        *[[96, 128, 0, 0, 64, 64]] * 2,
        *[[96, 128, 32, 64, 64, 64]] * 2,
    ]
    assert size_vectors(1024, (128, 96), windows, 1).tolist() == [[1024, 1024, 0, 0, 1024, 1024]] * 2


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--size-condition", "picture"), "size_condition: picture"),
        (("--size-condition", "512"), "size_condition: 512"),
        (("--guidance-scale-start", "1.5"), "guidance_scale_start: 1.5"),
        (("--control-scale-start", "0.5"), "control_scale_start: 0.5"),
        (("--start-sigma", "0.4"), "start_sigma: 0.4"),
        (("--sampler", "lcm"), "sampler: lcm"),
    ],
)
def test_every_ramp_and_policy_has_its_option(command, options, line):
    assert line in command(main, *options, "--print-config").out.splitlines()


@pytest.mark.parametrize(
    ("model", "preset", "words"),
    [
        (
            "tiny",
            "fidelity",
            "--preset fidelity was made for models with SDXL's latent, and tiny is one of the small",
        ),
        (
            "sdxl",
            "mini",
            "--preset mini was made for the small models (mini, tiny), and sdxl is one of models with",
        ),
    ],
)
def test_a_preset_for_another_size_of_model_is_refused_with_a_way_on(
    command, photos, tmp_path, sdxl_folder, model, preset, words
):
    model = sdxl_folder if model == "sdxl" else model
    options = (photos / "face.png", "-o", tmp_path / "out", "--model", model)
    ended = command(main, *options, "--preset", preset)
    assert ended.code == 2
    assert words in ended.err
    config = tmp_path / "its.yaml"
    config.write_text(command(main, "--preset", preset, "--print-config").out)
    assert (
        command(main, *options, "--config", config, "--steps", 1, "--min-size", 64, "--strength", 0).code == 0
    )


def test_a_preset_for_a_lora_says_what_it_needs(command, photos, tmp_path, sdxl_folder):
    run = (photos / "face.png", "-o", tmp_path / "out", "--model", sdxl_folder, "--strength", 0)
    ended = command(main, *run, "--preset", "lightning", "--min-size", 64)
    assert ended.code == 0
    assert (
        "preset lightning: made for an 8-step LoRA or base of SDXL-Lightning or Hyper-SD, and no --lora"
        in ended.err
    )
