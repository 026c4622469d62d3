"""`supir-infer --captioner`: what is said about the cleaned picture, and what the result tells of it."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faulty_endpoint import FaultyEndpoint, completion
from PIL import Image

from supir_infer import RestoreSettings
from supir_infer.cli import main
from supir_infer.restore import Restorer
from supir_infer.saving import read_metadata

QUICK = ("--model", "tiny", "--steps", 2, "--min-size", 64, "--set", "start_sigma=0.5", "--strength", 1)


def asks(tmp_path: Path, url: str) -> tuple[object, ...]:
    """The flags of a captioner behind an endpoint."""
    (tmp_path / "asks.yaml").write_text(
        f"engine: openai\nopenai: {{model: m, picture_format: png, endpoint: {{base_url: '{url}'}}}}\n"
        "questions: {photo: [paper]}\nrun: {in_flight: 1}\n"
    )
    return ("--captioner-config", tmp_path / "asks.yaml")


def test_the_cleaned_picture_is_captioned_and_the_result_tells_what_was_said(
    command, photos, tmp_path, supir, model_folder
):
    shown = []

    def answers(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        url = request["messages"][0]["content"][0]["image_url"]["url"]
        shown.append(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))
        return 200, completion("The image shows a woman in a red dress. She smiles.")

    (photos / "trip/cat.txt").write_text("my own cat")
    quick = ("--model", model_folder, *QUICK[2:])
    with FaultyEndpoint(answers=answers) as endpoint:
        flags = asks(tmp_path, endpoint.url)
        ended = command(main, photos, "-o", tmp_path / "out", *quick, *flags, "--json")
        assert ended.code == 0, ended.err
        again = command(main, photos, "-o", tmp_path / "out", *quick, *flags, "--json")
    assert json.loads(again.out)["skipped"] == 2
    (picture,) = shown  # the other has a caption, and the rerun finds both finished
    face = read_metadata(tmp_path / "out/face.png")
    assert face["captioned"]["text"] == "A woman in a red dress. She smiles."
    assert face["captioned"]["dense"] == "The image shows a woman in a red dress. She smiles."
    assert (face["captioned"]["abstains"], face["captioned"]["model"]) == ("", "m")
    assert face["prompt"].startswith("A woman in a red dress. She smiles. Cinematic")
    assert (face["caption"], face["captioner"].partition("#")[0]) == ("", "openai")
    cat = read_metadata(tmp_path / "out/trip/cat.png")
    assert (cat["caption"], cat["captioner"], "captioned" in cat) == ("my own cat", None, False)
    settings = RestoreSettings(min_size_px=64)
    cleaned = Restorer(supir, settings).cleaned(Image.open(photos / "face.png"))
    assert picture.size == cleaned.size == (96, 96)
    assert np.abs(np.asarray(picture).astype(int) - np.asarray(cleaned)).max() <= 1

    refused = command(main, photos / "face.png", "-o", tmp_path / "out", *quick)
    assert refused.code == 2
    assert "was made with captioner='openai#" in refused.err


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("I'm sorry, I cannot help with that.", "refusal: "),
        ("A low quality, blurry, pixelated photo of a dog.", "degradation: "),
        ("", "empty: "),
    ],
)
def test_an_unfit_answer_is_no_prompt_and_is_told(command, photos, tmp_path, answer: str, reason: str):
    with FaultyEndpoint(answers=lambda _: (200, completion(answer))) as endpoint:
        face = photos / "face.png"
        ended = command(main, face, "-o", tmp_path / "o.png", *QUICK, *asks(tmp_path, endpoint.url))
    assert ended.code == 0, ended.err
    record = read_metadata(tmp_path / "o.png")
    assert record["captioned"]["abstains"].startswith(reason)
    assert (record["captioned"]["text"], record["captioned"]["dense"]) == ("", answer)
    assert record["prompt"].startswith("Cinematic")


def test_a_captioner_that_answers_nobody_ends_the_run_in_one_line(command, photos, tmp_path):
    with FaultyEndpoint(answers=lambda _: (401, {"error": {"message": "no key"}})) as endpoint:
        flags = asks(tmp_path, endpoint.url)
        ended = command(main, photos, "-o", tmp_path / "out", *QUICK, *flags)
    assert ended.code == 2
    assert "refuses: 401" in ended.err
    assert not (tmp_path / "out/face.png").exists()


def test_the_tags_engine_says_nothing_of_the_detail_that_is_to_be_made(command, tmp_path, photos):
    Image.new("RGB", (96, 96), (200, 30, 30)).save(tmp_path / "red.png")
    ended = command(main, tmp_path / "red.png", "-o", tmp_path / "o.png", *QUICK, "--captioner", "tags")
    assert ended.code == 0, ended.err
    said = read_metadata(tmp_path / "o.png")["captioned"]
    assert said["model"].startswith("tags: mobilenet_v2")
    assert "detail" not in said["dense"]
    assert said["text"] or said["abstains"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ("--captioner", "llava"),
            "--captioner llava is unknown; use one of tags, vllm, openai, transformers",
        ),
        (("--captioner-model", "m"), "--captioner-model m needs --captioner, one of tags, vllm"),
        (("--captioner", "openai"), "engine openai needs the model's name"),
        (("--captioner", "tags", "--captioner-model", "/no/w.pth"), "/no/w.pth does not exist"),
    ],
)
def test_a_wrong_captioner_is_named(command, photos, tmp_path, flags, message: str):
    ended = command(main, photos, "-o", tmp_path / "out", *QUICK, *flags)
    assert ended.code == 2
    assert message in ended.err
