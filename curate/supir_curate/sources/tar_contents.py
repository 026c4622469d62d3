"""What a tar holds, by names and places: pictures, sidecars, what is left out, and what the guard refuses.

Place in the flow: `tars` makes candidates of it. The law: a tar need not be sorted, so it is gone through once before
anything is decided; kept are names and places, not contents, but for sidecars up to `KEPT_BYTES` together, and the
others are read again from their places. What is kept is bounded whatever the tar says: `Limits` bounds its members,
`MAX_NAME_CHARACTERS` their names.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from supir_curate.sources.folder import escaped
from supir_curate.sources.left_out import Heading, Notes, format_label, suffix_of
from supir_curate.sources.pairing import is_metadata, is_sidecar
from supir_images.formats import is_readable, kind_of, kind_of_suffix
from supir_images.hidden import hidden_name
from supir_shards.quarantine import QuarantineReason, RejectedError
from supir_shards.tar_members import Limits, Member, iter_members
from supir_shards.tar_source import Readable

KEPT_BYTES = 16 * 2**20  # of sidecars that a tar's listing holds
MAX_NAME_CHARACTERS = 32 * 2**20  # of one tar's members together
LOST = (QuarantineReason.TRUNCATED, QuarantineReason.BAD_HEADER, QuarantineReason.TOO_MANY_MEMBERS)


class Place(NamedTuple):
    """Where a member's data lie in the tar, in bytes, and its data if they are kept."""

    offset: int
    size: int
    data: bytes | None = None


@dataclass(slots=True)
class Contents:
    """A tar's members by their names.

    Args:
        pictures: whose kind can be read.
        sidecars: all of them.
        faults: why a member is refused, or what was damaged beside it.
        notes: the members that are none of these.
        damage: what the tar lost, where that may have been anybody's: "" for nothing.
        tables: of metadata, which are read in folders only.
    """

    pictures: dict[str, Place] = field(default_factory=dict)
    sidecars: dict[str, Place] = field(default_factory=dict)
    faults: dict[str, RejectedError] = field(default_factory=dict)
    notes: Notes = field(default_factory=Counter)
    damage: str = ""
    tables: list[str] = field(default_factory=list)

    def gap(self) -> str:
        """Returns why nobody can tell that no member says a picture's licence, "" where everybody can."""
        if self.damage:
            return f"the tar is damaged ({self.damage}), it may have stood there"
        return (
            f"{escaped(self.tables[0])} may say it and is read in folders only; unpack the tar"
            if self.tables
            else ""
        )

    def refuse(self, name: str, fault: RejectedError) -> None:
        """Notes why a member is refused, the first reason only."""
        self.faults.setdefault(name, fault)
        if fault.reason in LOST:
            self.damage = self.damage or f"{fault.reason}: {fault}"


def kind_to_list(name: str, head: bytes) -> tuple[str, bool]:
    """Returns a file's kind by its bytes or else its name, "" for no picture, and whether it can be read.

    Args:
        name: of the file.
        head: its first bytes; b"" where only the name is known.

    A camera's raw file begins like a TIFF, of which only a small preview would be read: there the name counts.
    """
    by_name, by_bytes = kind_of_suffix(name), kind_of(head)
    if by_name and is_readable(by_name):
        return by_name, True
    if by_bytes and not (by_name == "raw" and by_bytes == "tiff"):
        return by_bytes, is_readable(by_bytes)
    return by_name or "", False


def contents_of(stream: Readable, limits: Limits | None = None) -> Contents:
    """Returns what a tar holds, gone through once.

    Args:
        stream: the tar, at its start.
        limits: what it may ask for.
    """
    contents, limits = Contents(), limits or Limits()
    kept = characters = 0
    last, damage = "(archive)", None
    for member in iter_members(stream, limits, reads=is_sidecar):
        if isinstance(member, RejectedError):
            damage = member  # it may have hit the member before it or the one after it
            contents.refuse(last, damage)
            continue
        name = member.name.removeprefix("./")
        characters += len(name)
        if characters > MAX_NAME_CHARACTERS:
            detail = f"names of more than {MAX_NAME_CHARACTERS} characters"
            contents.refuse("(archive)", RejectedError(QuarantineReason.TOO_MANY_MEMBERS, detail))
            break
        keeps = member.is_read and kept + member.size <= KEPT_BYTES
        kept += member.size * keeps
        if _take(contents, name, member, keeps):
            if damage is not None:
                contents.refuse(name, damage)
            last, damage = name, None
    return contents


def _take(contents: Contents, name: str, member: Member, keeps: bool) -> bool:
    """Puts a member where it belongs; returns whether that is anywhere but the notes."""
    hidden = hidden_name(name)
    if hidden:
        contents.notes[Heading.HIDDEN, escaped(hidden)] += 1
        return False
    if name in contents.pictures or name in contents.sidecars:
        contents.refuse(
            name, RejectedError(QuarantineReason.DUPLICATE, "the tar has two members of this name")
        )
        return True
    kind, can_read = kind_to_list(name, member.head)
    place = Place(member.offset, member.size, member.data if keeps else None)
    if is_sidecar(name) and not kind:
        contents.sidecars[name] = place
    elif can_read:
        contents.pictures[name] = place._replace(data=None)
    elif is_metadata(name):
        contents.tables.append(name)
        contents.notes[Heading.SIDECARS_UNUSED, name.rpartition("/")[2]] += 1
        return False
    elif member.fault is None or member.fault.reason is QuarantineReason.TOO_LARGE:
        label = format_label(name, kind) if kind else suffix_of(name)
        contents.notes[Heading.FORMATS if kind else Heading.NOT_PICTURES, escaped(label)] += 1
        return False
    if member.fault is not None:
        contents.refuse(name, member.fault)
    return True
