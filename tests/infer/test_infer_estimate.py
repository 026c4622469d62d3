"""What `--dry-run` tells of seconds: from measured tiles by closed forms, and of the pictures that are not clean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supir_infer import RestoreSettings
from supir_infer.estimate import Cost, Line, PicturePlan, estimate, measure_cost, plan_pictures
from supir_infer.folder import FILES, MADE, READ, waiting_bytes
from supir_infer.memory import CLEAR, PROBE_STEPS, Growth, Memory, measure_memory
from supir_infer.plan import Job, find_jobs
from supir_infer.restore import Restorer
from supir_infer.sizes import Sizes
from supir_model import Supir

JOB = Job(Path("a.png"), Path("b.png"), "", "")


def planned(side: int, num_tiles: int, tile_px: int) -> PicturePlan:
    size = (side, side)
    return PicturePlan(JOB, Sizes(size, size, size), num_tiles, "", tile_px)


def test_a_line_goes_through_what_was_measured_and_never_falls_below_nothing():
    line = Line.through([(100, 3.0), (300, 7.0)])
    assert (line.at(100), line.at(300), line.at(1000)) == pytest.approx((3.0, 7.0, 21.0))
    assert Line.through([(200, 4.0)]).at(50) == 1.0
    assert Line.through([(100, 5.0), (300, 4.0)]).at(500) == 5.0
    assert Line.through([(100, 1.0), (200, 3.0)]).at(0) == 0.0


@pytest.mark.parametrize(("restored", "network_s"), [(1.0, 33.0), (0.5, 16.5), (0.0, 0.0)])
def test_seconds_are_those_of_every_tile_and_step_and_of_the_files(supir, monkeypatch, restored, network_s):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    cost = Cost(Line(0.5, 0.001), Line(1.0, 0.0001), 0.0002, restored, 2**30, None)
    restorer = Restorer(supir, RestoreSettings(steps=2))
    told = estimate([planned(100, 9, 1000), planned(100, 1, 500)], cost, restorer)
    # 9 tiles of 1.5 s and 1 of 1 s, two steps each: 29 s; the VAE twice 2 s; files twice 2 s, on two cores
    assert told["seconds"] == network_s + 2.0
    assert (told["network_steps"], told["restored_share"], told["memory_gib"]) == (20, restored, None)


def test_tiles_are_measured_at_the_sizes_that_the_run_has(supir, tmp_path, monkeypatch):
    for name, side in (("small", 64), ("large", 200)):
        Image.effect_noise((side, side), 60).convert("RGB").save(tmp_path / f"{name}.png")
    settings = RestoreSettings(steps=1, min_size_px=64, tile_px=128, tile_stride_px=64)
    restorer = Restorer(supir, settings)
    plans = plan_pictures(find_jobs(tmp_path, tmp_path / "out", lambda *_: ""), restorer)
    assert [(plan.num_tiles, plan.tile_px) for plan in plans] == [(4, 128**2), (1, 64**2)]
    measured = []
    restore = Restorer.restore

    def noted(self, image, *arguments, **options):
        measured.append((image.shape[0], self.settings.strength))
        return restore(self, image, *arguments, **options)

    monkeypatch.setattr(Restorer, "restore", noted)
    monkeypatch.setattr("supir_infer.estimate.measure_memory", lambda *_: None)
    cost = measure_cost(plans, restorer, 1)
    assert measured == [(200, 0.0), (64, 0.0), (64, 1.0), (128, 1.0)]
    assert cost.restored == 1.0
    assert cost.file_s_per_px > 0
    assert cost.step.at(128**2) > 0


@pytest.mark.skipif(not CLEAR.exists(), reason="the peak is read from Linux's /proc")
def test_memory_asks_the_network_for_one_tile_alone_and_not_for_the_larger_pictures(supir, monkeypatch):
    asked, denoise = [], Supir.denoise_prepared

    def noted(self, x, *arguments):
        asked.append(x.shape)
        return denoise(self, x, *arguments)

    monkeypatch.setattr(Supir, "denoise_prepared", noted)
    settings = RestoreSettings(steps=1, min_size_px=64, tile_px=64, tile_stride_px=32)
    size = (96, 64)
    assert measure_memory(Restorer(supir, settings), [Sizes(size, size, size)]) is not None
    assert asked == [(1, supir.latent_channels, 8, 8)] * 2 * PROBE_STEPS  # once for first-use allocations


def test_memory_is_drawn_out_from_three_sizes_and_the_network_works_beside_what_a_picture_holds():
    growth = Growth.through(
        *(7 + 3 * width + 5 * width * height for width, height in ((10, 10), (10, 20), (20, 10))), 10
    )
    assert growth.at((100, 40)) == pytest.approx(7 + 300 + 20_000)
    memory = Memory(1000, 60, Growth(10.0, per_px=1.0), Growth(20.0, per_px=0.5))
    assert memory.peak([(2, 2)]) == 1000 + 22 + 60
    assert memory.peak([(2, 2), (20, 20)]) == 1000 + 410
    assert memory.with_tile(4).peak([(2, 2), (20, 20)]) == 1000 + 220 + 240


def test_the_share_of_clean_pictures_is_seen_by_looking_at_some(supir, tmp_path, face):
    Image.fromarray(np.full((96, 96, 3), 90, np.uint8)).save(tmp_path / "clean.png")
    noise = np.random.default_rng(0).normal(0, 40, face.shape)
    Image.fromarray((face + noise).clip(0, 255).astype(np.uint8)).save(tmp_path / "noisy.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    restorer = Restorer(supir, RestoreSettings(steps=1, min_size_px=64, strength="auto"))
    plans = plan_pictures(find_jobs(tmp_path, tmp_path / "out", lambda *_: ""), restorer)
    assert measure_cost(plans, restorer, 1).restored == 0.5


def test_what_waits_in_memory_is_bounded_and_one_picture_waits_for_nobody():
    small, large = (Sizes((side, side), (side, side), (side, side)) for side in (100, 20_000))
    assert waiting_bytes([large]) == 0
    assert waiting_bytes([small, small]) == 10_000 * (4 * 2 + 16 * READ.items + 6 * MADE.items)
    assert waiting_bytes([small, large]) == FILES.num_bytes + READ.num_bytes + MADE.num_bytes
