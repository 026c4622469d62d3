"""Samples out of a tar that nobody vouches for.

Place in the flow: how curate reads tar inputs (a WebDataset, img2dataset's output).
The law: every sample comes out whole or not at all: where one of its members is bad, that member is named
with its reason and the sample's other members go with it, since a picture without its licence, or a caption
without its picture, is not what the author wrote. The samples after it still come. In memory are one
sample's files, together at most ``Limits.max_member_bytes``, and the member being read.
Names follow WebDataset: the key is the path up to the first dot of the file name, the extension the rest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from supir_images import BadImage, Fault, image_size
from supir_images.formats import KINDS, kind_of_suffix
from supir_shards.quarantine import Quarantined, QuarantineReason, RejectedError, printable
from supir_shards.tar_members import Limits, Member, every, iter_members
from supir_shards.tar_source import Readable

__all__ = ["Limits", "Span", "TarSample", "iter_tar"]

_NAME = re.compile(r"(?:\./)?((?:.*/)?[^./][^./]*)\.([^/]+)")


class Span(NamedTuple):
    """Where a member's data lie in the tar, in bytes."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TarSample:
    """The files of one sample by lower-case extension, each checked: picture headers, JSON objects.

    ``spans`` has the place of every file; ``files`` the content of those that were read.
    """

    key: str
    files: dict[str, bytes]
    spans: dict[str, Span]


@dataclass(slots=True)
class _Group:
    key: str
    is_bad: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    spans: dict[str, Span] = field(default_factory=dict)

    def refuse(self, name: str, fault: RejectedError) -> Quarantined:
        self.is_bad = True
        self.files.clear()
        self.spans.clear()
        return Quarantined(name=printable(name), reason=fault.reason, detail=fault.detail)

    def add(self, extension: str, member: Member, limits: Limits) -> None:
        if extension in self.spans:
            raise RejectedError(QuarantineReason.DUPLICATE, f"the sample has two .{extension} members")
        total = member.size + sum(span.size for span in self.spans.values())
        if total > limits.max_member_bytes:
            detail = f"the sample's files have {total} bytes, more than {limits.max_member_bytes}"
            raise RejectedError(QuarantineReason.TOO_LARGE, detail)
        if member.is_read:
            _check_content(extension, member.data, limits)
            self.files[extension] = member.data
        self.spans[extension] = Span(member.offset, member.size)


def iter_tar(
    stream: Readable, limits: Limits | None = None, reads: Callable[[str], bool] = every
) -> Iterator[TarSample | Quarantined]:
    """Each sample of a tar, or the reason why one of its members was refused, in the tar's order.

    Args:
        stream: an uncompressed tar, at its start; it need not seek.
        limits: what the tar may ask for; the defaults suit photos.
        reads: whether a member of that name is read and its content checked; others are passed over, by seeking
            where the stream can.

    Limits: members behind the tar's end mark are not read, one row says that there are data; a member that declares
    more bytes than the tar has takes the rest of the tar with it, since nothing tells where the next one starts.
    """
    limits = limits or Limits()
    group = _Group("")
    seen: set[bytes] = set()
    damage: RejectedError | None = None
    for member in iter_members(stream, limits, reads):
        if isinstance(member, RejectedError):
            damage = member  # it may have hit the sample before it or the one after it
            yield group.refuse(group.key or "(archive)", member)
            continue
        match = _NAME.fullmatch(member.name)
        key = match[1] if match else member.name
        if key != group.key:
            yield from _finished(group)
            group = _Group(key)
            if _is_repeated(key, seen):
                damage = RejectedError(QuarantineReason.DUPLICATE, "its sample came before")
            if damage is not None:
                yield group.refuse(member.name, damage)
        damage = None
        if group.is_bad and member.fault is None:
            continue
        try:
            _accept(group, member, match, limits)
        except RejectedError as fault:
            yield group.refuse(member.name, fault)
    yield from _finished(group)


def _is_repeated(key: str, seen: set[bytes]) -> bool:
    """Whether the key was seen before; from now on it was."""
    digest = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    is_repeated = digest in seen
    seen.add(digest)
    return is_repeated


def _accept(group: _Group, member: Member, match: re.Match[str] | None, limits: Limits) -> None:
    if member.fault is not None:
        raise member.fault
    if match is None:
        raise RejectedError(QuarantineReason.BAD_NAME, "the name is not KEY.EXTENSION")
    group.add(match[2].lower(), member, limits)


def _finished(group: _Group) -> Iterator[TarSample]:
    if group.spans:
        yield TarSample(key=group.key, files=group.files, spans=group.spans)


def _check_content(extension: str, data: bytes, limits: Limits) -> None:
    kind = extension.rpartition(".")[2]
    if kind == "json":
        check_json(data, limits)
    elif _is_picture(kind):
        try:
            image_size(data, limits.max_pixels)
        except BadImage as error:
            is_large = error.reason is Fault.TOO_MANY_PIXELS
            reason = QuarantineReason.IMAGE_TOO_LARGE if is_large else QuarantineReason.BAD_IMAGE
            raise RejectedError(reason, error.detail) from error


def _is_picture(extension: str) -> bool:
    kind = kind_of_suffix(f".{extension}")
    return kind is not None and KINDS[kind].has_reader


def check_json(data: bytes, limits: Limits) -> None:
    """Nothing if the bytes are a JSON object that is safe to parse.

    Raises:
        RejectedError: larger or deeper than the limits, not JSON, or not an object.
    """
    if len(data) > limits.max_json_bytes:
        raise RejectedError(
            QuarantineReason.BAD_JSON, f"{len(data)} bytes of JSON, more than {limits.max_json_bytes}"
        )
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RejectedError(QuarantineReason.BAD_JSON, f"not JSON: {printable(str(error))}") from error
    if not isinstance(value, dict):
        raise RejectedError(QuarantineReason.BAD_JSON, f"a JSON {type(value).__name__}, not an object")
    depth, level = 1, [value]
    while level := [child for parent in level for child in _children(parent)]:
        depth += 1
        if depth > limits.max_json_depth:
            raise RejectedError(
                QuarantineReason.BAD_JSON, f"JSON nested more than {limits.max_json_depth} deep"
            )


def _children(value: Any) -> list[Any]:
    """The objects and lists directly inside a JSON object or list."""
    inside = value.values() if isinstance(value, dict) else value
    return [child for child in inside if isinstance(child, dict | list)]
