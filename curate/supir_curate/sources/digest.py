"""A picture's hash as its list tells it, and the check of the bytes against it.

Place in the flow: listings read hashes here, `originals` and the fetcher check bytes. The law: a hash is stored as
lower case hex digits and its length tells SHA-256 from MD5; bytes of another hash are never used, for somebody changed
them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

SHA256_DIGITS, MD5_DIGITS = 64, 32
_HEX = re.compile(rf"[0-9a-f]{{{MD5_DIGITS}}}|[0-9a-f]{{{SHA256_DIGITS}}}")


def digest_of(text: str) -> str | None:
    """Returns a SHA-256 or MD5 as hex digits, "" where nothing is told, None where it is neither.

    Args:
        text: hex digits, or base64 as object stores and Open Images write it; a `sha256:` or `md5:` may stand before.

    Example:
        >>> digest_of("MD5:D41D8CD98F00B204E9800998ECF8427E"), digest_of("1B2M2Y8AsgTpgAmY7PhCfg==")
        ('d41d8cd98f00b204e9800998ecf8427e', 'd41d8cd98f00b204e9800998ecf8427e')
    """
    if not text:
        return ""
    plain = re.sub(r"^(sha-?256|md5)[:=]", "", text.strip(), flags=re.IGNORECASE)
    if not plain or _HEX.fullmatch(plain.lower()):
        return plain.lower()
    try:
        raw = base64.b64decode(plain, validate=True).hex()
    except (binascii.Error, ValueError):
        return None
    return raw if _HEX.fullmatch(raw) else None


def mismatch(data: bytes, digest: str) -> str:
    """Returns what is wrong with bytes whose hash was told, "" where they are the ones that were meant.

    Args:
        data: the bytes.
        digest: as `digest_of` gives it; "" for none.
    """
    if not digest:
        return ""
    name = "sha256" if len(digest) == SHA256_DIGITS else "md5"
    found = hashlib.new(name, data, usedforsecurity=False).hexdigest()
    return "" if found == digest else f"{name} is {found}, the source says {digest}"
