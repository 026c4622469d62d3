"""A sidecar is matched by the rule that matches its picture; what nobody can tell is refused, never guessed."""

from __future__ import annotations

import json

import pytest
from source_rows import files_in, rows_of, tar_of

from supir_curate.sources import tar_contents
from supir_curate.sources.pairing import pair
from supir_curate.verdict import Reason

JPEG = b"\xff\xd8\xff\xe0" + bytes(100)


def record(**values):
    return json.dumps(values)


def places(tmp_path, files):
    """The same files as a folder and as a tar, with what its names begin with."""
    return (
        (files_in(tmp_path / "folder", files), ""),
        (tar_of(tmp_path / "a.tar", files), "a.tar/"),
    )


@pytest.mark.parametrize(
    ("names", "own"),
    [
        ("a.b.jpg a.b.txt", {"a.b.jpg": "a.b.txt"}),
        ("a.b.jpg a.txt", {"a.b.jpg": "a.txt"}),  # WebDataset: key a
        ("a.b.jpg a.b.txt a.txt", {"a.b.jpg": "a.b.txt"}),
        ("a.jpg a.jpg.txt", {"a.jpg": "a.jpg.txt"}),  # Google Takeout
        ("a.left.jpg a.right.jpg a.txt", {"a.left.jpg": "a.txt", "a.right.jpg": "a.txt"}),
        ("a.jpg a.png a.txt", {"a.jpg": "a.txt", "a.png": "a.txt"}),
        ("a.jpg b.txt", {"a.jpg": None}),
        ("a.jpg a.b.txt", {"a.jpg": None}),
        ("a.jpg ab.txt", {"a.jpg": None}),
        ("d.x/a.jpg d.txt", {"d.x/a.jpg": None}),  # a folder's dots are no name's
        ("a.jpg A.TXT a.TXT", {"a.jpg": "a.TXT"}),
        ("IMG_1.5x zoom.jpg IMG_1.5x zoom.txt", {"IMG_1.5x zoom.jpg": "IMG_1.5x zoom.txt"}),
    ],
)
def test_the_longest_stem_wins(names, own):
    split = names.replace("5x zoom", "5x_zoom").split()
    every = [name.replace("5x_zoom", "5x zoom") for name in split]
    sidecars = [name for name in every if name.lower().endswith(".txt")]
    pairs = pair([name for name in every if name not in sidecars], sidecars)
    assert {picture: one.names.get(".txt") for picture, one in pairs.of.items()} == own
    assert not any(one.fault for one in pairs.of.values())
    assert sorted(pairs.unused) == sorted(set(sidecars) - set(own.values()))


@pytest.mark.parametrize(
    ("names", "refused", "words"),
    [
        ("a.jpg a.b.jpg a.json", "a.b.jpg", "a.json may be its own or that of a.jpg alone"),
        ("a.jpg a.b.jpg a.txt", "a.b.jpg", "a.txt may be its own or that of a.jpg alone"),
        ("a.jpg a.txt a.TXT", "a.jpg", "a.TXT and a.txt may both be its own"),
    ],
)
def test_what_may_be_two_pictures_is_refused(tmp_path, names, refused, words):
    files = {name: JPEG if name.endswith("jpg") else record(license="CC-BY-4.0") for name in names.split()}
    for place, start in places(tmp_path, files):
        rows, _ = rows_of(place, licence="CC0-1.0")
        assert (rows[start + refused].reason, rows[start + refused].detail) == (
            Reason.AMBIGUOUS_SIDECAR,
            words,
        )
        assert [row.reason for url, row in rows.items() if url != start + refused] in ([], [None])


def test_dots_and_spaces_lose_neither_text_nor_licence(tmp_path):
    stem = "IMG_1.5x zoom"
    files = {f"{stem}.jpg": JPEG, f"{stem}.txt": "a caption", f"{stem}.json": record(license="CC-BY-4.0")}
    for place, start in places(tmp_path, files):
        rows, _ = rows_of(place, licence="CC0-1.0")
        row = rows[f"{start}{stem}.jpg"]
        assert (row.text, row.licence, row.reason) == ("a caption", "CC-BY-4.0", None)


def test_a_tar_need_not_be_sorted_and_macos_members_are_named(tmp_path):
    files = {
        "a.json": record(license="CC-BY-NC-4.0"),
        "b.jpg": JPEG,
        "._a.jpg": b"\0\5\x16\7",
        "a.jpg": JPEG,
        "b.txt": "B",
        "._a.json": b"\0\5\x16\7",
        "a.txt": "A",
    }
    rows, counts = rows_of(tar_of(tmp_path / "u.tar", files))
    assert [(row.text, row.licence) for row in rows.values()] == [("B", ""), ("A", "CC-BY-NC-4.0")]
    assert counts == {"hidden": {"._*": 2}, "sidecars_used": {".json": 1, ".txt": 2}}


def test_contents_are_not_held_but_read_again(tmp_path, monkeypatch):
    files = {f"{number}.txt": f"text {number}" * 50 for number in range(20)}
    tar = tar_of(tmp_path / "u.tar", files | {f"{number}.jpg": JPEG for number in range(20)})
    held = rows_of(tar)
    monkeypatch.setattr(tar_contents, "KEPT_BYTES", 2000)
    assert rows_of(tar) == held
    monkeypatch.setattr(tar_contents, "MAX_NAME_CHARACTERS", 100)
    rows, _ = rows_of(tar, licence="CC0-1.0")
    assert "names of more than 100 characters" in rows["u.tar/(archive)"].detail


@pytest.mark.parametrize("name", ["a.meta.json", "0.json", "json/a.json", "A.json"])
def test_a_default_licence_fills_no_gap_that_a_json_beside_may_fill(tmp_path, name):
    picture = "0.1.2.jpg" if name == "0.json" else "a.jpg"
    own = {"0.1.json": record(caption="x")} if picture == "0.1.2.jpg" else {}
    for licence, reason in (({"license": "CC-BY"}, Reason.AMBIGUOUS_SIDECAR), ({"score": 1}, None)):
        files = {picture: JPEG, name: record(**licence)} | own
        for place, start in places(tmp_path / str(reason), files):
            rows, _ = rows_of(place, licence="CC0-1.0")
            assert rows[start + picture].reason is reason
            assert rows_of(place)[0][start + picture].reason is None


def test_a_table_of_metadata_in_a_tar_is_such_a_gap_too(tmp_path):
    tar = tar_of(
        tmp_path / "a.tar", {"a.jpg": JPEG, "metadata.jsonl": record(file_name="a.jpg", license="CC-BY")}
    )
    assert [row.reason for row in rows_of(tar, licence="CC0")[0].values()] == [Reason.AMBIGUOUS_SIDECAR]
    rows, counts = rows_of(tar)
    assert [row.licence for row in rows.values()] == [""]
    assert counts == {"sidecars_unused": {"metadata.jsonl": 1}}


def test_a_damaged_sidecar_refuses_its_picture_alone(tmp_path):
    files = {"a.jpg": JPEG, "a.json": '{"license": "CC-B', "b.jpg": JPEG, "b.json": record(license="CC0")}
    for place, start in places(tmp_path, files):
        rows, _ = rows_of(place, licence="CC-BY-4.0")
        assert (rows[f"{start}a.jpg"].reason, rows[f"{start}b.jpg"].licence) == (Reason.UNREADABLE, "CC0")
        assert rows[f"{start}a.jpg"].detail.startswith("its sidecar: bad_json: not JSON")
        assert rows[f"{start}a.jpg"].licence == ""


@pytest.mark.parametrize("compressed", ["", ":gz"])
def test_what_a_cut_tar_lost_may_have_been_a_licence(tmp_path, compressed):
    files = {
        "a.jpg": JPEG,
        "b.jpg": JPEG,
        "a.json": record(license="CC-BY"),
        "b.json": record(license="CC-BY"),
    }
    path = tar_of(tmp_path / ("u.tar" + compressed.replace(":", ".")), files, f"w{compressed}")
    path.write_bytes(path.read_bytes()[: -40 if compressed else 3 * 1024 + 100])
    rows, _ = rows_of(path, licence="CC0-1.0")
    told = {url.rpartition("/")[2]: (row.licence, row.reason) for url, row in rows.items()}
    assert told["b.jpg"] in (("", Reason.AMBIGUOUS_SIDECAR), ("", Reason.UNREADABLE))
    assert "CC0-1.0" not in {licence for licence, _ in told.values()}


def test_two_members_of_one_name_are_refused(tmp_path):
    path = tar_of(tmp_path / "u.tar", {"a.jpg": JPEG, "b.jpg": JPEG})
    import tarfile

    with tarfile.open(path, "a") as tar:
        member = tarfile.TarInfo("a.jpg")
        tar.addfile(member)
    rows, _ = rows_of(path)
    assert [row.reason for row in rows.values()] == [Reason.UNREADABLE, None]
    assert rows["u.tar/a.jpg"].detail == "duplicate: the tar has two members of this name"


def test_a_licence_that_is_no_text_is_not_lost_to_the_default(tmp_path):
    said = {"a": 3, "b": ["CC-BY", "GFDL"], "c": {"name": "CC-BY"}, "d": None, "e": ""}
    files = {f"{key}.jpg": JPEG for key in said} | {
        f"{key}.json": record(license=v) for key, v in said.items()
    }
    for place, start in places(tmp_path, files):
        rows, _ = rows_of(place, licence="CC0")
        licences = [rows[f"{start}{key}.jpg"].licence for key in said]
        assert licences == ["3", "CC-BY | GFDL", '{"name": "CC-BY"}', "CC0", "CC0"]


@pytest.mark.parametrize(
    "name", ["می\u200cخواهم", "👩\u200d🚀", "a\nb", "x" * 300, "tab\there", "rtl\u202egpj", "a\\b"], ids=ascii
)
def test_any_name_in_a_tar_is_listed_and_printed_safely(tmp_path, name):
    rows, _ = rows_of(tar_of(tmp_path / "n.tar", {f"{name}.jpg": JPEG, f"{name}.txt": "متن"}))
    ((url, row),) = rows.items()
    assert (row.text, row.reason) == ("متن", None)
    assert not set(url) & set("\n\t\u202e")
    assert name.isascii() or "\u200d" not in name or "\u200d" in url
