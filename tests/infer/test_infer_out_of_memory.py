from __future__ import annotations

import json

import pytest
import torch

from supir_console import UserError
from supir_infer import RestoreSettings, memory_fit
from supir_infer.cli import main
from supir_infer.codec import Codec
from supir_infer.memory import CLEAR, Growth, Memory
from supir_infer.memory_fit import Fitted
from supir_infer.out_of_memory import smaller
from supir_infer.restore import Restorer
from supir_model.out_of_memory import is_out_of_memory


@pytest.fixture
def small_device(supir, monkeypatch):
    """The network on a device that holds no more latent pixels at once than it is called with."""

    def limit(pixels: int) -> None:
        whole = type(supir).denoise_prepared

        def denoise(self, x, *rest):
            if x.shape[0] * x.shape[2] * x.shape[3] > pixels:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return whole(self, x, *rest)

        monkeypatch.setattr(type(supir), "denoise_prepared", denoise)

    return limit


def test_out_of_memory_halves_the_tile_and_the_result_says_so(supir, quick, face, small_device, capsys):
    settings = quick.model_copy(update={"tile_px": 96, "tile_stride_px": 48, "min_size_px": 128})
    expected = Restorer(supir, settings.model_copy(update={"tile_px": 64, "tile_stride_px": 32})).restore(
        face
    )
    small_device(8 * 8)
    restorer = Restorer(supir, settings.model_copy(update={"tile_px": 128, "tile_stride_px": 64}))
    result = restorer.restore(face)
    assert (result.image == expected.image).all()
    assert (result.settings.tile_px, result.settings.tile_stride_px) == (64, 32)
    assert capsys.readouterr().err == "out of memory: goes on in tiles of 64 px\n"
    assert restorer.settings.tile_px == 128  # the next picture may be smaller


def test_a_batch_is_taken_apart_before_a_tile_is_halved(supir, quick, face, small_device, capsys):
    one = Restorer(supir, quick).restore(face, seed=4)
    small_device(12 * 12)
    several = Restorer(supir, quick).restore_batch([face, face], ["", ""], [3, 4])
    assert capsys.readouterr().err == ""
    assert abs(several[1].image.astype(int) - one.image).max() <= 1


def test_what_is_given_up_first_changes_no_pixel():
    settings = RestoreSettings(tile_px=256, tile_stride_px=192, tile_batch=4)
    steps = []
    current: RestoreSettings | None = settings
    while current := smaller(current, (512, 512)):
        steps.append((current.tile_batch, current.tile_px, current.tile_stride_px))
    assert steps == [(2, 256, 192), (1, 256, 192), (1, 128, 96), (1, 64, 48)]


def test_a_tile_that_is_larger_than_the_picture_is_halved_from_the_picture_on():
    found = smaller(RestoreSettings(tile_px=512, tile_stride_px=256), (256, 192))
    assert found is not None
    assert (found.tile_px, found.tile_stride_px) == (128, 64)


def test_a_picture_that_fits_in_no_way_is_a_failure_with_its_reason(
    command, photos, tmp_path, small_device, model_folder
):
    small_device(3)
    ended = command(
        main, photos / "face.png", "-o", tmp_path / "out", "--model", model_folder, "--strength", 1
    )
    assert ended.code == 1
    (line,) = map(json.loads, (tmp_path / "out" / "results.jsonl").read_text().splitlines())
    assert line["reason"].startswith("out of memory, with the smallest tiles too: use --dtype bfloat16")


def test_a_vae_that_does_not_fit_goes_on_in_strips(supir, monkeypatch, capsys):
    latent = torch.randn(1, 8, 40, 6, generator=torch.Generator().manual_seed(1))
    whole, held = supir.decode(latent), torch.nn.functional.pixel_shuffle

    def shuffle(hidden, upscale_factor):
        if hidden.shape[2] > 9:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return held(hidden, upscale_factor)

    monkeypatch.setattr(torch.nn.functional, "pixel_shuffle", shuffle)
    codec = Codec(supir, 0)
    assert (codec.decode(latent) - whole).abs().max() < 1e-5
    rows = [line.rsplit(" ", 2)[1] for line in capsys.readouterr().err.splitlines()]
    assert rows == ["256", "128", "64", "32", "16"]
    monkeypatch.setattr(torch.nn.functional, "pixel_shuffle", lambda *_, **__: shuffle(latent, 2))
    with pytest.raises(
        UserError, match=r"out of memory: the VAE does not fit in strips of 8 rows; use --dtype"
    ):
        codec.decode(latent)


def test_main_memory_that_is_refused_is_told_from_other_errors():
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**50, dtype=torch.uint8)
    assert is_out_of_memory(refused.value)
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def plan(side: int, batch: int, tile: int, room: float, held: int = 100) -> Fitted:
    """What is fitted where a tile of 256 px takes 1000 bytes, and a picture 1 a column and 0.01 a px."""
    settings = RestoreSettings(tile_px=256, tile_stride_px=128, min_size_px=256, tile_batch=batch)
    memory = Memory(held, tile, Growth(10.0, 1.0, 0.01), Growth(0.0))
    return memory_fit._largest(settings, memory, [(side, side)], 256, room, "9GB")


def test_the_plan_that_fits_has_the_largest_tiles():
    assert plan(256, 4, 1000, 5000).settings.tile_batch == 4
    assert plan(256, 4, 1000, 4000).settings.tile_batch == 2
    assert plan(256, 4, 1000, 1100).settings.tile_px == 256
    small = plan(256, 4, 1000, 1099)
    assert (small.settings.tile_batch, small.settings.tile_px, small.settings.tile_stride_px) == (1, 128, 64)
    assert small.peak == 100 + 10 + 256 + 0.01 * 256**2
    assert "diffusion in tiles of 128 px every 64 px, 1 at once" in small.describe()


def test_what_fits_in_no_way_is_refused_with_what_it_takes():
    with pytest.raises(
        UserError, match=r"--fit 9GB: the model, one tile of 64 px and a picture of 9999x9999 working"
    ):
        plan(9999, 1, 1000, 5000)


@pytest.mark.parametrize("size", ["8", "GB", "-1GB", "8TB", "nanGB"])
def test_a_size_that_is_none_is_refused(command, photos, tmp_path, size):
    ended = command(main, photos, "-o", tmp_path / "out", "--model", "tiny", "--fit", size)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert f"--fit {size!r} is no size; write it as in 24GB" in ended.err


@pytest.mark.skipif(not CLEAR.exists(), reason="the peak is read from Linux's /proc")
def test_fit_prints_its_plan_and_keeps_to_it(command, photos, tmp_path):
    line = (photos / "face.png", "-o", tmp_path / "out", "--model", "tiny", "--min-size", 64, "--strength", 1)
    ended = command(main, *line, "--fit", "64GB")
    assert ended.code == 0
    assert (
        "--fit 64GB: robust encoder and decoder in strips of 256 rows; diffusion in tiles of 512 px"
        in ended.err
    )
    assert command(main, *line, "--fit", "64GB", "--json").out.count('"skipped": 1') == 1
    refused = command(main, *line, "--fit", "10MB")
    assert refused.code == 2
    assert "--fit 10MB: the model, one tile of 96 px" in refused.err
