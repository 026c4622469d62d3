"""`supir-train` as a user meets it: plan, messages, a sample that cannot be used."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from limits import HANGS_AFTER_S

from supir_console import UserError, config_yaml
from supir_model import load_supir
from supir_train.cli import main
from supir_train.data import training_batches
from supir_train.order import Position

ACTIVE = {"OMP_WAIT_POLICY": "ACTIVE"}


@pytest.mark.skipif(sys.platform != "linux", reason="asks libgomp")
@pytest.mark.parametrize(("processes", "policy", "spins"), [(1, {}, "0"), (2, {}, "0"), (1, ACTIVE, "[1-9]")])
def test_threads_of_a_running_trainer_wait_asleep_unless_the_user_says_otherwise(
    processes, policy, spins, configure, tmp_path
):
    config = configure("encoder", tmp_path / "run", optimize__steps=1, data__workers=1, validation__crops=0)
    (tmp_path / "config.yaml").write_text(config_yaml(config))
    unset = {"OMP_WAIT_POLICY", "KMP_BLOCKTIME", "OMP_NUM_THREADS"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    done = subprocess.run(
        [sys.executable, "-m", "supir_train", str(tmp_path / "config.yaml"), "--processes", str(processes)],
        env={**kept, **policy, "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        timeout=HANGS_AFTER_S,
    )
    assert done.returncode == 0, done.stderr
    assert re.findall(rf"GOMP_SPINCOUNT = '{spins}", done.stderr)
    if processes > 1:
        cores = max(1, len(os.sched_getaffinity(0)) // processes)
        assert f"OMP_NUM_THREADS = '{cores}'" in done.stderr


def test_dry_run_counts_parameters_bytes_and_images_and_writes_nothing(command, tmp_path):
    code, out, _ = command("--dry-run", "--json")
    plan = json.loads(out)
    (phase,) = plan["phases"]
    assert (code, plan["dataset_samples"], phase["steps"], phase["images"]) == (0, 24, 2, 16)
    frozen = plan["parameters"] - phase["trained_parameters"]
    assert phase["memory_bytes"] == 20 * phase["trained_parameters"] + 4 * frozen
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("crops", "pictures"), [(32, 8), (3, 3)])
def test_a_dry_run_says_what_will_be_validated(crops, pictures, crops_of_six_photos, command):
    keys = {"validation__crops": crops, "validation__pictures": 8}
    code, out, _ = command("--dry-run", "--json", data__dataset=crops_of_six_photos, **keys)
    assert (code, json.loads(out)["validation"]) == (
        0,
        {"crops": crops, "photos": 2, "unusable_samples": 0, "pictures": pictures, "every": 500},
    )


def test_export_is_a_command_beside_the_config(command, tmp_path, monkeypatch, capsys):
    assert command(stage="encoder", steps=1)[0] == 0
    (tmp_path / "run/model/unet/config.json").unlink()

    def export(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["supir-train", "export", str(tmp_path / "run"), *arguments])
        try:
            main()
            code = 0
        except SystemExit as leave:
            code = leave.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    code, out, _ = export("--best", "--json")
    summary = json.loads(out)
    assert (code, summary["step"], summary["model"]) == (0, 1, str(tmp_path / "run/model"))
    assert summary["validation_loss"] > 0
    assert (tmp_path / "run/model/unet/config.json").is_file()
    for arguments, text in (
        (("--step", "5"), "keeps no checkpoint of step 5; it keeps 1"),
        (("--step", "1", "--best"), "name two checkpoints; give one of them"),
        (("--official", str(tmp_path / "a.ckpt")), "must end in .safetensors"),
        (("--official", str(tmp_path / "a.safetensors")), "the official layout holds"),
    ):
        code, _, err = export(*arguments)
        assert (code, text in err) == (2, True), err


def test_a_run_ends_with_a_model_and_one_summary_on_stdout(command, tmp_path):
    code, out, err = command("--json", stage="encoder")
    summary = json.loads(out)
    assert 0 < summary.pop("validation_share") < 1
    assert (code, summary) == (
        0,
        {"steps": 2, "model": str(tmp_path / "run/model"), "bad_samples": 0, "passed_over": []},
    )
    assert "stage encoder in" in err
    assert "24 samples" in err
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2, 2]
    assert {"loss", "grad_norm", "lr", "images_per_s", "psnr_db"} <= lines[1].keys()


def test_samples_that_cannot_be_used_are_listed_once_and_the_exit_code_says_so(
    command, dataset_with_a_small_image, tmp_path
):
    code, out, _ = command("--json", data__dataset=dataset_with_a_small_image, steps=8)
    listed = [json.loads(line) for line in (tmp_path / "run/bad_samples.jsonl").read_text().splitlines()]
    assert (code, json.loads(out)["bad_samples"], len(listed)) == (1, 1, 1)
    assert "20x20 px is smaller than the crop of 32 px" in listed[0]["reason"]


def test_a_dataset_of_small_images_is_one_line(command):
    code, _, err = command(data__crop_px=256)
    assert code == 2
    assert "192x192 px is smaller than the crop of 256 px; check the dataset" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"data__dataset": "/no/such"}, "/no/such holds no dataset"),
        ({"init": "/no/model"}, "init: '/no/model' is not there; give mini, fresh, RUN/model"),
        ({"device": "cuda:7"}, "device: cuda:7 was asked for, but this torch sees no CUDA device"),
        ({"device": "tpu2"}, "device: 'tpu2' is unknown; use auto, cpu, cuda or cuda:N"),
        ({"device": "mps"}, "device: 'mps' is unknown; use auto, cpu, cuda or cuda:N"),
        ({"device": "cuda:first"}, "device: cuda:first was asked for, but this torch sees no CUDA device"),
        ({"data__recipe": "mud"}, "recipe 'mud' is neither a file nor one of"),
        ({"validation__share": 1e-9}, "is held out with validation.share=1e-09; raise the share"),
        (
            {"validation__share": 0.9999999},
            "holds no sample to train on: all of its 24 are held out with validation.share=1; lower it",
        ),
    ],
)
def test_a_wrong_input_is_one_line_with_its_mend(keys, text, command):
    code, _, err = command(**keys)
    assert code == 2
    assert text in err.splitlines()[-1]


def test_an_unknown_config_names_the_shipped_ones(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["supir-train", "prior-maxi"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "give a YAML file or one of prior-mini, encoder-mini" in capsys.readouterr().err


def test_a_run_that_leaves_the_numbers_in_a_step_stops_with_advice_and_keeps_the_step(command, tmp_path):
    code, _, err = command("--set", "optimize.lr=1e30", steps=20, checkpoint_every=100)
    assert code == 2
    assert "is nan at step 2" in err
    assert "incident 1 of at most 3; if more come, lower optimize.lr (now 1e+30)" in err.splitlines()[-1]
    assert not (tmp_path / "run/model").exists()
    assert [path.name for path in tmp_path.glob("run/checkpoints/step-*")] == ["step-00000001"]
    assert "NaN" not in (tmp_path / "run/metrics.jsonl").read_text()


def test_a_run_whose_validation_leaves_the_numbers_stops_with_advice_at_every_start(command, tmp_path):
    for _ in range(2):
        code, _, err = command("--set", "optimize.lr=1e30", steps=1, checkpoint_every=100)
    assert code == 2
    assert "start again with a lower optimize.lr (now 1e+30)" in err
    assert "is nan" in err
    assert "delete the newest of" in err
    assert not (tmp_path / "run/model").exists()
    assert "NaN" not in (tmp_path / "run/metrics.jsonl").read_text()


def test_weights_that_hold_no_number_are_told_before_the_first_step(command, tmp_path):
    supir = load_supir(preset="tiny", weights=None, seed=0)
    next(supir.vae.decoder.parameters()).data.fill_(float("nan"))
    supir.save_pretrained(tmp_path / "poisoned")
    code, _, err = command(stage="encoder", init=tmp_path / "poisoned")
    assert code == 2
    told = f"is nan before the first step: the weights of init={tmp_path}/poisoned hold what is no number"
    assert told in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"data__captions": "nope"}, "has no captions 'nope'"),
        ({"data__negatives": "/no/negatives"}, "/no/negatives holds no dataset"),
        (
            {"data__negatives": "~/photos"},
            "holds no sample of role negative; make it with `supir-degrade negatives`",
        ),
        ({"data__recipe": "mud"}, "recipe 'mud' is neither a file nor one of"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would_refuse(keys, text, command, dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "photos").symlink_to(dataset)
    code, _, err = command("--dry-run", **keys)
    assert (code, text in err) == (2, True), err


def test_one_bad_sample_in_a_forward_pass_of_its_own_does_not_stop_the_run(
    command, dataset_with_a_small_image, tmp_path
):
    code, out, _ = command(
        "--json",
        data__dataset=dataset_with_a_small_image,
        optimize__batch=2,
        optimize__micro_batch=1,
        validation__crops=0,
        steps=20,
    )
    assert (code, json.loads(out)["bad_samples"], json.loads(out)["steps"]) == (1, 1, 20)


@pytest.fixture
def recipe_without_weights(tmp_path):
    path = tmp_path / "vae.yaml"
    path.write_text("name: x\nsteps: [{do: vae, weights: /none}]")
    return path


@pytest.mark.parametrize("arguments", [[], ["--dry-run"]])
def test_a_recipe_without_its_weights_is_refused_before_the_run(
    arguments, recipe_without_weights, command, tmp_path
):
    code, _, err = command(*arguments, data__recipe=recipe_without_weights)
    assert (code, err.splitlines()[-1][:41]) == (2, "error: vae weights '/none': /none has no ")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_what_only_the_user_can_mend_leaves_a_loader_process_as_its_own_line(
    workers, recipe_without_weights, configure, tmp_path
):
    config = configure("encoder", tmp_path, data__recipe=recipe_without_weights, data__workers=workers)
    with pytest.raises(UserError) as raised:
        next(training_batches(config, images=2, degraded=True, start=Position()))
    assert str(raised.value).startswith("vae weights '/none': /none has no config.json with")
    assert "Traceback" not in str(raised.value)
