from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from limits import HANGS_AFTER_S
from PIL import Image

from supir_infer import PRESETS
from supir_infer.restore import Restorer
from supir_infer.web import MAX_UPLOAD_BYTES
from supir_model import load_supir

gradio_client = pytest.importorskip("gradio_client")


STRONG = ("--set", "strength=1")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real server in a process of its own, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = "import sys; sys.argv[0] = 'supir-web'; from supir_infer.web_cli import main; main()"
    overrides = (
        "--set",
        "min_size_px=64",
        "--set",
        "guidance_scale=2",
        "--set",
        "max_megapixels=1",
        "--set",
        "strength=1",
    )
    options = ("--model", "tiny", "--port", str(port), *overrides)
    log = tmp_path_factory.mktemp("web") / "log"
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(log.parent / "cache"), "OMP_NUM_THREADS": "1"}
    with log.open("w") as stream:
        server = subprocess.Popen(
            [sys.executable, "-c", code, *options], stdout=stream, stderr=stream, env=environment
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, server, log)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=HANGS_AFTER_S)


def _wait(url: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + HANGS_AFTER_S
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=HANGS_AFTER_S).close()
            return
        except OSError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.25)
    raise AssertionError(f"no page after {HANGS_AFTER_S} s: {log.read_text()}")


@pytest.fixture(scope="module")
def client(page: str) -> Iterator[gradio_client.Client]:
    connected = gradio_client.Client(page, verbose=False, analytics_enabled=False)
    yield connected
    connected.close()


def restore(client: gradio_client.Client, path: Path | None, *, upscale: float = 1) -> tuple:
    upload = None if path is None else gradio_client.handle_file(path)
    settings = (upscale, 2, 2.0, 1.0, 0.0, "wavelet", 5)
    return client.predict(upload, "a woman", *settings, api_name="/restore")


def test_the_page_restores_a_picture_as_the_library_does(client, tmp_path, face):
    Image.fromarray(face).save(tmp_path / "face.png")
    (before, after), download, made_with = restore(client, tmp_path / "face.png")
    changes = {"steps": 2, "min_size_px": 64, "guidance_scale": 2.0, "colour_fix": "wavelet", "strength": 1.0}
    settings = PRESETS["mini"].model_copy(update=changes)
    expected = Restorer(load_supir(preset="tiny"), settings).restore(face, "a woman", seed=5)
    with Image.open(download) as image:
        assert np.abs(np.asarray(image).astype(int) - expected.image).max() <= 1
        assert json.loads(image.text["supir"]) == made_with
    assert (made_with["seed"], made_with["caption"], made_with["settings"]["steps"]) == (5, "a woman", 2)
    for path, shown in ((before, face), (after, expected.image)):
        with Image.open(path) as image:
            assert np.abs(np.asarray(image.convert("RGB")).astype(int) - shown).max() <= 1


def test_a_bad_file_no_file_and_an_impossible_size_are_messages(client, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(
        gradio_client.exceptions.AppError, match=r"bad\.png: no kind of picture that is known"
    ):
        restore(client, tmp_path / "bad.png")
    with pytest.raises(gradio_client.exceptions.AppError, match="no picture yet: drop one on the left"):
        restore(client, None)
    Image.new("RGB", (4, 6000)).save(tmp_path / "thin.png")
    with pytest.raises(
        gradio_client.exceptions.AppError, match="needs a working image of 64x96000 px, more than"
    ):
        client.predict(
            gradio_client.handle_file(tmp_path / "thin.png"),
            *("", 1, 2, 2.0, 1.0, 0.0, "wavelet", 5),
            api_name="/restore",
        )


@pytest.mark.parametrize(
    ("caption", "settings", "words"),
    [
        ("", (1, 2, 2.0, 1.0, 0.0, "wavelet", None), "Seed is empty; give a whole number from 0"),
        ("", (1, 2, 2.0, 1.0, 0.0, None, 5), "config key 'colour_fix': Input should be 'wavelet', 'adain'"),
    ],
)
def test_an_empty_field_is_a_message(client, tmp_path, face, caption, settings, words):
    Image.fromarray(face).save(tmp_path / "face.png")
    upload = gradio_client.handle_file(tmp_path / "face.png")
    with pytest.raises(gradio_client.exceptions.AppError, match=re.escape(words)):
        client.predict(upload, caption, *settings, api_name="/restore")


def test_a_null_caption_is_the_empty_one(client, tmp_path, face):
    Image.fromarray(face).save(tmp_path / "face.png")
    settings = (1, 1, 2.0, 1.0, 0.0, "wavelet", 5)
    upload = gradio_client.handle_file(tmp_path / "face.png")
    assert client.predict(upload, None, *settings, api_name="/restore")[2]["caption"] == ""


def test_a_picture_above_the_limit_is_refused_by_its_header_in_preview_and_restore(client, tmp_path):
    Image.new("1", (2000, 1000)).save(tmp_path / "wide.png")
    with (tmp_path / "wide.png").open("r+b") as stream:
        stream.truncate(60)  # a header and no pixels: decoding it would be another message
    words = r"wide\.png is 2000x1000 px, more than max_megapixels=1; upload a smaller one"
    with pytest.raises(gradio_client.exceptions.AppError, match=words):
        restore(client, tmp_path / "wide.png")
    with pytest.raises(gradio_client.exceptions.AppError, match=words):
        client.predict(gradio_client.handle_file(tmp_path / "wide.png"), api_name="/preview")


def test_a_preview_is_a_thumbnail(client, tmp_path):
    Image.new("RGB", (2000, 400), (250, 10, 10)).save(tmp_path / "long.png")
    shown = client.predict(gradio_client.handle_file(tmp_path / "long.png"), api_name="/preview")
    with Image.open(shown) as image:
        assert image.size == (1024, 205)


def test_a_file_above_the_limit_is_not_taken(client, tmp_path):
    with (tmp_path / "huge.png").open("wb") as stream:
        stream.truncate(MAX_UPLOAD_BYTES + 1)
    with pytest.raises(Exception, match=r"413|too large|exceeds"):
        restore(client, tmp_path / "huge.png")


@pytest.mark.parametrize("endpoint", ["preview", "restore"])
def test_no_request_gets_past_the_queue(page, endpoint):
    body = json.dumps({"data": [None] * 9}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{page}/gradio_api/run/{endpoint}", body, headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=HANGS_AFTER_S)
    assert "does not accept direct HTTP POST requests" in refused.value.read().decode()


def test_the_page_names_no_other_host(page):
    with urllib.request.urlopen(page, timeout=HANGS_AFTER_S) as answer:
        html = answer.read().decode()
    assert "fonts.googleapis.com" not in html
    assert "fonts.gstatic.com" not in html
    assert "cdnjs" not in html
    with urllib.request.urlopen(f"{page}/config", timeout=HANGS_AFTER_S) as answer:
        config = json.loads(answer.read())
    assert config["analytics_enabled"] is False
    assert config["stylesheets"] == []
