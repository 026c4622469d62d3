"""A folder of WebDataset tars as a source: its samples listed without reading a picture, and read by range.

Place in the flow: `sources` lists here, `originals` reads. The law: the tar is nobody's friend: it goes through the
guard of `supir_shards`, a sample of which anything is refused is one candidate with its reason, and the next one still
comes. A sample's `.txt` is its text; its `.json` may say text, licence and URL, as img2dataset writes them.
Pictures are passed over by seeking; a tar on an object store is read in blocks of 4 MiB all the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from supir_curate.config import SourceConfig
from supir_curate.sources.candidate import Candidate, listed, unreadable
from supir_curate.sources.columns import (
    LICENCE_COLUMNS,
    TEXT_COLUMNS,
    URL_COLUMNS,
    first_text,
    number_of,
    text_of,
)
from supir_curate.sources.folder import Folder, escaped
from supir_curate.sources.look_ahead import in_order
from supir_curate.verdict import Reason
from supir_shards import Quarantined, TarSample, iter_tar

if TYPE_CHECKING:
    import pyarrow as pa

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif")
SIDECARS = ("json", "txt")
TARS_AT_ONCE = 8  # listed at the same time: a store answers several requests as fast as one


def list_tars(folder: Folder, paths: Sequence[str], config: SourceConfig) -> Iterator[pa.Table]:
    """Yields the pictures of tars in the tars' order, a listing a tar.

    Args:
        folder: the source folder.
        paths: of the tars, escaped.
        config: names of JSON keys, licence of what names none, score keys.
    """
    for rows in in_order(lambda path: list(_list_tar(folder, path, config)), paths, TARS_AT_ONCE):
        yield listed(rows, config)


def read_member(folder: Folder, candidate: Candidate) -> bytes:
    """Returns the bytes of a picture that `list_tars` listed.

    Raises:
        OSError: the tar is gone, or shorter than it was.
        DatasetError: it is remote, and its name is refused.
    """
    data = folder.read_range(candidate.file, candidate.offset, candidate.size)
    if len(data) != candidate.size:
        raise OSError(f"{candidate.file} ends {candidate.size - len(data)} bytes before the picture does")
    return data


def _list_tar(folder: Folder, path: str, config: SourceConfig) -> Iterator[Candidate]:
    try:
        with folder.open(path) as stream:
            for item in iter_tar(stream, reads=_is_sidecar):
                if isinstance(item, Quarantined):
                    detail = f"{item.reason}: {item.detail}"
                    yield Candidate(f"{path}/{item.name}", reason=Reason.UNREADABLE, detail=detail, file=path)
                else:
                    yield from _pictures(path, item, config)
    # Whatever is wrong with one tar, the others are listed.
    except Exception as error:
        yield unreadable(path, error)


def _is_sidecar(name: str) -> bool:
    return name.lower().endswith(tuple(f".{extension}" for extension in SIDECARS))


def _pictures(path: str, sample: TarSample, config: SourceConfig) -> Iterator[Candidate]:
    record: dict[str, Any] = json.loads(sample.files.get("json", b"{}"))
    text = first_text(record, config.text_column, TEXT_COLUMNS)
    url = first_text(record, config.url_column, URL_COLUMNS)
    for extension, span in sample.spans.items():
        if extension.rpartition(".")[2] in IMAGE_EXTENSIONS:
            yield Candidate(
                url=text_of(url) or f"{path}/{escaped(sample.key)}.{extension}",
                text=text_of(sample.files.get("txt", b"")).strip() or text_of(text),
                licence=text_of(first_text(record, config.licence_column, LICENCE_COLUMNS)) or config.licence,
                file=path,
                offset=span.offset,
                size=span.size,
                role=text_of(record.get(config.role_column)) if config.role_column else "",
                scores=tuple(number_of(record.get(name)) for name in config.score_columns),
            )
