"""A file is whole or not there: on a local disk, in memory, and over the S3 protocol."""

from __future__ import annotations

import errno
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pyarrow as pa
import pytest
from moto.server import ThreadedMotoServer

from supir_shards import (
    Dataset,
    DatasetError,
    ProblemKind,
    Store,
    absolute_url,
    finish_dataset,
    part_name,
    shard_path,
    verify,
    write_captions,
    write_part,
)
from supir_shards.storage import table_bytes

PART = part_name(0)


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    """An S3 server on the loopback, reached as any other: by AWS_ENDPOINT_URL and credentials."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield environment["AWS_ENDPOINT_URL"]
    server.stop()


@pytest.fixture
def bucket(s3_endpoint: str, request: pytest.FixtureRequest) -> str:
    name = request.node.name.replace("_", "-")[:60].rstrip("-").lower()
    boto3.client("s3").create_bucket(Bucket=name)
    return name


def leave(path: Path) -> None:
    """What a killed write leaves."""
    path.parent.mkdir()
    path.write_bytes(b"half")


def fill(store: Store, make_sample, make_captions) -> dict[str, bytes]:
    samples = [make_sample(seed) for seed in range(3)]
    write_part(store, PART, samples)
    write_part(store, part_name(1), [])
    write_captions(store, "plain", PART, make_captions(samples))
    finish_dataset(store, command="supir-curate", config={}, config_hash="aa")
    return {path: store.read(path) for path in store.list()}


@pytest.mark.parametrize("scheme", ["s3", "memory"])
def test_a_remote_dataset_has_the_bytes_of_a_local_one(
    scheme: str, tmp_path: Path, s3_endpoint: str, make_sample, make_captions
) -> None:
    boto3.client("s3").create_bucket(Bucket="equal")
    remote = Store(f"{scheme}://equal/deep/dataset")
    assert fill(remote, make_sample, make_captions) == fill(Store(tmp_path), make_sample, make_captions)
    assert [record.key for record in Dataset(remote).samples()] == [
        make_sample(seed).key for seed in range(3)
    ]
    assert verify(remote) == []


def test_an_object_store_never_shows_half_a_part(bucket: str, make_sample) -> None:
    store = Store(f"s3://{bucket}/dataset")

    def samples():
        yield make_sample(0)
        assert store.list() == []
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError):
        write_part(store, PART, samples())
    assert boto3.client("s3").list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_store_sees_what_another_client_wrote_since(bucket: str) -> None:
    store = Store(f"s3://{bucket}/dataset")

    def put(path: str, data: bytes) -> None:
        boto3.client("s3").put_object(Bucket=bucket, Key=f"dataset/{path}", Body=data)

    store.write("index/b", b"1")
    assert store.list("index") == ["index/b"]
    put("index/a", b"123")
    assert store.list("index") == ["index/a", "index/b"]
    put("index/c", b"1")
    assert store.exists("index/c")
    assert store.list("index") == ["index/a", "index/b", "index/c"]
    put("index/a", b"12345")
    assert store.size("index/a") == 5
    assert store.read_range("index/a", 1, 3) == b"234"


def test_verify_finds_an_altered_object(bucket: str, make_sample, make_captions) -> None:
    store = Store(f"s3://{bucket}/dataset")
    tar = bytearray(fill(store, make_sample, make_captions)[shard_path(PART)])
    tar[600] ^= 1
    boto3.client("s3").put_object(Bucket=bucket, Key=f"dataset/{shard_path(PART)}", Body=bytes(tar))
    (problem,) = verify(store)
    assert (problem.kind, problem.path) == (ProblemKind.ALTERED, shard_path(PART))
    assert make_sample(0).key in problem.detail


def test_storage_options_reach_the_file_system(s3_endpoint: str) -> None:
    boto3.client("s3").create_bucket(Bucket="options")
    options = {"key": "other", "secret": "other", "client_kwargs": {"endpoint_url": s3_endpoint}}
    store = Store("s3://options/dataset", storage_options=options)
    store.write("index/a", b"1")
    assert Store("s3://options/dataset").read("index/a") == b"1"


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(store: Store) -> None:
    store.write("captions/a", b"old")

    def write_and_stop() -> None:
        with store.writing("captions/a") as file:
            file.write(b"new")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_and_stop()
    assert store.read("captions/a") == b"old"
    assert store.leftovers() == []


def test_the_next_write_of_a_path_removes_what_a_killed_one_left(store: Store, tmp_path: Path) -> None:
    store.write("shards/a.tar", b"1")
    leave(tmp_path / "dataset" / "shards" / ".a.tar.tmp" / "0a1b2c3d")
    leave(tmp_path / "dataset" / "shards" / ".b.tar.tmp" / "0a1b2c3d")
    assert store.list() == ["shards/a.tar"]
    store.write("shards/a.tar", b"2")
    assert store.leftovers() == ["shards/.b.tar.tmp/0a1b2c3d"]
    assert not (tmp_path / "dataset" / "shards" / ".a.tar.tmp").exists()


def test_a_write_lists_no_folder_but_its_own(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write_many({f"index/{number}": b"1" for number in range(50)})
    seen: list[str] = []
    for name in ("scandir", "listdir"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda path=".", real=real: seen.extend([str(path)]) or real(path))
    store.write("index/51", b"1")
    store.write_many({"index/52": b"1", "index/53": b"1"})
    assert {path.rpartition("/")[2] for path in seen} <= {".51.tmp", ".52.tmp", ".53.tmp"}


def test_of_two_writers_of_a_part_the_later_one_wins_and_the_other_is_told(store: Store, make_sample) -> None:
    def overtaken():
        yield make_sample(0)
        write_part(store, PART, [make_sample(1), make_sample(2)])
        yield make_sample(3)

    with pytest.raises(DatasetError, match=r"part-000000\.tar is being written by another process too"):
        write_part(store, PART, overtaken())
    assert [record.key for record in Dataset(store).samples()] == [make_sample(1).key, make_sample(2).key]


@pytest.mark.parametrize("scheme", ["local", "s3"])
def test_a_dataset_can_be_sent_to_another_process(
    scheme: str, tmp_path: Path, s3_endpoint: str, make_sample, make_captions
) -> None:
    boto3.client("s3").create_bucket(Bucket="sent")
    store = Store(tmp_path if scheme == "local" else "s3://sent/dataset")
    fill(store, make_sample, make_captions)
    code = "import pickle, sys; print([r.key for r in pickle.load(sys.stdin.buffer).samples()])"
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(Dataset(store)), capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == str([make_sample(seed).key for seed in range(3)])


def test_a_file_can_be_read_by_others_as_the_umask_allows(store: Store, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        store.write("index/a", b"1")
    finally:
        os.umask(before)
    assert (tmp_path / "dataset/index/a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "index/../../outside", "index\\..\\x"])
def test_a_path_cannot_leave_the_dataset(store: Store, path: str) -> None:
    with pytest.raises(DatasetError, match="leaves the dataset"):
        store.read(path)


def test_a_missing_file_is_named_with_its_dataset(store: Store) -> None:
    with pytest.raises(FileNotFoundError, match=r"dataset/index/part-000009\.parquet does not exist"):
        store.read("index/part-000009.parquet")


def test_an_unknown_scheme_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"cannot open nosuch://x: .*nosuch.*; give a local path or a URL"):
        Store("nosuch://x")


def test_a_file_that_is_no_parquet_is_named(store: Store) -> None:
    store.write("index/part-000000.parquet", b"not parquet")
    with pytest.raises(DatasetError, match=r"index/part-000000\.parquet is not a readable Parquet file"):
        store.read_table("index/part-000000.parquet")


def test_a_table_comes_back_and_equal_tables_have_equal_bytes(store: Store) -> None:
    table = pa.table({"key": ["a", "b"], "value": [1.5, None]})
    store.write_table("ledger/a.parquet", table)
    store.write_table("ledger/b.parquet", pa.table({"key": ["a", "b"], "value": [1.5, None]}))
    assert store.read_table("ledger/a.parquet").equals(table)
    assert store.read("ledger/a.parquet") == store.read("ledger/b.parquet")


def test_a_local_path_is_made_absolute_and_a_url_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_url("photos") == absolute_url(Path("photos")) == str(tmp_path / "photos")
    assert absolute_url("/data/photos") == "/data/photos"
    assert absolute_url("s3://bucket/photos") == "s3://bucket/photos"


def test_single_columns_are_read_and_those_that_are_not_there_left_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_table("a/t.parquet", pa.table({"x": [1, 2], "y": ["p", "q"], "z": [0.5, 1.5]}))
    assert store.columns("a/t.parquet") == ["x", "y", "z"]
    assert store.read_table("a/t.parquet", ["z", "w"]).to_pydict() == {"z": [0.5, 1.5]}
    store.write("a/cut.parquet", store.read("a/t.parquet")[:40])
    for read in (store.columns, lambda path: store.read_table(path, ["x"])):
        with pytest.raises(
            DatasetError, match=r"a/cut.parquet is not a readable Parquet file \(.*\); run verify"
        ):
            read("a/cut.parquet")


@pytest.mark.parametrize("place", ["local", "memory"])
def test_the_folders_right_below_are_named(tmp_path: Path, place: str) -> None:
    store = Store(tmp_path if place == "local" else "memory://folders")
    for path in ("scores/niqe/part-000000.parquet", "scores/aesthetic/deep/x", "scores/file", "other/x"):
        store.write(path, b"1")
    assert store.folders("scores") == ["aesthetic", "niqe"]
    assert store.folders("nowhere") == []


@pytest.mark.parametrize("place", ["local", "memory"])
def test_many_files_are_written_as_one_by_one(tmp_path: Path, place: str) -> None:
    store = Store(tmp_path / "dataset" if place == "local" else "memory://many")
    store.write("selection/b", b"old")
    files = {f"selection/{name}": name.encode() for name in "abc"} | {"deep/er/x": b"x"}
    store.write_many(files)
    assert {path: store.read(path) for path in store.list()} == files
    store.write_many({})


def test_many_files_are_synced_before_the_first_has_its_name(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("selection/a", b"old")
    leave(tmp_path / "dataset" / "selection" / ".a.tmp" / "0a1b2c3d")
    leave(tmp_path / "dataset" / "selection" / ".z.tmp" / "0a1b2c3d")
    synced, sync = [], os.fsync

    def failing(descriptor: int) -> None:
        synced.append(store.read("selection/a"))
        if len(synced) == 3:
            raise OSError("disk full")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="disk full"):
        store.write_many({f"selection/{name}": b"new" for name in "abcd"})
    assert set(synced) == {b"old"}
    assert store.list() == ["selection/a"]
    assert store.leftovers() == ["selection/.z.tmp/0a1b2c3d"]


def test_a_full_disk_is_told_with_the_name_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    told = re.escape(f"[Errno 28] No space left on device: '{tmp_path / 'a.bin'}'")
    with pytest.raises(OSError, match=told):
        Store(tmp_path).write("a.bin", b"x")
    with pytest.raises(OSError, match=told):
        Store(tmp_path).write_many({"a.bin": b"x"})
    assert list(tmp_path.iterdir()) == []


def test_columns_without_repeats_are_stored_plainly_and_come_back(store: Store) -> None:
    table = pa.table({"key": [f"{number:032x}" for number in range(3000)], "state": ["kept"] * 3000})
    store.write("a.parquet", table_bytes(table, ["state"]))
    assert store.read_table("a.parquet").equals(table)
    assert len(table_bytes(table, ["state"])) < len(table_bytes(table))
