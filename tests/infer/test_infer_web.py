from __future__ import annotations

import io
import json
import re
import socket
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from limits import HANGS_AFTER_S
from PIL import Image
from served_page import ServedPage, served_page

from supir_infer import PRESETS, RestoreSettings, web_cli
from supir_infer.images import read_picture
from supir_infer.page_files import write_jpeg
from supir_infer.page_presets import PRESET_WORDS, WORDS, offered
from supir_infer.restore import Restorer
from supir_infer.saving import read_metadata
from supir_infer.web import MAX_UPLOAD_BYTES
from supir_model import load_supir

gradio_client = pytest.importorskip("gradio_client")


OPTIONS = ("min_size_px=64", "guidance_scale=2", "max_megapixels=1", "strength=1")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPage]:
    overrides = [word for option in OPTIONS for word in ("--set", option)]
    with served_page(tmp_path_factory.mktemp("web"), *overrides) as page:
        yield page


@pytest.fixture(scope="module")
def client(page: ServedPage) -> Iterator[gradio_client.Client]:
    connected = gradio_client.Client(page.url, verbose=False, analytics_enabled=False)
    yield connected
    connected.close()


def settings(**changes: object) -> list[object]:
    """The inputs of /restore after the uploads."""
    values = {
        "preset": "mini",
        "caption": "a woman",
        "upscale": 1,
        "strength_auto": False,
        "strength": 1.0,
        "steps": 2,
        "guidance_scale": 2.0,
        "control_scale": 1.0,
        "restore_guidance": 0.0,
        "colour_fix": "wavelet",
        "seed": 5,
        "preview_every": 1,
    }
    assert changes.keys() <= values.keys()
    return list({**values, **changes}.values())


def restore(client: gradio_client.Client, *paths: Path, **changes: object) -> dict:
    uploads = [gradio_client.handle_file(path) for path in paths]
    return client.predict(uploads, *settings(**changes), api_name="/restore")


def fetched(page: ServedPage, url: str) -> bytes:
    with urllib.request.urlopen(f"{page.url}/{url}", timeout=HANGS_AFTER_S) as answer:
        return answer.read()


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_the_page_restores_a_picture_as_the_library_does(page, client, tmp_path, face):
    Image.fromarray(face).save(tmp_path / "face.png")
    view = restore(client, tmp_path / "face.png")
    (row,) = view["rows"]
    changes = {"steps": 2, "min_size_px": 64, "guidance_scale": 2.0, "colour_fix": "wavelet", "strength": 1.0}
    expected = Restorer(load_supir(preset="tiny"), PRESETS["mini"].model_copy(update=changes)).restore(
        face, "a woman", seed=5
    )
    assert (row["state"], row["files"]["name"], view["running"]) == ("done", "face-restored", False)
    png = fetched(page, row["files"]["png"])
    assert np.abs(pixels(png) - expected.image).max() <= 1
    assert np.abs(pixels(fetched(page, row["files"]["before"])) - face).max() == 0
    jpeg = fetched(page, row["files"]["jpeg"])
    assert 20 * np.log10(255 / np.sqrt(np.mean((pixels(jpeg) - pixels(png)) ** 2))) > 35
    made_with = row["made_with"]
    assert (made_with["seed"], made_with["caption"], made_with["settings"]["steps"]) == (5, "a woman", 2)
    assert json.loads(Image.open(io.BytesIO(png)).text["supir"]) == made_with
    (tmp_path / "taken.jpg").write_bytes(jpeg)
    assert read_metadata(tmp_path / "taken.jpg") == made_with


def test_one_bad_photo_is_a_row_and_the_others_are_restored(page, client, tmp_path, face):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    for name in ("face.png", "face.jpg"):
        Image.fromarray(face).save(tmp_path / name)
    view = restore(client, *(tmp_path / name for name in ("face.png", "bad.png", "face.jpg")), steps=1)
    assert [row["state"] for row in view["rows"]] == ["done", "failed", "done"]
    assert view["rows"][1]["note"].startswith("bad.png: no kind of picture that is known")
    assert view["status"] == "2 restored, 1 failed"
    for kind, suffix in (("png", "png"), ("jpeg", "jpg")):
        with zipfile.ZipFile(io.BytesIO(fetched(page, view["archives"][kind]))) as archive:
            names = [f"face.png-restored.{suffix}", f"face.jpg-restored.{suffix}", "results.json"]
            assert archive.namelist() == names
            rows = json.loads(archive.read("results.json"))
            assert [row["state"] for row in rows] == ["done", "failed", "done"]
            assert pixels(archive.read(names[0])).shape == face.shape


def test_photos_that_are_found_clean_are_counted_as_such(client, tmp_path, face):
    for name in ("one.png", "other.png"):
        Image.fromarray(face).save(tmp_path / name)
    automatic = {"strength_auto": True, "steps": 1}
    view = restore(client, tmp_path / "one.png", **automatic)
    assert view["status"] == "1 found clean, left as it was"
    view = restore(client, tmp_path / "one.png", tmp_path / "other.png", **automatic)
    assert view["status"] == "2 found clean, left as they were"


def test_a_bad_file_no_file_and_an_impossible_size_are_messages(client, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(
        gradio_client.exceptions.AppError, match=r"bad\.png: no kind of picture that is known"
    ):
        restore(client, tmp_path / "bad.png")
    with pytest.raises(gradio_client.exceptions.AppError, match="no photo yet, or it is still on its way"):
        restore(client)
    Image.new("RGB", (4, 6000)).save(tmp_path / "thin.png")
    with pytest.raises(
        gradio_client.exceptions.AppError, match="needs a working image of 64x96000 px, more than"
    ):
        restore(client, tmp_path / "thin.png")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": None}, "Seed is empty; give a whole number from 0"),
        ({"colour_fix": None}, "config key 'colour_fix': Input should be 'wavelet', 'adain'"),
    ],
)
def test_an_empty_field_is_a_message(client, tmp_path, face, changes, words):
    Image.fromarray(face).save(tmp_path / "face.png")
    with pytest.raises(gradio_client.exceptions.AppError, match=re.escape(words)):
        restore(client, tmp_path / "face.png", **changes)


def test_a_null_caption_is_the_empty_one(client, tmp_path, face):
    Image.fromarray(face).save(tmp_path / "face.png")
    (row,) = restore(client, tmp_path / "face.png", caption=None, steps=1)["rows"]
    assert row["made_with"]["caption"] == ""


def test_a_picture_above_the_limit_is_refused_by_its_header_when_shown_and_restored(client, tmp_path):
    Image.new("1", (2000, 1000)).save(tmp_path / "wide.png")
    with (tmp_path / "wide.png").open("r+b") as stream:
        stream.truncate(60)  # a header and no pixels: decoding it would be another message
    words = "wide.png is 2000x1000 px, more than max_megapixels=1; upload a smaller one"
    with pytest.raises(gradio_client.exceptions.AppError, match=re.escape(words)):
        restore(client, tmp_path / "wide.png")
    shown = client.predict([gradio_client.handle_file(tmp_path / "wide.png")], api_name="/show")
    assert (shown["rows"][0]["state"], words in shown["rows"][0]["note"]) == ("failed", True)


def test_an_upload_is_shown_as_a_thumbnail_with_its_upright_size(page, client, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (1500, 300), (250, 10, 10)).save(tmp_path / "long.jpg", exif=exif)
    (row,) = client.predict([gradio_client.handle_file(tmp_path / "long.jpg")], api_name="/show")["rows"]
    assert (row["width"], row["height"], row["note"]) == (300, 1500, "300×1500 px")
    assert pixels(fetched(page, row["thumb"])).shape == (1024, 205, 3)
    assert len(json.dumps(row)) < 1000  # what every word about the work is sent with


def test_a_file_above_the_limit_is_not_taken(client, tmp_path):
    with (tmp_path / "huge.png").open("wb") as stream:
        stream.truncate(MAX_UPLOAD_BYTES + 1)
    with pytest.raises(Exception, match=r"413|too large|exceeds"):
        restore(client, tmp_path / "huge.png")


@pytest.mark.parametrize("endpoint", ["show", "restore"])
def test_no_request_gets_past_the_queue(page, endpoint):
    body = json.dumps({"data": [None] * 13}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{page.url}/gradio_api/run/{endpoint}", body, headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=HANGS_AFTER_S)
    assert "does not accept direct HTTP POST requests" in refused.value.read().decode()


def test_the_page_names_no_other_host(page):
    with urllib.request.urlopen(page.url, timeout=HANGS_AFTER_S) as answer:
        html = answer.read().decode()
    assert "fonts.googleapis.com" not in html
    assert "fonts.gstatic.com" not in html
    assert "cdnjs" not in html
    with urllib.request.urlopen(f"{page.url}/config", timeout=HANGS_AFTER_S) as answer:
        config = json.loads(answer.read())
    assert config["analytics_enabled"] is False
    assert config["stylesheets"] == []


def test_a_busy_port_is_said_in_our_words(command):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        outcome = command(web_cli.main, "--model", "tiny", "--port", port)
    assert outcome.code == 2
    assert f"port {port} of 127.0.0.1 is taken by another program, perhaps another supir-web" in outcome.err
    assert f"--port {port + 1 if port < 65535 else port - 1}, or --port 0" in outcome.err


def test_a_host_that_is_not_here_is_said_in_our_words(command):
    outcome = command(web_cli.main, "--model", "tiny", "--host", "192.0.2.7", "--port", 0)
    assert outcome.code == 2
    assert "--host 192.0.2.7 is no address of this machine; use 127.0.0.1 or 0.0.0.0" in outcome.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ("--preset", "fidelity"),
            "--preset fidelity was made for models with SDXL's latent, and tiny is one of",
        ),
        (("--lora", "none.safetensors"), "none.safetensors"),
        (("--offload", "ram", "--device", "cpu"), "--offload ram keeps weights in main memory beside a GPU"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_before_the_page_opens(command, options, words):
    outcome = command(web_cli.main, "--model", "tiny", "--port", 0, *options)
    assert outcome.code == 2
    assert words in outcome.err


def test_a_transparent_result_of_16_bits_is_a_jpeg_on_white(tmp_path):
    rgba = np.full((8, 8, 4), (200, 100, 50, 255), np.uint8)
    rgba[:, 4:, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "half.png")
    deep = np.broadcast_to(np.array([200, 100, 50], np.uint16) * 257, (16, 16, 3))
    write_jpeg(tmp_path / "half.jpg", deep, read_picture(tmp_path / "half.png"), {"seed": 1}, quality=95)
    taken = pixels((tmp_path / "half.jpg").read_bytes())
    assert np.abs(taken[:, :6] - (200, 100, 50)).max() <= 6
    assert taken[:, 10:].min() >= 249
    assert read_metadata(tmp_path / "half.jpg") == {"seed": 1}


def test_each_preset_and_control_of_the_page_has_its_words():
    for first in PRESETS:
        names = offered(first)
        assert names[0] == first
        assert set(names[1:]) <= PRESET_WORDS.keys() & PRESETS.keys()
        assert len(names) == len(set(names)) >= 2
    controls = RestoreSettings.model_fields.keys() | {"caption", "seed", "preview_every", "strength_auto"}
    assert WORDS.keys() <= controls
