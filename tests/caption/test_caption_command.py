"""`supir-caption` as a user runs it: on Ray, killed and continued, with a bad picture, and with wrong input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from limits import HANGS_AFTER_S
from typer.testing import CliRunner

from supir_caption.cli import app
from supir_caption.config import CaptionConfig
from supir_caption.run import plan
from supir_caption.tags_engine import TagsEngine
from supir_caption.worker import PartCaptioner
from supir_console import UserError, load_config
from supir_shards import Dataset, Store, load_manifest, write_captions

COMMAND = [sys.executable, "-c", "from supir_caption.cli import main; main()"]
TAGS = [
    "--engine",
    "tags",
    "--set",
    "regions.size_px=256",
    "--set",
    "run.workers=1",
    "--set",
    "run.batch_images=2",
]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=HANGS_AFTER_S, check=False
    )


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def dataset(tmp_path: Path, photo, as_sample, write_dataset) -> Path:
    bad = as_sample(photo("rocket"))
    bad = type(bad)(
        key="f" * 32, image=bad.image[:9000], extension="jpg", role=bad.role, width=640, height=427
    )
    coffee, cat, flag = (as_sample(photo(name)) for name in ("coffee", "chelsea", "astronaut"))
    write_dataset(tmp_path / "d", [[coffee, bad], [cat], [flag]])
    return tmp_path / "d"


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANGS_AFTER_S
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def actor_of(driver: int) -> int | None:
    """Process id of the run's actor while it captions a part."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            title, parents = (entry / "cmdline").read_bytes(), [int(entry.name)]
            while title.startswith(b"ray::CaptionActor.caption_part") and parents[-1] > 1:
                if parents[-1] == driver:
                    return int(entry.name)
                parents.append(
                    int(Path(f"/proc/{parents[-1]}/stat").read_text().rpartition(")")[2].split()[1])
                )
        except FileNotFoundError:  # it ended while we looked
            continue
    return None


def caption_without_ray(folder: Path, tags: TagsEngine) -> None:
    worker = PartCaptioner(
        str(folder), tags_config("run.batch_images=1"), 0, tags
    )  # the engine that this process has loaded already
    for part in Dataset(folder).parts():
        list(worker.caption_part(part))


def test_driver_and_actor_killed_it_still_leaves_the_bytes_of_an_undisturbed_run(
    dataset: Path, tmp_path: Path, tags: TagsEngine
):
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(dataset, undisturbed)
    caption_without_ray(undisturbed, tags)
    with start(str(dataset), *TAGS) as killed:
        wait_for(killed, (dataset / "captions/tags/part-000000.parquet").exists)
        killed.kill()
    done = len(list((dataset / "captions/tags").glob("part-*.parquet")))
    assert not (dataset / "report/captions/tags/failures.jsonl").exists()  # it did not come to its end

    with start(str(dataset), *TAGS, "--json") as again:
        wait_for(again, lambda: actor_of(again.pid) is not None)
        os.kill(actor_of(again.pid), signal.SIGKILL)  # the run replaces it
        stdout, stderr = again.communicate(timeout=HANGS_AFTER_S)
    reference = run(str(undisturbed), *TAGS, "--json")  # nothing is left to do but to finish
    summary = json.loads(stdout)
    assert (again.returncode, reference.returncode) == (1, 1)  # the half picture is listed
    # An actor may outlive its killed driver for a moment and finish the part in its hands.
    assert done <= summary["parts_done_before"] <= done + 1
    assert summary["parts_done_before"] + summary["parts"] == 3
    assert summary["parts"] > 0
    assert files(dataset) == files(undisturbed)

    failures = (dataset / summary["failures"]).read_text().splitlines()
    assert [json.loads(line)["sample"] for line in failures] == ["f" * 32]
    manifest = load_manifest(Store(dataset))
    assert manifest.totals.captions == {"tags": 13}
    assert [step.command for step in manifest.lineage] == ["supir-curate run", "supir-caption"]
    assert json.loads(reference.stdout)["parts_done_before"] == 3
    assert "Traceback" not in stderr


def test_a_dry_run_counts_what_is_left_and_writes_nothing(dataset: Path):
    before = files(dataset)
    indexes = [Dataset(dataset).index(part) for part in Dataset(dataset).parts()]
    result = run(str(dataset), *TAGS, "--dry-run", "--json")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    counted = {
        "dataset": str(dataset),
        "name": "tags",
        "parts": 3,
        "parts_done": 0,
        "images": 4,
        "captions": 5 + 5 + 3 + 5,
        "image_bytes": sum(sum(index["bytes"].to_pylist()) for index in indexes),
    }
    assert {key: told[key] for key in counted} == counted
    # The first part holds a picture with its regions, and the half one.
    assert (told["measured_images"], told["measured_captions"]) == (1, 5)
    assert told["captions_per_s"] > 0
    assert told["worker_hours"] == pytest.approx(18 / told["captions_per_s"] / 3600, rel=0.6, abs=1e-3)
    assert (told["gpu_hours"], told["prompt_tokens"], told["cost"]) == (0, 0, 0)
    assert files(dataset) == before


def tags_config(*overrides: str) -> CaptionConfig:
    return load_config(CaptionConfig, None, ["engine=tags", "regions.size_px=256", *overrides])


def with_one_part_captioned(folder: Path) -> Path:
    """The dataset with what a run leaves after its first part but for its config; returns that file's place."""
    place = folder / "report/captions/tags/config.json"
    place.parent.mkdir(parents=True)
    write_captions(Store(folder), "tags", Dataset(folder).parts()[0], [])
    return place


def test_another_config_under_the_same_name_is_refused(dataset: Path):
    place = with_one_part_captioned(dataset)
    record = {
        "config_hash": "0" * 16,
        "config": tags_config("tags.sure_probability=0.9").record(),
    }
    place.write_text(json.dumps(record))
    with pytest.raises(
        UserError, match=r"'tags' were made with another config \(tags.sure_probability differ\)"
    ):
        plan(str(dataset), tags_config())
    assert plan(str(dataset), tags_config("name=other")).images == 4


def test_a_run_that_captioned_nothing_does_not_take_the_name(dataset: Path, tmp_path: Path):
    typo = tmp_path / "typo.pth"
    typo.write_bytes(b"no weights")
    failed = run(str(dataset), *TAGS, "--model", str(typo))
    assert (failed.returncode, failed.stderr.count("error: ")) == (2, 1)
    assert (dataset / "report/captions/tags/config.json").exists()
    assert plan(str(dataset), tags_config()).images == 4
    right = run(str(dataset), *TAGS, "--json")
    assert json.loads(right.stdout)["captions"] == 13, right.stderr
    record = json.loads((dataset / "report/captions/tags/config.json").read_text())
    assert record["config"]["tags"]["weights"] is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[]", b"{}", b'{"config_hash": "a", "config": 3}']
)
def test_a_damaged_record_of_the_config_is_named_with_its_mend(dataset: Path, content: bytes):
    place = with_one_part_captioned(dataset)
    place.write_bytes(content)
    with pytest.raises(UserError) as caught:
        plan(str(dataset), tags_config())
    assert str(caught.value).startswith(f"{place} is damaged (")
    assert "restore it, use another --name, or delete captions/tags/ and report/captions/tags/" in str(
        caught.value
    )


def test_speed_settings_do_not_change_what_made_the_captions():
    assert tags_config("run.workers=7").made_by_hash() == tags_config("ask.max_tokens=9").made_by_hash()
    assert tags_config("seed=1").made_by_hash() != tags_config().made_by_hash()
    assert tags_config("name=tags").made_by_hash() == tags_config().made_by_hash()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{empty}", "--engine", "tags"], "holds no dataset"),
        (["{data}", "--engine", "llava"], "engine"),
        (
            ["{data}", "--set", "regions.size=3"],
            "unknown config key 'regions.size'; did you mean 'regions.size_px'?",
        ),
        (["{data}", "--engine", "tags", "--name", "a/b"], "caption name 'a/b' may hold only letters"),
        (["{data}", "--engine", "tags", "--model", "/no/such.pth"], "/no/such.pth does not exist"),
        ([], "DATASET is missing"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(dataset: Path, arguments: list[str], message: str):
    filled = [argument.format(data=dataset, empty=dataset.parent / "no") for argument in arguments]
    result = run(*filled)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_the_printed_config_is_read_back(tmp_path: Path):
    result = CliRunner().invoke(app, ["--engine", "tags", "--set", "short_tokens=60", "--print-config"])
    assert result.exit_code == 0
    (tmp_path / "c.yaml").write_text(result.stdout)
    assert load_config(CaptionConfig, tmp_path / "c.yaml", []) == tags_config(
        "regions.size_px=512", "short_tokens=60"
    )
    assert "# CLIP tokens of the short text at most" in result.stdout


def test_help_is_quick_and_imports_nothing_heavy():
    script = (
        "import sys, supir_caption.cli as c; "
        "print([m for m in ('torch', 'ray', 'vllm', 'transformers', 'cv2', 'pyarrow', 'numpy') if m in sys.modules])"
    )
    started = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ
    )
    assert result.stdout.strip() == "[]"
    assert time.monotonic() - started < 20
