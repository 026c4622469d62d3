"""Where a command may write is asked of the file system before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from supir_console import UserError, require_outside, require_writable_file, require_writable_folder


def test_asking_for_a_folder_leaves_nothing_behind(tmp_path: Path) -> None:
    require_writable_folder(tmp_path / "a" / "b", "-o")
    require_writable_folder(tmp_path, "-o")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_behind_one_that_is_still_to_be_made_stays(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    require_writable_folder(tmp_path / "new" / ".." / "empty", "-o")
    assert list(tmp_path.iterdir()) == [tmp_path / "empty"]


def test_what_cannot_be_written_is_said_with_the_option(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"-o .*file cannot be written to: it is no folder; give a folder"):
        require_writable_folder(tmp_path / "file", "-o")
    with pytest.raises(UserError, match=r"-o .*file/x cannot be written to: it is no folder"):
        require_writable_folder(tmp_path / "file" / "x", "-o")
    with pytest.raises(UserError, match=r"--per-image .* is a folder; give the name of a file"):
        require_writable_file(tmp_path, "--per-image")
    with pytest.raises(
        UserError, match=r"--per-image /proc/none/a\.csv: its folder /proc/none cannot be written to"
    ):
        require_writable_file(Path("/proc/none/a.csv"), "--per-image")
    require_writable_file(tmp_path / "new" / "a.csv", "--per-image")
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "file").read_text() == "x"


def test_an_output_is_neither_its_input_nor_inside_it(tmp_path: Path) -> None:
    (tmp_path / "ds").mkdir()
    (tmp_path / "x.png").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "ds")
    (tmp_path / "hard.png").hardlink_to(tmp_path / "x.png")
    ds, photo = str(tmp_path / "ds"), str(tmp_path / "x.png")
    same = [
        (photo, photo),
        (str(tmp_path / "hard.png"), photo),
        (f"{ds}/", ds),
        (f"{tmp_path}/link", f"file://{ds}"),
    ]
    for output, source in [*same, ("s3://b/ds/", "s3://b/ds")]:
        with pytest.raises(UserError, match=r"-o .* is the input itself, which is never overwritten"):
            require_outside(output, source, "-o")
    for output, source in [(f"{tmp_path}/link/val", ds), ("s3://b/ds/val", "s3://b/ds")]:
        with pytest.raises(UserError, match=r"-o .* lies inside the input"):
            require_outside(output, source, "-o")
    for output, source in [
        (f"{ds}2", ds),
        ("s3://b/ds2", "s3://b/ds"),
        (str(tmp_path), ds),
        (ds, "s3://b/ds"),
    ]:
        require_outside(output, source, "-o")
