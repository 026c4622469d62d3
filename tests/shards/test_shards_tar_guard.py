"""Tars that nobody vouches for: bad members are named with their reason, good samples come through."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supir_shards import Limits, Quarantined, QuarantineReason, TarSample, iter_tar

Reason = QuarantineReason
SMALL = Limits(
    max_member_bytes=20_000,
    max_json_bytes=4_000,
    max_text_bytes=3_000,
    max_header_bytes=2_000,
    max_members=12,
)


def entry(name: str, data: bytes = b"", tar_format: int = tarfile.USTAR_FORMAT, **fields: object) -> bytes:
    """One member as it stands in a tar: header, data, padding."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for field, value in fields.items():
        setattr(member, field, value)
    return member.tobuf(tar_format, "utf-8", "surrogateescape") + data + bytes(-len(data) % 512)


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A header alone, whatever it declares."""
    return entry(name, size=size, type=kind, tar_format=tarfile.GNU_FORMAT)


def pax(records: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    return entry("PaxHeaders/x", records, type=kind)


def png(width: int, height: int, size: int = 24_000) -> bytes:
    """A PNG header that declares any size, with a sound checksum, in a file of ``size`` bytes."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return head.ljust(size, b"\0")


GOOD = png(8, 8, 900)
END = bytes(1024)
FIRST = entry("first.png", GOOD) + entry("first.json", b'{"n": 1}')
LAST = entry("last.png", GOOD) + entry("last.json", b'{"n": 2}')


class Pipe:
    """A stream that cannot seek and hands out a few bytes at a time, as a socket does."""

    def __init__(self, data: bytes, most: int = 700) -> None:
        self._chunks = io.BytesIO(data)
        self._most = most
        self.largest_request = 0

    def read(self, size: int) -> bytes:
        self.largest_request = max(self.largest_request, size)
        return self._chunks.read(min(size, self._most))


def sort(items: Iterator[TarSample | Quarantined]) -> tuple[dict[str, dict[str, bytes]], list[Quarantined]]:
    found = list(items)
    good = {item.key: item.files for item in found if isinstance(item, TarSample)}
    return good, [item for item in found if isinstance(item, Quarantined)]


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_honest_tar_of_any_format_comes_through(tar_format: int) -> None:
    buffer = io.BytesIO()
    files = {
        "./a/0001.png": GOOD,
        "./a/0001.json": b"{}",
        f"{'long/' * 30}x.PNG": GOOD,
        "größe.cls.txt": b"7",
    }
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as tar:
        for name in ("./", "./a"):
            folder = tarfile.TarInfo(name)
            folder.type = tarfile.DIRTYPE
            tar.addfile(folder)
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), 1.5
            tar.addfile(member, io.BytesIO(data))
    good, bad = sort(iter_tar(Pipe(buffer.getvalue())))
    assert bad == []
    assert good == {
        "a/0001": {"png": GOOD, "json": b"{}"},
        f"{'long/' * 30}x": {"png": GOOD},
        "größe": {"cls.txt": b"7"},
    }


NAMES = (
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "\u200d",
    "a\nb",
    "\x1b[2J",
    "gpj\u202e",
    "\udcff",
    "x" * 1980,
)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_is_never_a_path_so_it_may_have_any_letters_and_length(name: str) -> None:
    data = entry(f"{name}.png", GOOD, tarfile.PAX_FORMAT)
    good, bad = sort(iter_tar(Pipe(FIRST + data + LAST + END), SMALL))
    assert bad == []
    assert good[name] == {"png": GOOD}


DEEP = b'{"a":' * 65 + b"1" + b"}" * 65
HOSTILE: dict[str, tuple[bytes, Reason, str]] = {
    "parent": (entry("../x.png", GOOD), Reason.BAD_NAME, "leaves the archive's folder"),
    "parent inside": (entry("a/../../x.png", GOOD), Reason.BAD_NAME, "leaves the archive's folder"),
    "backslash": (entry("a\\..\\x.png", GOOD), Reason.BAD_NAME, "leaves the archive's folder"),
    "absolute": (entry("/etc/x.png", GOOD), Reason.BAD_NAME, "absolute path"),
    "drive": (entry("C:/x.png", GOOD), Reason.BAD_NAME, "absolute path"),
    "no extension": (entry("README", b"text"), Reason.BAD_NAME, "not KEY.EXTENSION"),
    "hidden": (entry("._x.png", GOOD), Reason.BAD_NAME, "not KEY.EXTENSION"),
    "no name": (entry("", GOOD), Reason.BAD_NAME, "it has no name"),
    "large text": (entry("x.txt", b" " * 3001), Reason.TOO_LARGE, "3001 bytes, more than 3000"),
    "symlink": (entry("x.png", type=tarfile.SYMTYPE, linkname="/etc/passwd"), Reason.NOT_A_FILE, "b'2'"),
    "hard link": (entry("x.png", type=tarfile.LNKTYPE, linkname="first.png"), Reason.NOT_A_FILE, "b'1'"),
    "device": (entry("x.png", type=tarfile.CHRTYPE, devmajor=1, devminor=5), Reason.NOT_A_FILE, "b'3'"),
    "pipe": (entry("x.png", type=tarfile.FIFOTYPE), Reason.NOT_A_FILE, "b'6'"),
    "unknown type": (entry("x.png", GOOD, type=b"Z"), Reason.NOT_A_FILE, "b'Z'"),
    "sparse": (entry("x.png", GOOD, type=tarfile.GNUTYPE_SPARSE), Reason.SPARSE, "sparse"),
    "pax sparse": (pax(b"22 GNU.sparse.major=1\n") + entry("x.png", GOOD), Reason.SPARSE, "sparse"),
    "large": (entry("x.png", bytes(20_001)), Reason.TOO_LARGE, "20001 bytes, more than 20000"),
    "large json": (entry("x.json", b" " * 4001), Reason.TOO_LARGE, "4001 bytes, more than 4000"),
    "large sum": (
        entry("x.png", GOOD.ljust(15_000)) + entry("x.jpg", GOOD.ljust(5_001)),
        Reason.TOO_LARGE,
        "20001 bytes, more than 20000",
    ),
    "pax bomb": (
        pax(b"3000 comment=" + b"x" * 2986 + b"\n") + entry("x.png", GOOD),
        Reason.TOO_LARGE,
        "3000 bytes",
    ),
    "broken pax": (pax(b"99 path=x.png\n") + entry("x.png", GOOD), Reason.BAD_HEADER, "broken record"),
    "pax size": (pax(b"11 size=-1\n") + entry("x.png", GOOD), Reason.BAD_HEADER, "size is not a number"),
    "global path": (
        pax(b"10 path=x\n", tarfile.XGLTYPE) + entry("x.png", GOOD),
        Reason.BAD_HEADER,
        "a global header sets every path or size",
    ),
    "two": (entry("x.png", GOOD) + entry("x.png", GOOD), Reason.DUPLICATE, "two .png members"),
    "two cases": (entry("x.png", GOOD) + entry("x.PNG", GOOD), Reason.DUPLICATE, "two .png members"),
    "no json": (entry("x.json", b"{'a': 1}"), Reason.BAD_JSON, "not JSON"),
    "json list": (entry("x.json", b"[1]"), Reason.BAD_JSON, "a JSON list, not an object"),
    "deep json": (entry("x.json", DEEP), Reason.BAD_JSON, "nested more than 64 deep"),
    "deepest json": (entry("x.json", b"[" * 4000), Reason.BAD_JSON, "not JSON"),
    "json bytes": (entry("x.json", b"\xff{}"), Reason.BAD_JSON, "not JSON"),
    "huge png": (
        entry("x.png", png(3_000_000, 2_000_000, 19_000)),
        Reason.IMAGE_TOO_LARGE,
        "3000000x2000000 px",
    ),
    "no picture": (entry("x.jpg", b"<html>404</html>"), Reason.BAD_IMAGE, "the bytes begin 3c68746d6c3e3430"),
    "cut picture": (entry("x.png", GOOD[:20]), Reason.BAD_IMAGE, "cut off at 20 bytes"),
    "bad checksum": (
        entry("x.png", GOOD)[:148] + b"000000" + entry("x.png", GOOD)[154:],
        Reason.BAD_HEADER,
        "no tar header at byte",
    ),
    "negative size": (
        header("x.png", 0)[:124] + b"\xff" * 12 + header("x.png", 0)[136:],
        Reason.BAD_HEADER,
        "no tar header at byte",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_bad_member_is_named_with_its_reason_and_its_neighbours_come_through(case: str) -> None:
    data, reason, detail = HOSTILE[case]
    good, bad = sort(iter_tar(Pipe(FIRST + data + LAST + END), SMALL))
    assert [item.reason for item in bad] == [reason]
    assert detail in bad[0].detail
    assert list(good) == ["first", "last"]
    assert good["last"] == {"png": GOOD, "json": b'{"n": 2}'}


def test_a_sample_that_comes_back_later_is_refused_there() -> None:
    good, bad = sort(iter_tar(Pipe(FIRST + LAST + entry("first.txt", b"more") + END)))
    assert good["first"] == {"png": GOOD, "json": b'{"n": 1}'}
    assert [(item.name, item.reason) for item in bad] == [("first.txt", Reason.DUPLICATE)]


@pytest.mark.parametrize("bad_first", [True, False])
def test_the_other_members_of_a_bad_sample_go_with_it(bad_first: bool) -> None:
    members = [entry("x.json", b"null"), entry("x.png", GOOD), entry("x.txt", b"t")]
    data = b"".join(members if bad_first else reversed(members))
    good, bad = sort(iter_tar(Pipe(FIRST + data + LAST + END)))
    assert list(good) == ["first", "last"]
    assert [(item.name, item.reason) for item in bad] == [("x.json", Reason.BAD_JSON)]


@pytest.mark.parametrize(
    "cut", [600, 1024 + 5, 1536, 2048, len(FIRST) + 100, len(FIRST) + 1024 + 3, len(FIRST + LAST)]
)
def test_a_cut_archive_gives_what_is_whole_and_says_that_it_is_cut(cut: int) -> None:
    good, bad = sort(iter_tar(Pipe((FIRST + LAST)[:cut])))
    assert [item.reason for item in bad] == [Reason.TRUNCATED]
    assert list(good) == (["first"] if cut > len(FIRST) + 512 else [])


def test_an_absurd_size_takes_the_rest_of_the_tar_but_not_what_came_before() -> None:
    pipe = Pipe(FIRST + header("x.png", 2**62) + LAST + END)
    good, bad = sort(iter_tar(pipe))
    assert list(good) == ["first"]
    assert [(item.name, item.reason) for item in bad] == [("x.png", Reason.TRUNCATED)]
    assert pipe.largest_request <= 64 * 1024


def test_damage_that_names_no_member_costs_the_samples_on_both_sides_and_no_other() -> None:
    middle = [entry(f"{key}.png", GOOD) for key in "abcd"]
    data = FIRST + middle[0] + middle[1] + b"\xff" * 512 + bytes(512) + middle[2] + middle[3] + LAST + END
    good, bad = sort(iter_tar(Pipe(data)))
    assert list(good) == ["first", "a", "d", "last"]
    assert [(item.name, item.reason) for item in bad] == [
        ("b", Reason.BAD_HEADER),
        ("c.png", Reason.BAD_HEADER),
    ]


def test_too_many_members_end_the_reading() -> None:
    data = b"".join(entry(f"{number}.txt", b"t") for number in range(20))
    good, bad = sort(iter_tar(Pipe(data + END), SMALL))
    assert list(good) == [str(number) for number in range(11)]
    assert [(item.name, item.reason) for item in bad] == [("11", Reason.TOO_MANY_MEMBERS)]


def test_names_and_details_are_safe_to_print() -> None:
    data = entry("\x1b]0;title\x07\u202e.png", b"") + entry("x" * 90 + "\n.json", b"{")
    _, bad = sort(iter_tar(Pipe(data + END)))
    assert len(bad) == 2
    assert all((item.name + item.detail).isprintable() for item in bad)
    assert bad[0].name == "\\x1b]0;title\\x07\\u202e.png"


def test_only_small_pieces_are_asked_for() -> None:
    pipe = Pipe(FIRST + entry("x.bin", bytes(300_000)) + END)
    assert len(list(iter_tar(pipe))) == 2
    assert pipe.largest_request <= 64 * 1024


@settings(max_examples=400, deadline=None)
@given(
    position=st.integers(0, len(FIRST) + len(LAST) - 1),
    noise=st.binary(min_size=1, max_size=600),
)
def test_any_damage_ends_in_quarantine_rows_or_changed_bytes_never_in_an_error(
    position: int, noise: bytes
) -> None:
    data = FIRST + LAST + END
    damaged = (data[:position] + noise + data[position + len(noise) :])[: len(data)]
    good, bad = sort(iter_tar(Pipe(damaged)))
    for files in good.values():
        assert all(isinstance(json.loads(files[name]), dict) for name in files if name == "json")
    assert all(item.reason in Reason and item.detail for item in bad)
    if position >= len(FIRST) + 512 or damaged == data:
        assert good["first"] == {"png": GOOD, "json": b'{"n": 1}'}


def test_every_reason_is_reached_by_a_case() -> None:
    here: set[Reason] = {reason for _, reason, _ in HOSTILE.values()}
    here |= {Reason.TRUNCATED, Reason.TOO_MANY_MEMBERS}
    read_from_a_dataset = {Reason.MISSING, Reason.ALTERED}
    assert here | read_from_a_dataset == set(Reason)


READERS: list[Callable[[bytes], object]] = [lambda data: io.BytesIO(data), lambda data: Pipe(data, 1)]


@pytest.mark.parametrize("reader", READERS, ids=["whole", "byte by byte"])
def test_the_size_of_the_pieces_does_not_matter(reader: Callable[[bytes], io.BytesIO]) -> None:
    data = FIRST + HOSTILE["pax bomb"][0] + LAST + END
    assert list(iter_tar(reader(data), SMALL)) == list(iter_tar(Pipe(data), SMALL))


class Counting(io.BytesIO):
    """A file that counts what is read of it."""

    amount = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.amount += len(data)
        return data


def test_members_that_are_not_wanted_are_passed_over_and_found_by_their_place() -> None:
    picture = GOOD.ljust(300_000, b"x")
    tar = entry("a.png", picture) + entry("a.json", b'{"n": 1}') + entry("b.png", picture) + END
    stream = Counting(tar)
    found, last = iter_tar(stream, reads=lambda name: name.endswith(".json"))
    assert isinstance(found, TarSample)
    assert isinstance(last, TarSample)
    assert found.files == {"json": b'{"n": 1}'}
    assert last.files == {}
    for sample in (found, last):
        offset, size = sample.spans["png"]
        assert tar[offset : offset + size] == picture
    assert stream.amount < 10_000


def test_a_picture_that_is_passed_over_and_cut_off_is_named() -> None:
    tar = entry("a.png", GOOD) + entry("b.png", GOOD.ljust(300_000, b"x"))
    good, bad = sort(iter_tar(io.BytesIO(tar[:-1000]), reads=lambda name: False))
    assert list(good) == ["a"]
    assert [(one.name, one.reason) for one in bad] == [("b.png", Reason.TRUNCATED)]


@pytest.mark.parametrize("after", [FIRST.replace(b"first", b"other"), b"signature"])
def test_what_hides_behind_the_end_mark_is_one_row_and_costs_nothing_else(after: bytes) -> None:
    data = FIRST + LAST + END + bytes(9 * 512)
    good, bad = sort(iter_tar(Pipe(data + after + END)))
    assert list(good) == ["first", "last"]
    (row,) = bad
    assert (row.name, row.reason) == ("(after the end mark)", Reason.BAD_HEADER)
    assert f"from byte {len(data)} on" in row.detail
    assert sort(iter_tar(Pipe(data + bytes(100_000)))) == (good, [])


@pytest.mark.parametrize("extension", ["jfif", "jpe", "tif", "avif", "heic", "bmp", "jxl", "left.JPG"])
def test_the_header_of_every_kind_of_picture_is_checked(extension: str) -> None:
    good, bad = sort(iter_tar(Pipe(FIRST + entry(f"x.{extension}", b"no picture") + LAST + END)))
    assert list(good) == ["first", "last"]
    assert [(row.name, row.reason) for row in bad] == [(f"x.{extension}", Reason.BAD_IMAGE)]
