"""Nothing vanishes: every file of a folder and every member of a tar is a candidate or is counted under what it is."""

from __future__ import annotations

import io
import json
import os

import fsspec
import pytest
from PIL import Image
from source_rows import files_in, rows_of, tar_of

from supir_curate.sources import left_out as left_out_module
from supir_curate.sources.left_out import in_words
from supir_curate.verdict import Reason
from supir_images import formats
from supir_shards import Dataset

JPEG = b"\xff\xd8\xff\xe0" + bytes(100)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(40)
TIFF = b"II*\0" + bytes(60)

MESSY = {
    "a.jpg": JPEG,
    "b.jfif": JPEG,
    "c.jpe": JPEG,
    "d.MPO": JPEG,
    "no suffix": PNG,
    "wrong.dat": JPEG,
    "wrong.txt": PNG,
    "photo.HEIC": HEIC,
    "no.suffix-heic": HEIC,
    "really.heic": JPEG,
    "raw.NEF": TIFF,
    "film.mp4": b"\0\0\0\x18ftypisom" + bytes(20),
    "README": "words",
    "notes.pdf": "%PDF",
    "a.txt": "a caption",
    "lost.txt": "no picture",
    ".thumbnails/1.jpg": JPEG,
    "sub/@eaDir/a.jpg": JPEG,
    "__MACOSX/._a.jpg": b"\0\5\x16\7",
    "sub/._a.jpg": b"\0\5\x16\7",
    ".DS_Store": b"x",
    "sub/Thumbs.db": b"x",
}
LISTED = ["a.jpg", "b.jfif", "c.jpe", "d.MPO", "no suffix", "really.heic", "wrong.dat", "wrong.txt"]
LEFT_OUT = {
    "formats": {".HEIC".lower(): 1, "(no suffix), heic by its bytes": 1, ".nef": 1},
    "not_pictures": {".mp4": 1, "(no suffix)": 1, ".pdf": 1},
    "hidden": {".thumbnails": 1, "@eaDir": 1, "__MACOSX": 1, "._*": 1, ".DS_Store": 1, "Thumbs.db": 1},
    "sidecars_used": {".txt": 1},
    "sidecars_unused": {".txt": 1},
}


@pytest.fixture(autouse=True)
def no_heic(monkeypatch):
    """pillow-heif is not installed here."""
    formats.is_readable.cache_clear()
    monkeypatch.setattr(formats, "find_spec", lambda _module: None)
    yield
    formats.is_readable.cache_clear()


def expected():
    """The last suffix of `no.suffix-heic` is one."""
    counts = {heading: dict(labels) for heading, labels in LEFT_OUT.items()}
    del counts["formats"]["(no suffix), heic by its bytes"]
    counts["formats"][".suffix-heic, heic by its bytes"] = 1
    return counts


def test_every_file_of_a_folder_is_a_candidate_or_counted(tmp_path):
    rows, counts = rows_of(files_in(tmp_path, MESSY))
    assert list(rows) == LISTED
    assert rows["a.jpg"].text == "a caption"
    assert counts == expected()


def test_a_remote_folder_and_a_tar_give_the_same(tmp_path):
    files_in(tmp_path / "local", MESSY)
    fsspec.filesystem("memory").put(str(tmp_path / "local"), "/left-out", recursive=True)
    rows, counts = rows_of("memory://left-out")
    assert (list(rows), counts) == (LISTED, expected())
    rows, counts = rows_of(tar_of(tmp_path / "messy.tar", MESSY))
    assert sorted(rows) == [f"messy.tar/{name}" for name in LISTED]
    assert {heading: counts[heading] for heading in expected()} == expected()
    assert counts.keys() == expected().keys()


def test_what_to_install_is_said_beside_the_count(tmp_path):
    _, counts = rows_of(files_in(tmp_path, {"a.jpg": JPEG, "b.heic": HEIC, "c.cr2": TIFF}))
    assert in_words(counts) == {
        "left out, pictures that cannot be read here": ".cr2 1 (camera raw: export as JPEG, PNG or TIFF first),"
        " .heic 1 (pip install 'supir-stack[formats]')"
    }


def test_a_folder_of_pictures_that_cannot_be_read_says_so(tmp_path, here):
    files_in(tmp_path / "in", {"a.heic": HEIC, "b.heic": HEIC})
    with pytest.raises(
        Exception, match=r"holds no candidates.*: \.heic 2 \(pip install 'supir-stack\[formats\]'\)"
    ):
        here("run", tmp_path / "in", "-o", tmp_path / "out")


def test_links_are_followed_once_and_never_in_circles(tmp_path):
    source = files_in(tmp_path / "source", {"a/1.jpg": JPEG, "b/2.jpg": JPEG})
    files_in(tmp_path / "elsewhere", {"3.jpg": JPEG, "deep/4.jpg": JPEG})
    (source / "c").symlink_to(tmp_path / "elsewhere")
    (source / "again").symlink_to(tmp_path / "elsewhere" / "deep")
    (source / "self").symlink_to(source)
    (source / "a" / "up").symlink_to(tmp_path)
    (source / "twin").symlink_to(source / "b")
    (source / "one.jpg").symlink_to(source / "a" / "1.jpg")
    (source / "gone.jpg").symlink_to(source / "nowhere.jpg")
    (tmp_path / "elsewhere" / "back").symlink_to(source)
    rows, counts = rows_of(source)
    assert sorted(rows) == ["a/1.jpg", "again/4.jpg", "b/2.jpg", "c/3.jpg", "gone.jpg", "one.jpg"]
    assert counts == {"links": {"a/up": 1, "c/back": 1, "self": 1, "twin": 1}}


def test_what_cannot_be_looked_into_is_a_failed_row(tmp_path):
    source = files_in(tmp_path / "source", {"a.jpg": JPEG})
    (source / "gone").symlink_to(source / "nowhere")
    os.mkfifo(source / "pipe")
    rows, _ = rows_of(source)
    assert [(url, row.reason) for url, row in rows.items()] == [
        ("a.jpg", None),
        ("gone", Reason.UNREADABLE),
        ("pipe", Reason.UNREADABLE),
    ]
    assert "is not a regular file" in rows["pipe"].detail


def test_a_folder_that_cannot_be_listed_is_a_failed_row(tmp_path, monkeypatch):
    source = files_in(tmp_path / "source", {"a.jpg": JPEG, "shut/b.jpg": JPEG})
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    rows, _ = rows_of(source)
    assert (rows["shut"].reason, rows["shut"].detail[:16]) == (Reason.UNREADABLE, "PermissionError:")


def test_labels_are_few_however_many_there_are(tmp_path):
    many = {f"{number}.{number:03d}x": b"x" for number in range(60)}
    _, counts = rows_of(files_in(tmp_path, {"a.jpg": JPEG} | many))
    assert len(counts["not_pictures"]) == left_out_module.MAX_LABELS + 1
    assert counts["not_pictures"]["(others)"] == 60 - left_out_module.MAX_LABELS


@pytest.mark.parametrize("kind", ["tars", "lists"])
def test_what_lies_beside_tars_and_lists_is_counted_too(tmp_path, kind):
    name = "a.tar" if kind == "tars" else "a.csv"
    (tmp_path / "a.csv").write_text("url\nhttp://a.example/1.jpg\n")
    tar_of(tmp_path / "a.tar", {"1.jpg": JPEG})
    (tmp_path / ({"a.tar", "a.csv"} - {name}).pop()).unlink()
    files_in(tmp_path, {"b.heic": HEIC, "c.pdf": "x", ".DS_Store": "x"})
    rows, counts = rows_of(tmp_path)
    assert len(rows) == 1
    assert counts == {"formats": {".heic": 1}, "not_pictures": {".pdf": 1}, "hidden": {".DS_Store": 1}}


def test_run_prints_it_and_plan_report_and_json_keep_it(curate, settings, photos, tmp_path, capsys):
    source, sink = tmp_path / "in", io.BytesIO()
    Image.fromarray(photos["china"][:210, :240]).save(sink, "JPEG", quality=92)
    files_in(source, {"a.jfif": sink.getvalue(), "b.heic": HEIC, "c.mp4": b"x", "._a.jfif": b"x"})
    told = {"formats": {".heic": 1}, "not_pictures": {".mp4": 1}, "hidden": {"._*": 1}}
    assert curate("run", source, "-o", tmp_path / "out", "--dry-run").summary["left_out"] == told
    assert curate("run", source, "-o", tmp_path / "out", *settings).summary["left_out"] == told
    assert json.loads((tmp_path / "out" / "plan.json").read_text())["left_out"] == told
    assert ".heic 1 (pip install" in (tmp_path / "out" / "report" / "index.html").read_text()
    assert len(list(Dataset(tmp_path / "out").samples())) == 1
