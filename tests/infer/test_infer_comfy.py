"""SUPIR's nodes in ComfyUI: imported as ComfyUI does, graphs run on the tiny model."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comfy_host import NODES, Graph, Host, Interrupted, comfy_host
from PIL import Image

from supir_console import UserError
from supir_infer import PRESETS, RestoreSettings
from supir_infer.restore import Restorer
from supir_infer.settings import change_settings
from supir_model import load_supir

HOW = {"dtype": "auto", "float8": False, "offload": False, "compile": False}
QUICK = {"min_size_px": 64, "steps": 2, "strength": 1.0, "start_sigma": -1, "guidance_scale": 1.0}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, face: np.ndarray) -> Host:
    made = comfy_host(tmp_path / "ComfyUI", monkeypatch)
    Image.fromarray(face).resize((64, 64)).save(made.base / "input" / "old.png")
    return made


def defaults(host: Host, kind: str) -> dict[str, Any]:
    """What a node's widgets show at first."""
    shown = {}
    for name, (values, *options) in host.classes[kind].INPUT_TYPES()["required"].items():
        default = options[0].get("default") if options else None
        shown[name] = values[0] if default is None and isinstance(values, list) else default
    return shown


def graph_of(host: Host, settings: dict[str, Any], **changes: Any) -> Graph:
    graph: Graph = json.loads((NODES / "example.json").read_text())
    graph["2"]["inputs"]["model"] = "tiny"
    graph["3"] = {
        "class_type": "SupirSettingsSmall",
        "inputs": defaults(host, "SupirSettingsSmall") | settings,
    }
    graph["4"]["inputs"] |= changes
    return graph


def test_the_example_gives_what_the_restorer_gives(host):
    graph = graph_of(host, QUICK, seed=5, upscale=1.5)
    graph["6"] = {"class_type": "Text", "inputs": {"text": "a woman"}}
    graph["4"]["inputs"]["caption"] = ["6", 0]
    (made_with,) = json.loads(host.run(graph)["4"][1])
    changes = {**QUICK, "start_sigma": None, "upscale": 1.5, "output_bits": 16}
    settings = change_settings(PRESETS["mini"], changes)
    picture = np.asarray(Image.open(host.base / "input" / "old.png"))
    expected = Restorer(load_supir(preset="tiny"), settings).restore(picture, "a woman", seed=5).image
    (saved,) = host.saved
    assert saved.shape == (1, 96, 96, 3)
    assert np.abs(saved[0].numpy() - expected / 65535).max() < 1e-3
    assert (made_with["model"], made_with["seed"]) == ("tiny", 5)
    assert made_with["settings"] == settings.model_dump(mode="json")
    assert host.progress == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("node", "preset"), [("SupirSettingsSmall", "mini"), ("SupirSettingsSdxl", "fidelity")]
)
def test_every_setting_is_a_widget_that_starts_from_the_preset(host, node, preset):
    widgets = defaults(host, node)
    files_alone = {"output_format", "output_bits", "output_quality"}
    assert widgets.keys() == RestoreSettings.model_fields.keys() - {"upscale"} - files_alone
    (chosen,) = host.classes[node]().choose(**widgets)
    assert chosen.settings == PRESETS[preset]
    (picture,) = host.classes[node]().choose(
        **{**widgets, "size_condition": "picture", "control_scale_start": 0.5}
    )
    assert (picture.settings.size_condition, picture.settings.control_scale_start) == ("picture", 0.5)
    with pytest.raises(UserError, match="tile_stride_px=512 leaves gaps between tiles of 256 px"):
        host.classes[node]().choose(**{**widgets, "tile_px": 256, "tile_stride_px": 512})


def test_each_picture_of_a_batch_is_restored_and_cancel_ends_it(host):
    (loaded,) = host.classes["SupirLoad"]().load("tiny", **HOW)
    (chosen,) = host.classes["SupirSettingsSmall"]().choose(
        **{**defaults(host, "SupirSettingsSmall"), **QUICK}
    )
    batch = torch.rand(2, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    restore = host.classes["SupirRestore"]().restore
    both, _, _ = restore(loaded, batch, "", 1.0, 1, chosen)
    alone, _, _ = restore(loaded, batch[1:], "", 1.0, 1, chosen)
    assert torch.equal(both[1:], alone)
    host.progress.clear()
    host.is_cancelled = lambda: bool(host.progress)
    with pytest.raises(Interrupted):
        restore(loaded, batch, "", 1.0, 1, chosen)
    assert host.progress == [(1, 4)]


def test_a_preset_for_another_size_of_model_is_refused(host):
    graph = graph_of(host, {})
    graph["3"] = {"class_type": "SupirPreset", "inputs": {"preset": "fidelity"}}
    with pytest.raises(
        UserError, match="fidelity was made for models with SDXL's latent, and tiny is one of"
    ):
        host.run(graph)


def test_models_and_files_are_those_of_comfyuis_folders(host, model_folder, tmp_path):
    (host.base / "models" / "supir").mkdir(parents=True)
    (host.base / "models" / "supir" / "ours").symlink_to(model_folder)
    for kind, name in (("checkpoints", "sdxl.safetensors"), ("loras", "style.safetensors")):
        (host.base / "models" / kind).mkdir()
        (host.base / "models" / kind / name).write_bytes(b"")
    asked = {name: made.INPUT_TYPES()["required"] for name, made in host.classes.items() if "Supir" in name}
    assert asked["SupirLoad"]["model"] == (["mini", "tiny", "ours"],)
    assert asked["SupirLoadOnBase"]["base"][0] == ["sdxl.safetensors"]
    (loaded,) = host.classes["SupirLoad"]().load("ours", **HOW)
    assert loaded.source.path == host.base / "models" / "supir" / "ours"
    add = host.classes["SupirLora"]().add
    ((first, second),) = add("style.safetensors", -0.5, *add("style.safetensors", 1.0))
    assert (first.weight, second.weight, second.path.name) == (1.0, -0.5, "style.safetensors")
    with pytest.raises(UserError, match=r"gone.safetensors is no longer among ComfyUI's loras"):
        add("gone.safetensors", 1.0)


def test_the_vae_in_strips_is_the_whole_ones(host, sdxl_folder):
    (host.base / "models" / "supir").mkdir(parents=True)
    (host.base / "models" / "supir" / "sdxl").symlink_to(sdxl_folder)
    (loaded,) = host.classes["SupirLoad"]().load("sdxl", **HOW)
    encode, decode = host.classes["SupirVaeEncode"]().encode, host.classes["SupirVaeDecode"]().decode
    image = torch.rand(1, 68, 64, 3, generator=torch.Generator().manual_seed(0))
    for encoder in ("plain", "robust"):
        (whole,), (strips,) = encode(loaded, image, encoder, 0), encode(loaded, image, encoder, 16)
        assert whole["samples"].shape == (1, 4, 8, 8)
        assert torch.allclose(whole["samples"], strips["samples"], atol=1e-4)
    vae = loaded.supir.vae
    with torch.no_grad():
        moments = vae.encode(image[:, :64].movedim(-1, 1) * 2 - 1).latent_dist
    (plain,) = encode(loaded, image, "plain", 0)
    assert torch.allclose(plain["samples"], moments.mode(), atol=1e-5)
    (at_once,), (in_strips,) = decode(loaded, plain, 0), decode(loaded, plain, 16)
    assert at_once.shape == (1, 64, 64, 3)
    assert torch.allclose(at_once, in_strips, atol=1e-4)


def written_anew(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(len(data), len(data)))  # as if later: clocks of file systems are coarse


def test_a_model_that_was_trained_on_is_loaded_again_and_no_other(host, model_folder):
    ours = host.base / "models" / "supir" / "ours"
    shutil.copytree(model_folder, ours)
    graph = graph_of(host, QUICK)
    graph["2"]["inputs"]["model"] = "ours"
    host.run(graph)
    assert "SupirLoad" in host.ran
    host.run(graph)
    assert host.ran == ["SaveImage"]
    weights = next(ours.rglob("*.safetensors"))
    os.utime(weights, ns=(1, 1))
    host.run(graph)
    assert {"SupirLoad", "SupirRestore"} <= set(host.ran)


def test_a_file_written_anew_is_another_to_comfyui(host):
    lora, base = (
        host.base / "models" / name for name in ("loras/a.safetensors", "checkpoints/b.safetensors")
    )
    written_anew(lora, b"1")
    written_anew(base, b"1")
    add, load = (host.classes[name].IS_CHANGED for name in ("SupirLora", "SupirLoadOnBase"))
    files = {"base": "b.safetensors", "checkpoint": "b.safetensors"}
    before = add(lora="a.safetensors", weight=1.0), load(**files, **HOW)
    assert before == (add(lora="a.safetensors", weight=0.5), load(**files, **HOW))
    written_anew(lora, b"12")
    written_anew(base, b"12")
    assert add(lora="a.safetensors", weight=1.0) != before[0]
    assert load(**files, **HOW) != before[1]
    assert host.classes["SupirLoad"].IS_CHANGED(model="tiny", **HOW) == ""
    assert add(lora="gone.safetensors", weight=1.0) == ""


def test_models_of_extra_model_paths_are_offered_and_come_first(host, model_folder):
    for kind in ("elsewhere", "models/supir"):
        (host.base / kind).mkdir(parents=True)
    (host.base / "elsewhere" / "ours").symlink_to(model_folder)
    (host.base / "elsewhere" / "a").symlink_to(model_folder)
    shutil.copytree(model_folder, host.base / "models" / "supir" / "ours")
    (asked,) = host.classes["SupirLoad"].INPUT_TYPES()["required"]["model"]
    assert asked == ["mini", "tiny", "a", "ours"]
    (loaded,) = host.classes["SupirLoad"]().load("ours", **HOW)
    assert loaded.source.path == host.base / "elsewhere" / "ours"


def test_a_transparent_picture_keeps_its_shape_and_its_hidden_colours_do_not_leak(host):
    picture = np.full((64, 64, 4), (90, 120, 60, 255), np.uint8)
    picture[:, 32:] = (255, 0, 255, 0)  # magenta that nobody sees
    Image.fromarray(picture).save(host.base / "input" / "old.png")
    graph = graph_of(host, QUICK | {"strength": 0.0}, upscale=2.0)
    graph["4"]["inputs"]["mask"] = ["1", 1]
    image, _, mask = host.run(graph)["4"]
    assert (image.shape, mask.shape) == ((1, 128, 128, 3), (1, 128, 128))
    assert mask[0, :, :60].max() == 0
    assert mask[0, :, 68:].min() == 1
    assert torch.allclose(image[0], torch.tensor([90.0, 120, 60]) / 255, atol=2e-3)
    (loaded,) = host.classes["SupirLoad"]().load("tiny", **HOW)
    (chosen,) = host.classes["SupirSettingsSmall"]().choose(
        **{**defaults(host, "SupirSettingsSmall"), **QUICK, "strength": 0.0}
    )
    joined = torch.from_numpy(picture.astype(np.float32) / 255)[None]  # as JoinImageWithAlpha gives it
    from_alpha = host.classes["SupirRestore"]().restore(loaded, joined, "", 2.0, 0, chosen)
    assert torch.equal(from_alpha[0], image)
    assert torch.equal(from_alpha[2], mask)


def test_masks_of_every_shape_fit_and_another_number_of_them_is_refused(host):
    (loaded,) = host.classes["SupirLoad"]().load("tiny", **HOW)
    (chosen,) = host.classes["SupirSettingsSmall"]().choose(
        **{**defaults(host, "SupirSettingsSmall"), **QUICK, "strength": 0.0}
    )
    restore = host.classes["SupirRestore"]().restore
    batch = torch.rand(2, 64, 96, 3, generator=torch.Generator().manual_seed(0))
    assert restore(loaded, batch, "", 1.0, 0, chosen)[2].abs().max() == 0
    for mask in (torch.full((32, 48), 0.25), torch.full((1, 64, 64), 0.25), torch.full((2, 64, 96), 0.25)):
        given_back = restore(loaded, batch, "", 1.0, 0, chosen, mask)[2]
        assert given_back.shape == (2, 64, 96)
        assert torch.allclose(given_back, torch.tensor(0.25), atol=1e-6)
    with pytest.raises(ValueError, match="3 masks for 2 pictures; give one for all, or one a picture"):
        restore(loaded, batch, "", 1.0, 0, chosen, torch.zeros(3, 64, 96))


def test_cancel_ends_an_autoencoder_in_strips(host, sdxl_folder):
    (host.base / "models" / "supir").mkdir(parents=True)
    (host.base / "models" / "supir" / "sdxl").symlink_to(sdxl_folder)
    (loaded,) = host.classes["SupirLoad"]().load("sdxl", **HOW)
    asked = []
    host.is_cancelled = lambda: asked.append(1) or len(asked) > 5
    latent = torch.zeros(1, 4, 16, 16)
    with pytest.raises(Interrupted):
        host.classes["SupirVaeDecode"]().decode(loaded, {"samples": latent}, 16)
    with pytest.raises(Interrupted):
        host.classes["SupirVaeEncode"]().encode(loaded, torch.zeros(1, 64, 64, 3), "robust", 16)


def test_the_largest_seed_of_other_nodes_is_taken(host):
    kind, limits = host.classes["SupirRestore"].INPUT_TYPES()["required"]["seed"]
    assert (kind, limits["min"], limits["max"]) == ("INT", 0, 0xFFFFFFFFFFFFFFFF)  # KSampler's
    (made_with,) = json.loads(host.run(graph_of(host, QUICK, seed=limits["max"]))["4"][1])
    assert made_with["seed"] == limits["max"]
