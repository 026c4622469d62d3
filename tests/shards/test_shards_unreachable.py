"""A place that cannot be read is named with the reason; a dataset on a plain web server is read like any other."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import pytest
from s3fs import S3FileSystem

from supir_shards import Dataset, DatasetError, Store

Serve = Callable[..., str]


class WithoutRanges(SimpleHTTPRequestHandler):
    """A folder with listings, whole files only; below `private/` nothing."""

    def log_message(self, *_: object) -> None:
        pass

    def send_head(self):
        if self.path.startswith("/private"):
            self.send_error(403)
            return None
        return super().send_head()


class WithRanges(WithoutRanges):
    """The same, which answers a request for a part of a file with that part."""

    def send_head(self):
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not asked:
            return super().send_head()
        first, last = map(int, asked.groups())
        piece = Path(self.translate_path(self.path)).read_bytes()[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(piece)))
        self.end_headers()
        return BytesIO(piece)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves a folder on the loopback; returns its address."""
    servers = []

    def start(folder: Path, handler: type[WithoutRanges] = WithRanges) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A machine that knows no key for S3; clients are cached by what they were asked for, so none is kept."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    S3FileSystem.clear_instance_cache()
    yield
    S3FileSystem.clear_instance_cache()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.usefixtures("no_credentials")
def test_s3_without_credentials_names_the_place() -> None:
    told = r"s3://some-bucket/photos/index cannot be reached: Unable to locate credentials; check address"
    with pytest.raises(OSError, match=told):
        Dataset("s3://some-bucket/photos")


def test_a_server_that_is_not_there_is_no_empty_dataset() -> None:
    url = f"http://127.0.0.1:{free_port()}/photos"
    with pytest.raises(OSError, match=rf"{url}/dataset\.json cannot be reached: .*; check address, network"):
        Dataset(url)


def test_a_refusal_is_told_with_its_number(serve: Serve, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"/private/photos/index cannot be reached: 403.*; check address"):
        Dataset(f"{serve(tmp_path)}/private/photos")


def test_a_folder_of_a_server_that_has_no_dataset_is_told(serve: Serve, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"/photos holds no dataset: no index/part-\*\.parquet there"):
        Dataset(f"{serve(tmp_path)}/photos")


def test_a_server_that_lists_nothing_is_told_from_one_without_a_dataset(
    serve: Serve, dataset: Store, tmp_path: Path
) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "dataset.json").write_bytes(dataset.read("dataset.json"))
    with pytest.raises(DatasetError, match=r"has a dataset\.json, but lists no index/part"):
        Dataset(serve(tmp_path / "bare"))


def test_a_dataset_on_a_web_server_has_the_samples_and_sizes_of_its_folder(
    serve: Serve, dataset: Store, tmp_path: Path
) -> None:
    here, there = Dataset(dataset), Dataset(serve(tmp_path / "dataset"))
    sizes = {path: state.size for path, state in here.store.states().items()}
    assert {path: state.size for path, state in there.store.states().items()} == sizes
    assert len(sizes) > 6
    for part in here.parts():
        for row in here.index(part).to_pylist():
            assert there.read_image(part, row) == here.read_image(part, row)


def test_a_server_that_sends_whole_files_for_pieces_is_told(
    serve: Serve, dataset: Store, tmp_path: Path
) -> None:
    there = Dataset(serve(tmp_path / "dataset", WithoutRanges))
    row = there.index("part-000000").to_pylist()[0]
    told = (
        rf"part-000000\.tar: asked for {row['bytes']} bytes, the server sent \d+; use one that answers range"
    )
    with pytest.raises(DatasetError, match=told):
        there.read_image("part-000000", row)
