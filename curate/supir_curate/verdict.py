"""What can be decided about one candidate, and why. Read this file first.

Place in the flow: `fetch` and `score` record why a candidate could not be measured; `select` decides about the
measured ones by `rules` and `dedup`; `report` counts.

The law: every candidate ends in exactly one of three states, `kept + dropped + failed == seen`, and every one that
is not kept has one reason from the closed list below, or the name of a rule that a config adds to the table. Free text
goes in `detail`. The reasons are written to disk and never change their meaning after the first release.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a candidate is not in the dataset."""

    # failed: it could not be fetched …
    BAD_URL = "bad_url"  # not an http or https URL, or one with credentials or an odd port
    PRIVATE_ADDRESS = "private_address"  # the host, or one it redirects to, is not on the public internet
    ROBOTS_DISALLOWED = "robots_disallowed"  # robots.txt says no
    OPTED_OUT = "opted_out"  # the answer's headers refuse use for AI
    CONNECTION_FAILED = "connection_failed"
    TIMED_OUT = "timed_out"
    HTTP_ERROR = "http_error"  # a status other than 200
    TOO_MANY_REDIRECTS = "too_many_redirects"
    TOO_MANY_BYTES = "too_many_bytes"
    UNREADABLE = "unreadable"  # a file of a source, or a stretch of it, that cannot be read
    AMBIGUOUS_SIDECAR = "ambiguous_sidecar"  # nobody can tell whose text or licence a file holds
    HASH_MISMATCH = "hash_mismatch"  # other bytes than the SHA-256 or MD5 that the source tells
    UNKNOWN_ROLE = "unknown_role"  # the source names a role that there is not
    CHANGED_SINCE_SCORED = "changed_since_scored"  # kept, but gone or other bytes when it was to be packed
    UNEXPECTED = "unexpected"  # our own code choked on it; the detail says how
    # … or decoded
    NOT_AN_IMAGE = "not_an_image"  # of no kind that is known, by its first bytes
    NO_READER = "no_reader"  # a picture, but what reads its kind is not installed
    TOO_MANY_PIXELS = "too_many_pixels"
    ANIMATED = "animated"
    UNDECODABLE = "undecodable"
    # dropped: measured, and a rule says no
    DAMAGED = "damaged"  # decodes, but part of it is the decoder's guess
    BELOW_MIN_SIDE = "below_min_side"
    EXTREME_ASPECT = "extreme_aspect"
    TRANSPARENT = "transparent"
    LOW_JPEG_QUALITY = "low_jpeg_quality"
    SCREENSHOT = "screenshot"
    FEW_COLOURS = "few_colours"
    GREY = "grey"
    BORDERED = "bordered"
    LOW_DETAIL = "low_detail"  # enlarged or blurred: fewer real pixels than stored ones
    BLURRED = "blurred"
    FLAT = "flat"
    NOISY = "noisy"
    BLOCKY = "blocky"
    OVERSHARPENED = "oversharpened"
    COLLAGE = "collage"  # several pictures edge to edge
    ENLARGED = "enlarged"  # by two: every other pixel is interpolated
    RESAMPLED = "resampled"  # enlarged by another factor
    RECOMPRESSED = "recompressed"  # an earlier, stronger compression than the file's own
    # dropped: another candidate shows the same
    EXACT_DUPLICATE = "exact_duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    EVALUATION_DUPLICATE = "evaluation_duplicate"  # … or a picture of a set that models are evaluated on
    # dropped: there are better ones of its role than the quota takes
    OVER_QUOTA = "over_quota"
    # dropped: taken down; nothing else is known of it any more
    REMOVED = "removed"


MAY_PASS = (Reason.CONNECTION_FAILED, Reason.TIMED_OUT)
PASSING_STATUSES = (408, 425, 429)  # besides 500 and above

_STATUS = re.compile(r"status (\d{3})$")


def may_pass(reason: str, detail: str) -> bool:
    """Returns whether a failure to fetch may be none on another day: no connection, no answer in time, a busy host."""
    status = int(found[1]) if (found := _STATUS.search(detail)) else 0
    is_busy = reason == Reason.HTTP_ERROR and (status >= 500 or status in PASSING_STATUSES)
    return reason in MAY_PASS or is_busy


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Counts over a part or a dataset; adds up.

    Args:
        seen: candidates looked at.
        failed: those that could not be fetched or decoded.
        dropped: measured ones that a rule or a twin excludes.
        kept: the rest.
    """

    seen: int = 0
    failed: int = 0
    dropped: int = 0
    kept: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            seen=self.seen + other.seen,
            failed=self.failed + other.failed,
            dropped=self.dropped + other.dropped,
            kept=self.kept + other.kept,
        )

    def checked(self) -> Tally:
        """Returns itself after the counting law held."""
        total = self.kept + self.dropped + self.failed
        assert total == self.seen, f"kept + dropped + failed is {total}, but {self.seen} candidates were seen"
        return self
