"""Files of a dataset on a local disk or any fsspec target, where a file is either whole or not there.

Place in the flow: the only module that touches storage; everything else passes relative paths.
The law: a write becomes visible in one step. Locally: as `local_files` says. Remotely: one upload (object stores show
an object only when it is complete).
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from supir_shards.local_files import is_temporary, replace_all, replacing
from supir_shards.record import DatasetError

if TYPE_CHECKING:
    import pyarrow as pa
    from fsspec.spec import AbstractFileSystem

READ_BLOCK = (
    4 * 2**20
)  # bytes asked for at once from an object store: large enough to stream, small enough to hold
ROW_GROUP_ROWS = 64 * 1024
UPLOADS_AT_ONCE = 8

Paths = list[str]


class FileState(NamedTuple):
    """A file's size in bytes, and when it came to stand there (seconds since 1970; None where nobody knows)."""

    size: int
    changed: float | None


class Store:
    """A folder of files, local or remote. Paths are relative to it and separated by ``/``.

    Args:
        url: a local path, or an fsspec URL such as ``s3://bucket/name``. storage_options: passed to fsspec;
        the usual environment (AWS_ENDPOINT_URL, FSSPEC_…) works without it.

    Raises:
        DatasetError: no fsspec package serves that URL.
    """

    def __init__(self, url: str | Path, storage_options: Mapping[str, Any] | None = None) -> None:
        self.url = str(url).rstrip("/")
        self._fs, self._root = _filesystem(self.url, dict(storage_options or {}))
        self._is_local = "file" in self._fs.protocol

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def read(self, path: str) -> bytes:
        """The whole file."""
        with self._naming(path):
            return cast(bytes, self._fs.cat_file(self._full(path)))

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset``; fewer only where the file ends.

        Raises:
            DatasetError: the server sends more than was asked for.
        """
        with self._naming(path):
            data = cast(bytes, self._fs.cat_file(self._full(path), start=offset, end=offset + size))
        if len(data) > size:
            raise DatasetError(
                f"{self.url}/{path}: asked for {size} bytes, the server sent {len(data)}; use one that answers "
                "range requests, or a local copy"
            )
        return data

    def open(self, path: str) -> BinaryIO:
        """A readable, seekable binary stream."""
        with self._naming(path):
            return cast(BinaryIO, self._fs.open(self._full(path), "rb", block_size=READ_BLOCK))

    def exists(self, path: str) -> bool:
        """Whether the file is there, complete."""
        self._fs.invalidate_cache()  # another process may have written since
        with self._naming(path):
            return bool(self._fs.exists(self._full(path)))

    def size(self, path: str) -> int:
        """The file's size in bytes."""
        self._fs.invalidate_cache()
        with self._naming(path):
            return int(self._fs.size(self._full(path)))

    def list(self, prefix: str = "", suffix: str = "") -> Paths:
        """All files below the folder ``prefix`` whose names end with ``suffix``, sorted; no temporaries."""
        return [path for path in self._find(prefix) if path.endswith(suffix) and not is_temporary(path)]

    def leftovers(self) -> Paths:
        """Temporary files of killed writes, sorted."""
        return [path for path in self._find("") if is_temporary(path)]

    def states(self, prefix: str = "") -> dict[str, FileState]:
        """The size and the last change of each file that ``list`` names, from one listing."""
        self._fs.invalidate_cache()
        skip = len(self._root) + 1
        with self._naming(prefix):
            found = self._fs.find(self._full(prefix.rstrip("/")), detail=True)
            kept = {full: entry for full, entry in found.items() if not is_temporary(full[skip:])}
            # a web server's listing names files without their sizes
            unsized = [full for full, entry in kept.items() if entry["size"] is None]
            sizes = dict(zip(unsized, self._fs.sizes(unsized), strict=True))
        return {
            full[skip:]: FileState(int(sizes.get(full, entry["size"])), _changed(entry))
            for full, entry in sorted(kept.items())
        }

    def delete(self, path: str) -> None:
        """Remove a file; nothing happens if it is not there."""
        if self.exists(path):
            with self._naming(path):
                self._fs.rm_file(self._full(path))

    def write(self, path: str, data: bytes) -> None:
        """Write a file in one visible step, replacing what was there."""
        if self._is_local:
            with self.writing(path) as file:
                file.write(data)
        else:
            with self._naming(path):
                self._fs.pipe_file(self._full(path), data)

    def write_many(self, files: Mapping[str, bytes]) -> None:
        """Write files, each in one visible step, that share the waits for the disk; a kill leaves some of them."""
        if self._is_local:
            replace_all({Path(self._full(path)): data for path, data in files.items()})
            return
        with ThreadPoolExecutor(UPLOADS_AT_ONCE) as threads:
            list(threads.map(self.write, files, files.values()))

    @contextmanager
    def writing(self, path: str) -> Iterator[BinaryIO]:
        """A binary file to fill; it appears as ``path`` when the block ends, not at all if that raises."""
        if self._is_local:
            with replacing(Path(self._full(path))) as local:
                yield local
            return
        with tempfile.NamedTemporaryFile(prefix="supir-") as spool:
            yield cast(BinaryIO, spool)
            spool.flush()
            with self._naming(path):
                self._fs.put_file(spool.name, self._full(path))

    def folders(self, prefix: str) -> Paths:
        """The names of the folders right below the folder ``prefix``, sorted; none if it is not there."""
        if not self.exists(prefix):
            return []
        with self._naming(prefix):
            found = self._fs.ls(self._full(prefix), detail=True)
        return sorted(entry["name"].rpartition("/")[2] for entry in found if entry["type"] == "directory")

    def read_table(self, path: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A Parquet file as an Arrow table.

        Args:
            path: of the file.
            columns: those that are wanted, None for all; one that is not there is left out. Only their bytes are
                read.

        Raises:
            DatasetError: the file is not readable as Parquet.
        """
        if columns is None:
            return table_from(self.read(path), f"{self.url}/{path}")
        with self.open(path) as stream:
            return table_from(stream, f"{self.url}/{path}", columns)

    def columns(self, path: str) -> Paths:
        """The names of a Parquet file's columns; only its end is read.

        Raises:
            DatasetError: the file is not readable as Parquet.
        """
        import pyarrow.parquet as pq

        with self.open(path) as stream, _readable(f"{self.url}/{path}"):
            return list(pq.read_schema(stream).names)

    def write_table(self, path: str, table: pa.Table) -> None:
        """Write an Arrow table as Parquet (zstd); equal tables give equal bytes."""
        self.write(path, table_bytes(table))

    def _full(self, path: str) -> str:
        if path.startswith("/") or ".." in path.split("/") or "\\" in path:
            raise DatasetError(
                f"path {path!r} leaves the dataset {self.url}; paths in a dataset are relative"
            )
        return f"{self._root}/{path}" if path else self._root

    def _find(self, prefix: str) -> Paths:
        self._fs.invalidate_cache()
        skip = len(self._root) + 1
        with self._naming(prefix):
            return sorted(found[skip:] for found in self._fs.find(self._full(prefix.rstrip("/"))))

    @contextmanager
    def _naming(self, path: str) -> Iterator[None]:
        """Lets what goes wrong with a file name it; local errors other than its absence do so already."""
        place = f"{self.url}/{path}" if path else self.url
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{place} does not exist") from error
        except Exception as error:
            # each remote client has errors of its own (no credentials, no name server, 403), not all of them OSError
            if self._is_local or isinstance(error, DatasetError):
                raise
            raise OSError(
                f"{place} cannot be reached: {error}; check address, network and credentials"
            ) from error


def _changed(entry: Mapping[str, Any]) -> float | None:
    """When a listed file came to stand there, in seconds since 1970; None where the store does not say."""
    # Locally "created" is the inode's change time: a rename counts, which the time of the content ignores.
    for name in ("LastModified", "created", "updated", "last_modified"):
        value = entry.get(name)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return None


def absolute_url(url: str | Path) -> str:
    """A local path made absolute, for workers that run in another folder; a URL as it is."""
    return str(url) if "://" in str(url) else str(Path(url).absolute())


def table_bytes(table: pa.Table, repeating: Sequence[str] | None = None) -> bytes:
    """A Parquet file (zstd) of an Arrow table; equal tables give equal bytes.

    Args:
        table: the table.
        repeating: columns whose values repeat, which are stored once; None to try it with every column.
    """
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        version="2.6",
        row_group_size=ROW_GROUP_ROWS,
        use_dictionary=True if repeating is None else list(repeating),
    )
    return sink.getvalue()


def table_from(source: bytes | BinaryIO, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """An Arrow table from Parquet bytes or a seekable stream of them; ``columns`` as for ``Store.read_table``.

    Raises:
        DatasetError: they are not readable as Parquet; ``name`` says which file it was.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _readable(name):
        stream = pa.BufferReader(source) if isinstance(source, bytes) else source
        return pq.ParquetFile(stream).read(columns=columns, use_threads=False)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turns pyarrow's word on a file that is no Parquet into ours."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise DatasetError(f"{name} is not a readable Parquet file ({reason}); run verify") from error


def _filesystem(url: str, options: dict[str, Any]) -> tuple[AbstractFileSystem, str]:
    from fsspec.core import url_to_fs

    try:
        fs, root = url_to_fs(absolute_url(url), **options)
    except (ValueError, ImportError) as error:
        raise DatasetError(
            f"cannot open {url}: {error}; give a local path or a URL such as s3://…"
        ) from error
    return fs, str(root).rstrip("/")
