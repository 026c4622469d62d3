"""The kinds of picture files: how each is told from its first bytes and from its name, and what reads it.

Place in the flow: listings ask by name what to take and what to count, everything that opens a picture asks by bytes.
The law: the bytes decide what a picture is, its name only whether a listing takes it; a kind that is known is either
readable now, or `how_to_read` says what to do about it. The names of the kinds are stored in ledgers and indexes.
Sources: ITU-T T.81, W3C PNG third edition §5.2, RFC 9649, GIF89a, TIFF 6.0 §2, ISO/IEC 14496-12 §4.3 (`ftyp`),
ISO/IEC 18181-2 §9 (JPEG XL), ISO/IEC 15444-1 annexes A and I (JPEG 2000).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

HEAD_BYTES = 64
"""As many first bytes of a file `kind_of` looks at; fewer are enough for a file that has no more."""

INSTALL_FORMATS = "pip install 'supir-stack[formats]'"
EXPORT_FIRST = "export as JPEG, PNG or TIFF first"

_JXL_BOX = b"\0\0\0\x0cJXL \r\n\x87\n"
_JP2_BOX = b"\0\0\0\x0cjP  \r\n\x87\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BMP_HEADERS = (
    12,
    40,
    52,
    56,
    64,
    108,
    124,
)  # sizes that a bitmap's second header has, which "BM" alone may not
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of picture file.

    Args:
        name: as ledgers and indexes have it.
        suffixes: of file names, lower case, with their dot.
        module: the package that reads it beside Pillow; "" for Pillow alone.
        feature: the part of Pillow that reads it and that a build may lack; "" for none.
        remedy: what to do where it cannot be read.
        has_reader: whether anything here could read it.
    """

    name: str
    suffixes: tuple[str, ...]
    module: str = ""
    feature: str = ""
    remedy: str = ""
    has_reader: bool = True


_KINDS = (
    Kind(name="jpg", suffixes=(".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".mpo")),
    Kind(name="png", suffixes=(".png", ".apng")),
    Kind(name="webp", suffixes=(".webp",), feature="webp", remedy="pip install -U pillow"),
    Kind(name="gif", suffixes=(".gif",)),
    Kind(name="bmp", suffixes=(".bmp", ".dib")),
    Kind(name="tiff", suffixes=(".tif", ".tiff")),
    Kind(name="avif", suffixes=(".avif", ".avifs"), feature="avif", remedy="pip install -U 'pillow>=11.3'"),
    Kind(
        name="heic",
        suffixes=(".heic", ".heif", ".hif", ".heics", ".heifs"),
        module="pillow_heif",
        remedy=INSTALL_FORMATS,
    ),
    Kind(name="jxl", suffixes=(".jxl",), module="pillow_jxl", remedy=INSTALL_FORMATS),
    Kind(
        name="jp2",
        suffixes=(".jp2", ".j2k", ".j2c", ".jpc", ".jpx", ".jpf"),
        feature="jpg_2000",
        remedy="pip install -U pillow",
    ),
    Kind(
        name="raw",
        suffixes=(
            *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".raf", ".orf", ".rw2"),
            *(".pef", ".srw", ".x3f", ".raw", ".rwl", ".3fr", ".iiq", ".kdc", ".dcr", ".mrw", ".erf", ".mef"),
        ),
        remedy=f"camera raw: {EXPORT_FIRST}",
        has_reader=False,
    ),
    Kind(
        name="other",
        suffixes=(
            *(
                ".psd",
                ".psb",
                ".xcf",
                ".svg",
                ".svgz",
                ".eps",
                ".ai",
                ".exr",
                ".hdr",
                ".tga",
                ".ico",
                ".icns",
            ),
            *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".pcx", ".dds", ".wmf", ".emf", ".jxr", ".wdp", ".bpg"),
        ),
        remedy=EXPORT_FIRST,
        has_reader=False,
    ),
)
KINDS = {kind.name: kind for kind in _KINDS}
"""By name; `raw` and `other` are known by their suffixes alone, to be counted."""

_BY_SUFFIX = {suffix: kind.name for kind in _KINDS for suffix in kind.suffixes}


def kind_of(first_bytes: bytes) -> str | None:
    r"""Returns the kind that a file's first bytes tell, whatever its name; None for no picture.

    Args:
        first_bytes: `HEAD_BYTES` or more of them.

    Limits: camera raw that is built as TIFF is "tiff" here; its header tells, see `header`.

    Example:
        >>> kind_of(b"GIF89a"), kind_of(b"\xff\xd8\xff\xe0"), kind_of(b"<svg ")
        ('gif', 'jpg', None)
    """
    head = first_bytes[:HEAD_BYTES]
    starts = {
        "jpg": head.startswith(b"\xff\xd8\xff"),
        "png": head.startswith(b"\x89PNG\r\n\x1a\n"),
        "webp": head.startswith(b"RIFF") and head[8:12] == b"WEBP",
        "gif": head.startswith((b"GIF87a", b"GIF89a")),
        "tiff": head.startswith(_TIFF),
        "bmp": head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS,
        "jxl": head.startswith((b"\xff\x0a", _JXL_BOX)),
        "jp2": head.startswith((b"\xff\x4f\xff\x51", _JP2_BOX)),
    }
    found = next((name for name, does_start in starts.items() if does_start), None)
    return found or (_kind_of_brands(head) if head[4:8] == b"ftyp" else None)


def _kind_of_brands(head: bytes) -> str | None:
    """Returns the kind that an ISO media file's brands name: the major one, then those it is compatible with."""
    end = min(len(head), int.from_bytes(head[:4], "big"))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))}
    if brands & _AVIF_BRANDS:
        return "avif"
    return "heic" if brands & _HEIF_BRANDS else None


def kind_of_suffix(name: str) -> str | None:
    """Returns the kind that a file's name ends like, in any case; None for none that is known.

    Example:
        >>> kind_of_suffix("a/IMG.1.JPE"), kind_of_suffix("x.NEF"), kind_of_suffix("notes.txt"), kind_of_suffix("jpg")
        ('jpg', 'raw', None, None)
    """
    _, dot, suffix = name.rpartition(".")
    return _BY_SUFFIX.get(dot + suffix.lower()) if dot else None


@cache
def is_readable(kind: str) -> bool:
    """Returns whether pictures of that kind can be read with what is installed."""
    from PIL import features

    one = KINDS[kind]
    is_built = not one.feature or bool(features.check(one.feature))
    return one.has_reader and is_built and (not one.module or find_spec(one.module) is not None)


def how_to_read(kind: str) -> str:
    """Returns what to do so that pictures of that kind can be read; "" where they can be."""
    return "" if is_readable(kind) else KINDS[kind].remedy


def readable_suffixes() -> tuple[str, ...]:
    """Returns the suffixes of every kind that can be read now, with their dots."""
    return tuple(suffix for kind in _KINDS if is_readable(kind.name) for suffix in kind.suffixes)
