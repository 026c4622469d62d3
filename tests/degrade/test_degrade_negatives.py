from __future__ import annotations

import io
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from supir_console import UserError, load_config
from supir_degrade import negative_job
from supir_degrade.cli import app
from supir_degrade.img2img import img2img, img2img_sigmas
from supir_degrade.negatives import NegativesConfig, NegativeWorker, make_request
from supir_degrade.sources import Source
from supir_model import load_supir
from supir_model.diffusion import sigma_table
from supir_shards import Dataset, index_path, shard_path, verify

SETTINGS = [
    "preset=tiny",
    "size_px=128",
    "steps=4",
    "batch_size=2",
    "words={oil painting: 1, dirty: 0.5}",
    "filter=false",  # the untrained prior draws noise; test_degrade_negative_filter.py is about the filter
]


@pytest.fixture(scope="module")
def supir() -> Iterator[object]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads of a small network cost more than they give on a busy machine
    yield load_supir(preset="tiny")
    torch.set_num_threads(num_threads)


def _run(*arguments: object) -> object:
    overrides = [word for setting in SETTINGS for word in ("--set", setting)]
    return CliRunner().invoke(app, ["negatives", *map(str, arguments), *overrides])


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def made(photos: Path, connected_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("negatives") / "out"
    result = _run(photos, "-o", out, "--count", 5, "--workers", 2, "--json")
    assert result.exit_code == 0, result.output
    counts = {"samples": 5, "made": 5, "clean": 0, "dropped": None, "failed": 0, "failures": None}
    assert json.loads(result.stdout) == {**counts, "dataset": str(out)}
    return out


def test_negatives_are_redrawn_photos_with_prompt_seed_and_source(made: Path, photos: Path) -> None:
    photo_keys = {record.key for record in Dataset(photos).samples()}
    records = list(Dataset(made).samples())
    assert len({record.origin.parent_key for record in records} & photo_keys) == 5
    assert len({json.loads(record.trace)["seed"] for record in records}) == 5
    for record in records:
        assert record.role == "negative"
        parent = record.origin.parent_key
        assert record.source == f"https://example.org/{parent}.jpg"
        assert (record.licence, record.text) == ("CC-BY-4.0", f"about {parent}")
        assert record.origin.producer == "supir-degrade negatives"
        assert json.loads(record.trace)["prompt"] in {"oil painting", "oil painting, dirty"}
        picture = np.asarray(Image.open(io.BytesIO(record.image)))
        assert picture.shape == (128, 128, 3)
        assert picture.std() > 5


def test_a_killed_job_continues_with_another_number_of_workers_to_the_same_bytes(
    made: Path, photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(made, tmp_path / "n")
    for part in ("part-000000", "part-000001"):
        (tmp_path / "n" / index_path(part)).unlink()
    (tmp_path / "n" / shard_path("part-000001")).write_bytes(b"half a tar")
    (tmp_path / "n/dataset.json").unlink()
    result = _run(photos, "-o", tmp_path / "n", "--count", 5, "--workers", 1, "--json")
    assert json.loads(result.stdout)["made"] == 5
    assert _files(tmp_path / "n") == _files(made)


def test_a_part_that_kills_its_workers_is_listed_and_the_next_run_makes_it(
    made: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = tmp_path / "killed"

    class Deadly(NegativeWorker):
        def make_part(self, part: str, members: list[Source]) -> Iterator[int]:
            if part == "part-000000":
                with marks.open("a") as file:
                    file.write("x")
                os.kill(os.getpid(), signal.SIGKILL)
            yield from NegativeWorker.make_part(self, part, members)

    out = tmp_path / "n"
    monkeypatch.setattr(negative_job, "NegativeWorker", Deadly)
    result = _run(photos, "-o", out, "--count", 5, "--workers", 1, "--json")
    assert result.exit_code == 1, result.exception
    assert marks.read_text() == "xxx"
    summary = json.loads(result.stdout)
    assert (summary["samples"], summary["made"], summary["failed"]) == (2, 2, 1)
    (failure,) = [json.loads(line) for line in Path(summary["failures"]).read_text().splitlines()]
    assert (failure["part"], failure["sample"], failure["reason"]) == ("part-000000", "", "part")
    assert failure["detail"].startswith("ActorDiedError: ")
    assert verify(out) == []

    monkeypatch.undo()
    again = _run(photos, "-o", out, "--count", 5, "--workers", 1, "--json")
    assert again.exit_code == 0
    assert json.loads(again.stdout)["made"] == 3
    assert _files(out) == _files(made)


def test_what_only_the_user_can_mend_ends_the_job_with_the_workers_words(
    photos: Path, connected_ray: None, tmp_path: Path
) -> None:
    result = _run(
        photos, "-o", tmp_path / "n", "--count", 5, "--workers", 1, "--set", f"folder={tmp_path / 'none'}"
    )
    assert isinstance(result.exception, ValueError)
    assert type(result.exception).__module__.startswith("supir_")
    assert str(tmp_path / "none") in str(result.exception)
    assert "Traceback" not in str(result.exception)
    assert (tmp_path / "n/job.json").exists()
    mended = _run(photos, "-o", tmp_path / "n", "--count", 5, "--dry-run", "--json")
    assert mended.exit_code == 0, mended.exception  # the mistyped model did not take the folder
    assert json.loads(mended.stdout)["samples"] == 5


def test_a_dry_run_refuses_what_the_run_refuses_and_writes_nothing(made: Path, photos: Path) -> None:
    before = _files(made)
    refused = _run(photos, "-o", made, "--count", 4, "--dry-run")
    assert "holds the work of another config or of other photos" in str(refused.exception)
    strange = _run(photos, "-o", photos, "--count", 5, "--dry-run")
    assert "is the input itself, which is never overwritten" in str(strange.exception)
    assert _files(made) == before


def test_the_config_is_printed_without_a_dataset(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["negatives", "--count", "7", "--print-config"])
    assert result.exit_code == 0, result.output
    (tmp_path / "c.yaml").write_text(result.stdout)
    assert load_config(NegativesConfig, tmp_path / "c.yaml") == NegativesConfig(count=7)


def test_a_finished_job_makes_nothing_and_another_config_is_refused(made: Path, photos: Path) -> None:
    assert json.loads(_run(photos, "-o", made, "--count", 5, "--json").stdout)["made"] == 0
    refused = _run(photos, "-o", made, "--count", 5, "--set", "seed=1")
    assert "holds the work of another config" in str(refused.exception)


def test_dry_run_prints_the_cost_and_writes_nothing(photos: Path, tmp_path: Path) -> None:
    result = _run(photos, "-o", tmp_path / "n", "--count", 5, "--dry-run", "--json")
    price = json.loads(result.stdout)
    # Strength 0.5 of 4 steps is 2, and guidance calls the network twice.
    assert price["network_calls"] == 5 * 2 * 2
    assert price["output_bytes_at_most"] == 5 * 3 * 128**2
    assert price["seconds_a_sample"] > 0
    assert not (tmp_path / "n").exists()


def test_half_strength_runs_the_last_half_of_the_schedule() -> None:
    sigmas = img2img_sigmas(50, 0.5)
    assert len(sigmas) == 26
    assert sigmas[0] == sigma_table()[499]
    assert sigmas[-1] == 0
    assert len(img2img_sigmas(50, 0.001)) == 2


def test_no_strength_gives_the_pictures_round_trip_and_full_strength_another(supir: object) -> None:
    drawn = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    images = torch.nn.functional.interpolate(drawn, size=64, mode="bicubic").clamp(-1, 1)
    round_trip = supir.decode(supir.encode(images))
    faint, full = (
        img2img(supir, images, ["cartoon"], sigmas=img2img_sigmas(*run), guidance_scale=1.0, seeds=[1])
        for run in ((1000, 0.001), (4, 1.0))
    )
    spread = round_trip.std()
    assert (faint - round_trip).std() < 0.1 * spread
    assert (full - round_trip).std() > 0.5 * spread


def test_img2img_is_the_guided_euler_walk_of_the_plain_prior(supir: object) -> None:
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    sigmas, latent = img2img_sigmas(4, 0.5), supir.encode(images)
    x = latent + sigmas[0] * torch.randn(latent.shape[1:], generator=torch.Generator().manual_seed(7))
    prompt, empty, ids = *(supir.encode_prompt([text]) for text in ("messy", "")), supir.time_ids(64, 64, 1)
    for sigma, following in zip(sigmas.tolist(), sigmas.tolist()[1:], strict=False):
        with_prompt, without = (supir.denoise(x, sigma, None, text, ids) for text in (prompt, empty))
        denoised = without + 5.0 * (with_prompt - without)
        x = denoised + (x - denoised) * following / sigma
    got = img2img(supir, images, ["messy"], sigmas=sigmas, guidance_scale=5.0, seeds=[7])
    torch.testing.assert_close(got, supir.decode(x), atol=1e-4, rtol=1e-4)
    assert (with_prompt - without).abs().max() > 1e-3


def test_a_sample_does_not_depend_on_its_neighbours(supir: object) -> None:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    options = {"sigmas": img2img_sigmas(4, 0.5), "guidance_scale": 5.0}
    together = img2img(supir, images, ["dirty", "cartoon"], seeds=[1, 2], **options)
    alone = img2img(supir, images[1:], ["cartoon"], seeds=[2], **options)
    torch.testing.assert_close(together[1:], alone, atol=1e-4, rtol=1e-4)
    other = img2img(supir, images[1:], ["cartoon"], seeds=[3], **options)
    assert (other - alone).abs().max() > 0.01


def test_words_stand_in_a_prompt_as_often_as_their_chance_says(astronaut: np.ndarray) -> None:
    config = load_config(NegativesConfig, None, ["words={dirty: 1, messy: 0.3, frames: 0}", "size_px=32"])
    photo = astronaut[:40, :40]
    prompts = [make_request(photo, Source("p", 0, str(n)), config).prompt for n in range(400)]
    assert set(prompts) == {"dirty", "dirty, messy"}
    assert 85 <= prompts.count("dirty, messy") <= 155


def test_the_default_prompt_is_the_papers_ten_words(astronaut: np.ndarray) -> None:
    request = make_request(astronaut, Source("p", 0, "k"), NegativesConfig())
    assert request.prompt == (
        "oil painting, cartoon, blurring, dirty, messy, low quality, frames, deformed, lowres, over-smooth"
    )
    assert request.image.shape == (512, 512, 3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("words={dirty: 0.5}", "one of them chance 1 so that no prompt is empty"),
        ("size_px=500", "a multiple of 32 px"),
        ("preset=minni", "preset 'minni' is unknown; use one of sdxl, mini, tiny"),
        ("preset=sdxl", "preset sdxl needs base"),
        ("guidance_scale=.nan", r"guidance_scale.*finite number \(got nan\)"),
        ("words={dirty: 1, messy: .inf}", "finite number"),
        ("strenght=1", "unknown config key 'strenght'; did you mean 'strength'"),
    ],
)
def test_a_wrong_config_is_told_before_any_work(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(NegativesConfig, None, [override])
