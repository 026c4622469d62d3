"""What a photo says about itself beside its EXIF: XMP and IPTC, carried into the result, and the result's own origin.

Place in the flow: `images` reads them with the pixels, `saving` writes them. The law it keeps, as `exif`: only what
stays true of the restored picture is carried. Left out of XMP: orientation, size and colour space of the old file,
thumbnails, the settings of a raw developer (which would be applied once more), and what points at parts of the old file
(motion photos, gain maps, extended XMP). What IPTC says stands in the XMP too, where that does not say it itself.
Sources: ISO 16684-1 (XMP), IPTC-IIM 4.2, and the IPTC Photo Metadata Standard's table of the properties that are one.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from PIL import Image, TiffImagePlugin

from supir_infer.exif import DAMAGED
from supir_infer.raw_profiles import IPTC_RESOURCE, XMP_SEGMENT, is_resources, profile_of, resource_of

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
META = "adobe:ns:meta/"
OURS = "urn:supir-stack:restoration:1"
ORIGIN = f"{{{OURS}}}origin"
_DC, _PHOTOSHOP = "http://purl.org/dc/elements/1.1/", "http://ns.adobe.com/photoshop/1.0/"
_CORE = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_PREFIXES = {
    "x": META,
    "rdf": RDF,
    "supir": OURS,
    "dc": _DC,
    "photoshop": _PHOTOSHOP,
    "Iptc4xmpCore": _CORE,
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
    "xmpRights": "http://ns.adobe.com/xap/1.0/rights/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "aux": "http://ns.adobe.com/exif/1.0/aux/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
}
_FOREIGN = (  # namespaces of what is of the old file alone
    "http://ns.adobe.com/camera-raw-settings/1.0/",
    "http://ns.adobe.com/hdr-gain-map/1.0/",
    "http://ns.adobe.com/xmp/note/",
    "http://ns.google.com/photos/1.0/",
    "http://ns.google.com/photos/dd/1.0/",
)
_UNTRUE = {
    *(
        f"{{{_PREFIXES['tiff']}}}{name}"
        for name in ("Orientation", "ImageWidth", "ImageLength", "BitsPerSample")
    ),
    *(
        f"{{{_PREFIXES['tiff']}}}{name}"
        for name in ("Compression", "PhotometricInterpretation", "SamplesPerPixel")
    ),
    *(f"{{{_PREFIXES['exif']}}}{name}" for name in ("PixelXDimension", "PixelYDimension", "ColorSpace")),
    f"{{{_PREFIXES['xmp']}}}Thumbnails",
    f"{{{_PHOTOSHOP}}}ColorMode",
    f"{{{_PHOTOSHOP}}}ICCProfile",
    ORIGIN,
}
_ALTERNATIVE, _SEQUENCE, _BAG, _TEXT = "Alt", "Seq", "Bag", ""
_OF_IPTC = {  # by dataset of record 2
    5: (_DC, "title", _ALTERNATIVE),
    25: (_DC, "subject", _BAG),
    40: (_PHOTOSHOP, "Instructions", _TEXT),
    55: (_PHOTOSHOP, "DateCreated", _TEXT),
    80: (_DC, "creator", _SEQUENCE),
    85: (_PHOTOSHOP, "AuthorsPosition", _TEXT),
    90: (_PHOTOSHOP, "City", _TEXT),
    92: (_CORE, "Location", _TEXT),
    95: (_PHOTOSHOP, "State", _TEXT),
    100: (_CORE, "CountryCode", _TEXT),
    101: (_PHOTOSHOP, "Country", _TEXT),
    103: (_PHOTOSHOP, "TransmissionReference", _TEXT),
    105: (_PHOTOSHOP, "Headline", _TEXT),
    110: (_PHOTOSHOP, "Credit", _TEXT),
    115: (_PHOTOSHOP, "Source", _TEXT),
    116: (_DC, "rights", _ALTERNATIVE),
    120: (_DC, "description", _ALTERNATIVE),
    122: (_PHOTOSHOP, "CaptionWriter", _TEXT),
}
_DATE_CREATED = 55
_UTF8_MARK = b"\x1b%G"  # of dataset 1:90
IPTC_TAG, _RESOURCES_TAG = 33723, 34377
MAX_IPTC_BYTES = 2**15 - 1  # a dataset's, and far more than a description has

for _prefix, _uri in _PREFIXES.items():
    ElementTree.register_namespace(_prefix, _uri)


def iptc_of(image: Image.Image) -> bytes:
    """Returns the IPTC datasets of a picture as they are stored, b"" for none.

    They lie in Photoshop's resources (JPEG, TIFF), in a raw profile of a PNG, or under a tag of their own (TIFF, EXIF).

    Raises:
        ValueError: they are damaged or too large to be carried.
    """
    found = _photoshop_iptc(image) or profile_of(image, ("iptc", "8bim", "APP13"))
    found = resource_of(found, IPTC_RESOURCE) if is_resources(found) else found
    found = found or _tagged(image, IPTC_TAG)
    if not found.startswith(b"\x1c"):
        return b""
    if len(found) > MAX_IPTC_BYTES:
        raise ValueError(f"{len(found)} bytes, more than {MAX_IPTC_BYTES}")
    return found


def _photoshop_iptc(image: Image.Image) -> bytes:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return _tagged(image, _RESOURCES_TAG)
    blocks: Any = image.info.get("photoshop")
    found = blocks.get(IPTC_RESOURCE) if isinstance(blocks, dict) else None
    return found if isinstance(found, bytes) else b""


def _tagged(image: Image.Image, tag: int) -> bytes:
    """The bytes of a tag of a TIFF, or of an EXIF block; b"" where it holds none."""
    try:
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            found, order = image.tag_v2.get(tag), image.tag_v2._endian
        else:
            exif = image.getexif()
            found, order = exif.get(tag), exif.endian or "<"
    except DAMAGED:  # which `kept_exif` tells
        return b""
    if isinstance(found, tuple) and all(isinstance(number, int) for number in found):
        # some programs declare the bytes as 32-bit numbers
        found = b"".join(struct.pack(order + "L", number & 0xFFFFFFFF) for number in found)
    if isinstance(found, tuple) and all(isinstance(part, bytes) for part in found):
        found = b"".join(found)
    return found if isinstance(found, bytes) else b""


def xmp_of(image: Image.Image) -> bytes:
    """Returns the XMP packet of a picture without what is untrue of the result, b"" for none.

    Raises:
        ValueError: it is no XMP, or declares entities.
    """
    packet: Any = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    packet = packet or profile_of(image, ("xmp",)) or _xmp_segment(profile_of(image, ("APP1",)))
    if isinstance(packet, str):
        packet = packet.encode()
    if not isinstance(packet, bytes) or not packet.strip(b"\0 \n\r\t"):
        return b""
    rdf = _parsed(packet)
    for description in rdf:
        for name in [name for name in description.attrib if _is_untrue(name)]:
            del description.attrib[name]
        for child in [child for child in description if _is_untrue(child.tag)]:
            description.remove(child)
    for description in [found for found in rdf if not len(found) and _says_nothing(found)]:
        rdf.remove(description)
    return _packet(rdf) if len(rdf) else b""


def _xmp_segment(segment: bytes) -> bytes:
    """The packet in the content of a segment APP1; EXIF may lie there instead."""
    return segment.removeprefix(XMP_SEGMENT) if segment.startswith(XMP_SEGMENT) else b""


def packet_with(xmp: bytes, iptc: bytes, origin: dict[str, Any] | None) -> bytes:
    """Returns the XMP packet of a result: what was carried, what IPTC adds to it, and the result's origin.

    Args:
        xmp: from `xmp_of`.
        iptc: from `iptc_of`.
        origin: becomes JSON that `origin_in` gives back; None writes none.
    """
    rdf = _parsed(xmp) if xmp else Element(f"{{{RDF}}}RDF")
    said = {
        name for description in rdf for name in (*description.attrib, *(child.tag for child in description))
    }
    added = Element(f"{{{RDF}}}Description", {f"{{{RDF}}}about": _about(rdf)})
    by_property: dict[tuple[str, str, str], list[str]] = {}
    for dataset, text in _texts(iptc):
        if dataset in _OF_IPTC:
            by_property.setdefault(_OF_IPTC[dataset], []).append(
                _date(text) if dataset == _DATE_CREATED else text
            )
    for (namespace, name, form), texts in by_property.items():
        if f"{{{namespace}}}{name}" not in said:
            _add(added, f"{{{namespace}}}{name}", form, texts)
    if origin is not None:
        SubElement(added, ORIGIN).text = json.dumps(
            origin, sort_keys=True
        )  # ASCII: XML has no room for some letters
    if len(added):
        rdf.append(added)
    return _packet(rdf) if len(rdf) else b""


def origin_in(packet: bytes | str) -> dict[str, Any] | None:
    """Returns the origin that `packet_with` wrote, None where there is none."""
    try:
        rdf = _parsed(packet.encode() if isinstance(packet, str) else packet)
        text = next((found.text for found in rdf.iter(ORIGIN)), None)
        origin = json.loads(text) if text else None
    except ValueError:
        return None
    return origin if isinstance(origin, dict) else None


def _parsed(packet: bytes) -> Element:
    text = packet.strip(b"\0 \n\r\t")
    if b"\0" in text or re.search(rb"<!(DOCTYPE|ENTITY)", text):
        raise ValueError("it is not UTF-8, or declares entities")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - nothing that could grow is left
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ValueError(f"damaged ({error})") from error
    rdf = root if root.tag == f"{{{RDF}}}RDF" else root.find(f"{{{RDF}}}RDF")
    if rdf is None:
        raise ValueError("damaged (no rdf:RDF)")
    return rdf


def _packet(rdf: Element) -> bytes:
    root = Element(f"{{{META}}}xmpmeta")
    root.append(rdf)
    mark = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    return f'{mark}\n{ElementTree.tostring(root, encoding="unicode")}\n<?xpacket end="r"?>'.encode()


def _is_untrue(name: str) -> bool:
    namespace = name.partition("}")[0].removeprefix("{")
    return (
        name in _UNTRUE or namespace in _FOREIGN or namespace.startswith("http://ns.google.com/photos/1.0/")
    )


def _says_nothing(description: Element) -> bool:
    return set(description.attrib) <= {f"{{{RDF}}}about"}


def _about(rdf: Element) -> str:
    """What the packet is about: all its descriptions name the same, usually nothing."""
    return next((found.get(f"{{{RDF}}}about", "") for found in rdf), "")


def _add(description: Element, name: str, form: str, texts: list[str]) -> None:
    added = SubElement(description, name)
    if form == _TEXT:
        added.text = texts[0]
        return
    container = SubElement(added, f"{{{RDF}}}{form}")
    for text in texts[:1] if form == _ALTERNATIVE else texts:
        item = SubElement(container, f"{{{RDF}}}li", {_LANGUAGE: "x-default"} if form == _ALTERNATIVE else {})
        item.text = text


def _texts(iptc: bytes) -> Iterator[tuple[int, str]]:
    """Yields number and text of the datasets of record 2."""
    is_utf8, at = False, 0
    while at + 5 <= len(iptc) and iptc[at] == 0x1C:
        record, dataset, length = struct.unpack_from(">BBH", iptc, at + 1)
        value = iptc[at + 5 : at + 5 + length]
        at += 5 + length
        if (record, dataset) == (1, 90):
            is_utf8 = value == _UTF8_MARK
        elif record == 2:
            yield dataset, _text(value, is_utf8=is_utf8)


def _text(value: bytes, *, is_utf8: bool) -> str:
    """Text as it can stand in XML: UTF-8 where it says so or is so, else Latin-1, as old programs wrote it."""
    try:
        text = value.decode("utf-8", "replace" if is_utf8 else "strict")
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    return "".join(letter for letter in text if letter in "\t\n" or " " <= letter < "\ufffe")


def _date(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if re.fullmatch(r"\d{8}", text) else text
