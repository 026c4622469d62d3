"""One picture's sidecars read: its text, licence, URL, role and scores, or why it has to be refused.

Place in the flow: `tars` and `folder_pictures` know where sidecars lie and hand in how to read them. The law: a picture
is refused with its reason where a sidecar of its own is damaged, or nobody can tell whose it is; `.txt` goes before
`.caption`, that before the JSON's text; a text that is no text is counted and the picture comes without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from supir_curate.config import SourceConfig
from supir_curate.sources.candidate import Candidate
from supir_curate.sources.left_out import Heading, Notes
from supir_curate.sources.pairing import JSON, TEXT_SUFFIXES, Sidecars
from supir_curate.sources.texts import decoded
from supir_curate.sources.told import Told, candidate_of, merged, record_of, told_by, with_licence
from supir_curate.verdict import Reason
from supir_shards.quarantine import RejectedError

Read = Callable[[str], bytes]
"""Returns a sidecar's content by its name.

Raises:
    RejectedError: a guard refuses it.
    OSError: it cannot be had.
"""


def described(
    url: str,
    sidecars: Sidecars,
    read: Read,
    config: SourceConfig,
    notes: Notes,
    *,
    more: Told | None = None,
    gap: str = "",
    **place: Any,
) -> Candidate:
    """Returns the candidate of a picture with what its sidecars say.

    Args:
        url: what it is called where no sidecar says a URL.
        sidecars: which are its own.
        read: reads one.
        config: names of keys, licence of what names none.
        notes: takes the texts that are none.
        more: what a table says of it beside them; they go before it.
        gap: why a file that may hold its licence is not there, "" where all files are.
        place: further fields of a candidate.
    """
    if sidecars.fault:
        return Candidate(url, **(place | {"reason": Reason.AMBIGUOUS_SIDECAR, "detail": sidecars.fault}))
    try:
        told = _told(sidecars.names, read, config, notes)
    except (RejectedError, OSError) as error:
        words = (
            f"{error.reason}: {error}"
            if isinstance(error, RejectedError)
            else f"{type(error).__name__}: {error}"
        )
        return Candidate(url, **(place | {"reason": Reason.UNREADABLE, "detail": f"its sidecar: {words}"}))
    if more is not None:
        if told.licence and more.licence and told.licence != more.licence:
            detail = f"its sidecar says {told.licence!r}, the folder's metadata {more.licence!r}"
            return Candidate(url, **(place | {"reason": Reason.AMBIGUOUS_SIDECAR, "detail": detail}))
        told = merged(told, more)
    if told.not_text:
        notes[Heading.NOT_TEXT, told.not_text] += 1
    candidate = candidate_of(told, url, **place)
    if config.licence and not candidate.licence and not gap:
        gap = _gap(sidecars.related, read, config)
    return with_licence(candidate, config.licence, gap)


def _told(names: dict[str, str], read: Read, config: SourceConfig, notes: Notes) -> Told:
    told = told_by(record_of(read(names[JSON])) if JSON in names else {}, config)
    for suffix in TEXT_SUFFIXES:
        text = decoded(read(names[suffix])) if suffix in names else ""
        if text is None:
            notes[Heading.NOT_TEXT, suffix] += 1
        elif text.strip():
            return told._replace(text=text.strip(), not_text="")
    return told


def _gap(related: tuple[str, ...], read: Read, config: SourceConfig) -> str:
    """Returns why a JSON file that is nobody's for sure may hold a licence, "" where none does."""
    for name in related:
        base = name.rpartition("/")[2]
        try:
            if told_by(record_of(read(name)), config).licence:
                return f"{base} says one and may be this picture's"
        except (RejectedError, OSError) as error:
            return f"{base} may be this picture's and cannot be read ({error})"
    return ""


def refused(candidate: Candidate, reason: Reason, detail: str) -> Candidate:
    """Returns a candidate refused; a reason that it has already stays."""
    return candidate if candidate.reason is not None else replace(candidate, reason=reason, detail=detail)
