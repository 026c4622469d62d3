from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from scipy import stats

from supir_console import UserError
from supir_degrade import Recipe, Trace, degrade, draw, load_recipe, replay, sample_generator, vae
from supir_degrade.preview import label
from supir_degrade.targets import estimate_targets
from supir_model import load_supir

FILE = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained AutoencoderKL of two levels."""
    torch.manual_seed(0)
    out = tmp_path_factory.mktemp("kl") / "vae"
    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        norm_num_groups=4,
    ).save_pretrained(out)
    return out


def _recipe(out: Path, weights: str | Path) -> Recipe:
    path = out / "r.yaml"
    path.write_text(f"name: x\nsteps: [{{do: vae, weights: '{weights}'}}]", encoding="utf-8")
    return load_recipe(path)


def _round_trip(image: np.ndarray, weights: str | Path = "mini") -> np.ndarray:
    return vae.round_trip(image, weights=str(weights), digest=vae.weights_digest(str(weights)))


def _tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.transpose(2, 0, 1)[None] * 2 - 1)


@pytest.fixture(scope="module")
def face(astronaut: np.ndarray) -> np.ndarray:
    return astronaut[32:160, 160:288].astype(np.float32) / 255


def test_the_default_is_the_embedded_priors_own_encode_and_decode(face: np.ndarray) -> None:
    supir = load_supir(preset="mini")
    with torch.no_grad():
        expected = supir.decode(supir.encode(_tensor(face)))[0].permute(1, 2, 0).numpy() / 2 + 0.5
    got = _round_trip(face)
    np.testing.assert_allclose(got, expected.clip(0, 1), atol=2e-5)
    assert 0.002 < np.abs(got - face).mean() < 0.02


def test_a_folder_is_a_diffusers_autoencoder_at_its_mode(folder: Path, face: np.ndarray) -> None:
    network = AutoencoderKL.from_pretrained(folder)
    with torch.no_grad():
        expected = network.decode(network.encode(_tensor(face)).latent_dist.mode()).sample
    np.testing.assert_allclose(
        _round_trip(face, folder),
        (expected[0].permute(1, 2, 0).numpy() / 2 + 0.5).clip(0, 1),
        atol=2e-5,
    )


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (37, 21), (40, 33)])
def test_odd_sides_are_mirrored_up_to_eight_and_cut(size: tuple[int, int], face: np.ndarray) -> None:
    image = face[: size[0], : size[1]]
    got = _round_trip(image)
    whole = np.pad(image, ((0, -size[0] % 8), (0, -size[1] % 8), (0, 0)), mode="reflect")
    assert got.shape == image.shape
    np.testing.assert_array_equal(got, _round_trip(whole)[: size[0], : size[1]])


def test_the_bytes_do_not_follow_the_number_of_threads_which_is_given_back(
    folder: Path, face: np.ndarray
) -> None:
    before, results = torch.get_num_threads(), []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            # Sizes at which more threads give other bits where nothing holds them to one.
            results.append(_round_trip(face[:64, :64]).tobytes() + _round_trip(face, folder).tobytes())
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(before)
    assert results[1:] == results[:1] * 2


def test_a_trace_replays_to_the_same_bytes(astronaut: np.ndarray, tmp_path: Path) -> None:
    crop = astronaut[:101, :203].copy()
    lq, trace = degrade(crop, _recipe(tmp_path, "mini"), sample_generator(0, "k", 0))
    vae._load.cache_clear()
    assert (replay(crop, Trace.from_json(trace.to_json())) == lq).all()


def test_the_trace_names_the_weights_by_the_hash_of_their_file(folder: Path, tmp_path: Path) -> None:
    trace = draw(_recipe(tmp_path, folder), (64, 64), sample_generator(0, "k", 0))
    digest = hashlib.sha256((folder / FILE).read_bytes()).hexdigest()[:16]
    assert json.loads(trace.to_json())["ops"] == [{"op": "vae", "weights": str(folder), "digest": digest}]
    assert label(trace) == "vae vae"
    assert list(estimate_targets(trace).values()) == [0, 0, 100, 1]


def test_other_weights_are_refused_at_replay(folder: Path, face: np.ndarray, tmp_path: Path) -> None:
    digest = vae.weights_digest(str(folder))
    changed = tmp_path / "vae"
    shutil.copytree(folder, changed)
    tensors = load_file(changed / FILE)
    tensors["post_quant_conv.bias"] += 1
    save_file(tensors, changed / FILE, metadata={"format": "pt"})
    with pytest.raises(
        UserError, match=rf"have digest [0-9a-f]{{16}}, the trace was made with {digest}; replay"
    ):
        vae.round_trip(face, weights=str(changed), digest=digest)


def test_a_file_in_half_precision_alone_is_read(folder: Path, face: np.ndarray, tmp_path: Path) -> None:
    AutoencoderKL.from_pretrained(folder).half().save_pretrained(tmp_path, variant="fp16")
    assert not (tmp_path / FILE).exists()
    np.testing.assert_allclose(_round_trip(face, tmp_path), _round_trip(face, folder), atol=0.02)


def test_the_network_is_loaded_once_a_process(folder: Path, face: np.ndarray) -> None:
    before = vae._load.cache_info()
    for _ in range(3):
        _round_trip(face[:16, :16], folder)
    after = vae._load.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) in ((0, 3), (1, 2))


def test_folders_that_hold_no_autoencoder_are_named(folder: Path, face: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'/none': /none has no config\.json with diffusion_pytorch_model"):
        draw(_recipe(tmp_path, "/none"), (8, 8), sample_generator(0, "k", 0))
    config = json.loads((folder / "config.json").read_text())
    for name, change in (("kind", {"_class_name": "UNet2DModel"}), ("wide", {"latent_channels": 8})):
        shutil.copytree(folder, tmp_path / name)
        (tmp_path / name / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(UserError, match=r"is of class 'UNet2DModel', not AutoencoderKL or MiniVAE"):
        _round_trip(face, tmp_path / "kind")
    with pytest.raises(UserError, match=r"(?s)wide cannot be loaded: .*; download them again"):
        _round_trip(face, tmp_path / "wide")


@pytest.mark.parametrize(("drop", "lacking"), [("quant_conv.bias", "quant_conv.bias"), (None, "stray")])
def test_weights_that_do_not_fit_are_refused_by_name(
    folder: Path, face: np.ndarray, tmp_path: Path, drop: str | None, lacking: str
) -> None:
    shutil.copytree(folder, tmp_path / "vae")
    tensors = load_file(folder / FILE)
    if drop:
        del tensors[drop]
    else:
        tensors["stray"] = torch.zeros(1)
    save_file(tensors, tmp_path / "vae" / FILE, metadata={"format": "pt"})
    with pytest.raises(UserError, match=rf"do not fit their config\.json: 1 tensors, first {lacking};"):
        _round_trip(face, tmp_path / "vae")


def test_web2026_holds_its_share_of_autoencoded_pictures() -> None:
    recipe = load_recipe("web2026", ["clean_share=0"])
    kinds = [{op.op for op in draw(recipe, (512, 512), sample_generator(4, "k", n)).ops} for n in range(3000)]
    assert stats.binomtest(sum("vae" in kind for kind in kinds), 3000, 0.03).pvalue > 1e-4
