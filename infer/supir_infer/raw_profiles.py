"""Photoshop's resources, and the text chunks of PNG that carry a block of metadata in hex digits.

Place in the flow: `description` finds IPTC and XMP by this, `saving` writes IPTC by it.
The law it keeps: what is not as it says is a `ValueError`, which costs the block and not the picture.
Sources: Photoshop file formats specification (image resource blocks), ImageMagick's and ExifTool's `Raw profile type`.
"""

from __future__ import annotations

import struct

from PIL import Image

IPTC_RESOURCE = 0x0404
XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0"
"""What the segment APP1 of a JPEG begins with, of which a raw profile may be a copy."""
_PHOTOSHOP_SEGMENT, _RESOURCE = b"Photoshop 3.0\0", b"8BIM"
_DIGITS_A_LINE = 72


def photoshop_resource(iptc: bytes) -> bytes:
    """Returns the content of the JPEG segment APP13 that holds the datasets."""
    head = _RESOURCE + struct.pack(">HxxI", IPTC_RESOURCE, len(iptc))
    return _PHOTOSHOP_SEGMENT + head + iptc + bytes(len(iptc) % 2)


def is_resources(content: bytes) -> bool:
    """Returns whether a block is one of Photoshop's resources, which `resource_of` reads."""
    return content.startswith((_PHOTOSHOP_SEGMENT, _RESOURCE))


def resource_of(content: bytes, number: int) -> bytes:
    """Returns one of Photoshop's resources, b"" where there is none of that number.

    Args:
        content: of a segment APP13, or resources alone.
        number: which.

    Raises:
        ValueError: a resource is cut off.
    """
    at = len(_PHOTOSHOP_SEGMENT) if content.startswith(_PHOTOSHOP_SEGMENT) else 0
    while content.startswith(_RESOURCE, at):
        try:
            found, name_length = struct.unpack_from(">HB", content, at + 4)
            sized_at = at + 6 + (name_length + 2) // 2 * 2  # a name of 0 has one byte more
            (length,) = struct.unpack_from(">I", content, sized_at)
        except struct.error as error:
            raise ValueError(f"damaged (a resource is cut off at {len(content)} bytes)") from error
        begin = sized_at + 4
        if begin + length > len(content):
            raise ValueError(f"damaged (a resource of {length} bytes is cut off)")
        if found == number:
            return content[begin : begin + length]
        at = begin + (length + 1) // 2 * 2
    return b""


def raw_profile(iptc: bytes) -> str:
    """Returns the text of the PNG chunk `Raw profile type iptc`, as ImageMagick and ExifTool write and read it."""
    resource = photoshop_resource(iptc).removeprefix(_PHOTOSHOP_SEGMENT)
    digits = resource.hex()
    lines = [digits[at : at + _DIGITS_A_LINE] for at in range(0, len(digits), _DIGITS_A_LINE)]
    return f"\niptc\n{len(resource):8d}\n" + "\n".join(lines) + "\n"


def profile_of(image: Image.Image, names: tuple[str, ...]) -> bytes:
    """Returns the first raw profile of a picture that is there, b"" for none.

    Args:
        image: opened; only PNG has any.
        names: of the profiles, in order of preference.

    Raises:
        ValueError: its digits are none, or not as many as it says.
    """
    for name in names:
        text = image.info.get(f"Raw profile type {name}")
        if isinstance(text, str) and text.strip():
            return _decoded(text)
    return b""


def _decoded(text: str) -> bytes:
    _name, _, rest = text.strip().partition("\n")
    length, _, digits = rest.strip().partition("\n")
    try:
        content = bytes.fromhex("".join(digits.split()))
        is_whole = len(content) == int(length)
    except ValueError as error:
        raise ValueError("damaged (a raw profile that is no hex digits)") from error
    if not is_whole:
        raise ValueError(f"damaged (a raw profile of {int(length)} bytes that has {len(content)})")
    return content
