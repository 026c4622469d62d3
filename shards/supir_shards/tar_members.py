"""The members of a tar that nobody vouches for, one after the other.

Place in the flow: under ``tar_guard``, which groups members into samples.
The law: a name is never used as a path, so only one that could be meant as a path out of the folder is refused,
whatever letters it has (``printable`` before it is shown). At most ``Limits.max_member_bytes`` of the tar are read into
memory, and no header makes it more: tarfile, which reads extended headers of any size, is used only to decode one
512-byte block. A bad member is skipped by its declared length; after a block that is no header, the next block that is
one carries on.
Source: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Header Block"; GNU tar manual, "Basic Tar
Format".
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from supir_images import MAX_PIXELS
from supir_shards.quarantine import QuarantineReason, RejectedError
from supir_shards.tar_source import BLOCK, Readable, Source

HEAD_BYTES = 64
"""First bytes of a member that are told of it even where it is passed over."""

AFTER_END = "(after the end mark)"
"""The name under which data behind a tar's end mark are told."""

_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_EXTENDED = (*_PAX, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_DATALESS = (
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
)
_DRIVE = re.compile(r"[A-Za-z]:")
_PAX_RECORD = re.compile(rb"(\d{1,9}) ([^=\0]+)=")
_TEXT_SUFFIXES = (".txt", ".caption")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a tar may ask of us.

    ``max_member_bytes`` bounds one sample's files together, and so memory; ``max_text_bytes`` one .txt or .caption;
    ``max_header_bytes`` one extended header, and so a name.
    """

    max_member_bytes: int = 64 * 2**20
    max_json_bytes: int = 2**20
    max_text_bytes: int = 2**20
    max_json_depth: int = 64
    max_header_bytes: int = 64 * 2**10
    max_members: int = 200_000
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member of the tar: its place, its first ``HEAD_BYTES``, and its data if they were read; or its fault."""

    name: str
    head: bytes = b""
    data: bytes = b""
    is_read: bool = False
    offset: int = 0
    size: int = 0
    fault: RejectedError | None = None


def every(_name: str) -> bool:
    """True: all members are to be read."""
    return True


def iter_members(
    stream: Readable, limits: Limits, reads: Callable[[str], bool] = every
) -> Iterator[Member | RejectedError]:
    """The tar's regular files in order, directories passed over; a bare fault is one that no member owns.

    After a fault with the reason TRUNCATED or TOO_MANY_MEMBERS nothing more comes. Data behind the end mark are one
    member, ``AFTER_END``, with a fault.

    Args:
        stream: the tar, at its start.
        limits: what it may ask for.
        reads: whether a member of that name is read; of others only the place is told.
    """
    source = Source(stream)
    extension = _Extension()
    for _ in range(limits.max_members):
        try:
            header = source.header()
        except tarfile.HeaderError as error:
            yield _damaged(source, error)
            extension = _Extension()
            header = source.next_header()
        except RejectedError as fault:
            yield fault
            return
        if header is None:
            if extension.fault:
                yield extension.fault
            yield from _after_end(source)
            return
        try:
            if header.type in _EXTENDED:
                _extend(extension, source, header, limits)
                continue
            member = _read_member(source, header, extension, limits, reads)
        except RejectedError as fault:
            yield Member(name=extension.name or header.name, fault=fault)
            if fault.reason is QuarantineReason.TRUNCATED:
                return
        else:
            if member is not None:
                yield member
        extension = _Extension()
    yield RejectedError(QuarantineReason.TOO_MANY_MEMBERS, f"more than {limits.max_members} members")


def unsafe_name(name: str) -> str | None:
    """Why a member name is refused, or None for a plain relative path."""
    if not name:
        return "it has no name"
    if name.startswith("/") or _DRIVE.match(name):
        return "the name is an absolute path"
    if ".." in re.split(r"[/\\]", name):
        return "the name leaves the archive's folder"
    return None


@dataclass(slots=True)
class _Extension:
    """What extended headers said about the next member."""

    name: str = ""
    size: int | None = None
    fault: RejectedError | None = None


def _damaged(source: Source, error: tarfile.HeaderError) -> Member | RejectedError:
    """The fault of a block that is no header, under the name it still shows, if it shows one."""
    name = source.block[:100].partition(b"\0")[0].decode("utf-8", "surrogateescape")
    detail = f"no tar header at byte {source.position - BLOCK}: {error}"
    fault = RejectedError(QuarantineReason.BAD_HEADER, detail)
    return fault if unsafe_name(name) or not name.isprintable() else Member(name=name, fault=fault)


def _after_end(source: Source) -> Iterator[Member]:
    """What hides behind the end mark, as a member of its own: of tars that were joined all but the first one."""
    place = source.data_after_end()
    if place is not None:
        detail = f"data follow the end mark, from byte {place} on; if tars were joined, take them apart"
        yield Member(name=AFTER_END, fault=RejectedError(QuarantineReason.BAD_HEADER, detail))


def _read_member(
    source: Source,
    header: tarfile.TarInfo,
    extension: _Extension,
    limits: Limits,
    reads: Callable[[str], bool],
) -> Member | None:
    """A regular file, None for a directory; its data are passed over where it is refused or not wanted."""
    name = extension.name or header.name
    size = 0 if header.type in _DATALESS else header.size if extension.size is None else extension.size
    fault = _fault(name, size, header, extension, limits)
    if fault is None and header.type != tarfile.DIRTYPE:
        offset, is_read = source.position, reads(name)
        data = source.read(size if is_read else min(size, HEAD_BYTES))
        source.skip(size - len(data))
        source.skip(-size % BLOCK)
        head, data = data[:HEAD_BYTES], data if is_read else b""
        return Member(name=name, head=head, data=data, is_read=is_read, offset=offset, size=size)
    source.skip(size + -size % BLOCK)
    if fault is not None:
        raise fault
    return None


def _fault(
    name: str, size: int, header: tarfile.TarInfo, extension: _Extension, limits: Limits
) -> RejectedError | None:
    problem = unsafe_name(name)
    if problem:
        return RejectedError(QuarantineReason.BAD_NAME, problem)
    if extension.fault:
        return extension.fault
    if header.type == tarfile.GNUTYPE_SPARSE:
        return RejectedError(QuarantineReason.SPARSE, "a sparse file")
    if header.type not in (*tarfile.REGULAR_TYPES, tarfile.DIRTYPE):
        return RejectedError(QuarantineReason.NOT_A_FILE, f"tar type {header.type!a} is not a regular file")
    limit = _most_bytes(name.lower(), limits)
    if size > limit:
        return RejectedError(QuarantineReason.TOO_LARGE, f"{size} bytes, more than {limit}")
    return None


def _most_bytes(name: str, limits: Limits) -> int:
    if name.endswith(".json"):
        return limits.max_json_bytes
    return limits.max_text_bytes if name.endswith(_TEXT_SUFFIXES) else limits.max_member_bytes


def _extend(extension: _Extension, source: Source, header: tarfile.TarInfo, limits: Limits) -> None:
    """Take up an extended header; where it is bad, the member it stands before is."""
    if header.size > limits.max_header_bytes:
        source.skip(header.size + -header.size % BLOCK)
        detail = f"its extended header has {header.size} bytes, more than {limits.max_header_bytes}"
        extension.fault = RejectedError(QuarantineReason.TOO_LARGE, detail)
        return
    data = source.read(header.size)
    source.skip(-header.size % BLOCK)
    try:
        if header.type == tarfile.GNUTYPE_LONGNAME:
            extension.name = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
        elif header.type in _PAX:
            _take_pax(extension, _pax_records(data))
        elif header.type == tarfile.XGLTYPE and {b"path", b"size"} & _pax_records(data).keys():
            raise RejectedError(QuarantineReason.BAD_HEADER, "a global header sets every path or size")
    except RejectedError as fault:
        extension.fault = fault


def _take_pax(extension: _Extension, records: dict[bytes, bytes]) -> None:
    if b"path" in records:
        extension.name = records[b"path"].decode("utf-8", "surrogateescape")
    if b"size" in records:
        if not re.fullmatch(rb"\d{1,19}", records[b"size"]):
            raise RejectedError(QuarantineReason.BAD_HEADER, "its extended header's size is not a number")
        extension.size = int(records[b"size"])
    if any(name.startswith(b"GNU.sparse.") for name in records):
        raise RejectedError(QuarantineReason.SPARSE, "a sparse file")


def _pax_records(data: bytes) -> dict[bytes, bytes]:
    """The ``LENGTH NAME=VALUE`` records of a pax header."""
    records = {}
    position = 0
    while position < len(data) and data[position]:
        match = _PAX_RECORD.match(data, position)
        end = position + int(match[1]) if match else 0
        if not match or end <= match.end() or data[end - 1 : end] != b"\n":
            raise RejectedError(QuarantineReason.BAD_HEADER, "its extended header has a broken record")
        records[match[2]] = data[match.end() : end - 1]
        position = end
    return records
