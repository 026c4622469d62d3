"""Why a sample or tar member was set aside: a closed list of reasons.

Place in the flow: the tar guard and the reader hand these out; the curator files them in its ledger.
The law: a bad member is named with its reason, and the run goes on; names and details are safe to print.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from supir_images.errors import printable as printable


class QuarantineReason(StrEnum):
    """What is wrong with a member or a sample."""

    BAD_NAME = "bad_name"
    NOT_A_FILE = "not_a_file"
    SPARSE = "sparse"
    TOO_LARGE = "too_large"
    TOO_MANY_MEMBERS = "too_many_members"
    BAD_HEADER = "bad_header"
    DUPLICATE = "duplicate"
    TRUNCATED = "truncated"
    BAD_JSON = "bad_json"
    BAD_IMAGE = "bad_image"
    IMAGE_TOO_LARGE = "image_too_large"
    MISSING = "missing"
    ALTERED = "altered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A member or sample that was set aside, and why."""

    name: str
    reason: QuarantineReason
    detail: str


class RejectedError(ValueError):
    """A member was found bad; the reader and the tar guard turn it into a ``Quarantined``."""

    def __init__(self, reason: QuarantineReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
