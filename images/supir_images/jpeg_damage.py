"""Which share of a JPEG a decoder had to guess, because its data end early or make no sense.

Place in the flow: `jpeg` asks where libjpeg complained; a file that decodes without a complaint is never looked at
here, so that intact ones cost nothing. The law: stray bytes between segments and padding at the end are no damage;
what follows the first code that cannot be, up to the next restart, is guessed, for everything after it lies in the
wrong place.

libjpeg itself notices little: nearly every bit string is a valid code. A block that would run past its 64
coefficients is not, and in data that lost their place one comes soon. So the codes of a sequential scan are walked
through, without decoding a coefficient. Limits: a progressive file with a complaint counts as guessed whole; changed
bytes that keep the codes' lengths are wrong colours and are not seen by anybody.
Source: ITU-T T.81 §B.2, annexes C and F.2.2.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from supir_images.header import next_marker

EOI = b"\xff\xd9"
MAX_WALKED_BYTES = (
    2**25
)  # a walk takes a second or two a megabyte; beyond, a file with a complaint is guessed whole
MAX_PADDING = 2  # bytes after the last code that encoders leave, whatever they hold
MAX_FILLED = 64  # equal bytes in a row in data with a complaint; more are what a transfer or a disk left out
_FILLED = re.compile(rb"(.)\1{%d}" % MAX_FILLED, re.DOTALL)

_SEQUENTIAL = (0xC0, 0xC1)
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = {0x01, *range(0xD0, 0xD8)}
_IN_SCANS = {0xC4, 0xD9, 0xDA, *range(0xD0, 0xD8)}  # markers before which a scan's data end
_SEGMENT_END = re.compile(
    rb"\xff+[^\x00\xff]", re.DOTALL
)  # any marker: stuffed zeros and fill bytes belong to data
_STEP_BITS = 8  # a table's entry: coefficients stepped over, above the bits used
_END_OF_BLOCK = 64
_DAMAGE = ("Corrupt JPEG data", "Premature end", "Invalid", "Unsupported", "Bogus", "Missing", "not defined")

Table = list[int]


@dataclass(slots=True)
class _Jpeg:
    """What the walk needs of a file's segments.

    Args:
        sampling: component to horizontal and vertical factor and its size in blocks.
    """

    frame: int = 0
    height: int = 0
    width: int = 0
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)
    tables: dict[tuple[int, int], Table] = field(default_factory=dict)
    restart: int = 0


class _Scan:
    """The blocks of one scan: their number of units and each unit's tables, by component."""

    def __init__(self, jpeg: _Jpeg, header: bytes) -> None:
        chosen = [(header[1 + 2 * at], header[2 + 2 * at]) for at in range(header[0])]
        across = max(factor[0] for factor in jpeg.sampling.values())
        down = max(factor[1] for factor in jpeg.sampling.values())
        self.blocks: list[tuple[Table, Table]] = []
        for component, numbers in chosen:
            pair = jpeg.tables[0, numbers >> 4], jpeg.tables[1, numbers & 15]
            horizontal, vertical = jpeg.sampling[component]
            self.blocks += [pair] * (horizontal * vertical if len(chosen) > 1 else 1)
        if len(chosen) > 1:
            unit = 8 * across, 8 * down
        else:  # alone, a component has no more blocks than its pixels need
            horizontal, vertical = jpeg.sampling[chosen[0][0]]
            unit = 8 * across / horizontal, 8 * down / vertical  # type: ignore[assignment]
        self.units = -int(-jpeg.width // unit[0]) * -int(-jpeg.height // unit[1])


def guessed_share(data: bytes, complaint: str) -> float:
    """Returns the share of the picture that was guessed, 0 to 1; 0 for one that is whole after all.

    Args:
        data: a JPEG file that a decoder gave pixels for.
        complaint: libjpeg's words about it.
    """
    try:
        return _walk(data, complaint)
    except (IndexError, KeyError, struct.error, ValueError, ZeroDivisionError):
        return 1.0  # segments that make no sense, and still there were pixels


def _walk(data: bytes, complaint: str) -> float:
    jpeg, position, worst, scans = _Jpeg(), 2, 0.0, 0
    while True:
        try:
            position = next_marker(data, position)
        except IndexError:
            break
        marker = data[position]
        if marker == 0xD9:
            break
        if marker in _STANDALONE:
            position += 1
            continue
        (length,) = struct.unpack_from(">H", data, position + 1)
        content = data[position + 3 : position + 1 + length]
        position += 1 + length
        if marker != 0xDA:
            _take(jpeg, marker, content)
            continue
        scans += 1
        if jpeg.frame not in _SEQUENTIAL:
            return 1.0 if complaint.startswith(_DAMAGE) and not _is_stray(complaint) else 0.0
        share, position = _scan_share(data, position, jpeg, content)
        worst = max(worst, share)
    return worst if scans else 1.0


def _is_stray(complaint: str) -> bool:
    """Whether bytes were only in the way before a segment that is no scan's neighbour, nor a restart inside one."""
    found = re.search(r"extraneous bytes before marker 0x([0-9a-f]{2})", complaint)
    return bool(found) and int(found[1], 16) not in _IN_SCANS  # type: ignore[index]


def _take(jpeg: _Jpeg, marker: int, content: bytes) -> None:
    """Takes up a segment: the frame, Huffman tables or the restart interval."""
    if marker in _FRAMES:
        precision, jpeg.height, jpeg.width, count = struct.unpack_from(">BHHB", content)
        jpeg.frame = marker if precision == 8 else 0
        for at in range(6, 6 + 3 * count, 3):
            jpeg.sampling[content[at]] = content[at + 1] >> 4, content[at + 1] & 15
    elif marker == 0xDD:
        (jpeg.restart,) = struct.unpack_from(">H", content)
    elif marker == 0xC4:
        while content:
            counts = content[1:17]
            symbols = content[17 : 17 + sum(counts)]
            jpeg.tables[content[0] >> 4, content[0] & 15] = _table(counts, symbols, is_dc=content[0] < 16)
            content = content[17 + sum(counts) :]


def _table(counts: bytes, symbols: bytes, *, is_dc: bool) -> Table:
    """Returns, for each 16 bits that may come next, bits used and coefficients stepped over; 0 for no code."""
    entries = np.zeros(65536, np.int32)
    code = 0
    at = 0
    for length, count in enumerate(counts, start=1):
        for symbol in symbols[at : at + count]:
            first = code << (16 - length)
            entries[first : first + (1 << (16 - length))] = _entry(symbol, length, is_dc=is_dc)
            code += 1
        at += count
        code <<= 1
    return [int(entry) for entry in entries]


def _entry(symbol: int, length: int, *, is_dc: bool) -> int:
    run, size = symbol >> 4, symbol & 15
    if is_dc:
        return length + symbol if symbol <= 11 else 0
    if size:
        step = run + 1
    elif run in (0, 15):
        step = _END_OF_BLOCK if run == 0 else 16
    else:
        return 0
    return (step << _STEP_BITS) | (length + size)


def _scan_share(data: bytes, start: int, jpeg: _Jpeg, header: bytes) -> tuple[float, int]:
    """Returns the share of a scan's units that were guessed, and where its data end."""
    scan, position, done, guessed = _Scan(jpeg, header), start, 0, 0
    interval = jpeg.restart or scan.units
    expected = 0
    while True:
        found = _SEGMENT_END.search(data, position)
        end = found.start() if found else len(data)
        wanted = min(interval, scan.units - done)
        if wanted > 0:
            if end - start > MAX_WALKED_BYTES:
                return 1.0, end
            guessed += wanted - _intact_units(data[position:end], scan.blocks, wanted)
            done += wanted
        marker = data[found.end() - 1] if found else 0
        if not found or not 0xD0 <= marker <= 0xD7:
            break
        # libjpeg trusts the numbers: so many intervals are missing as the number is ahead.
        skipped = (marker - 0xD0 - expected) % 8
        if skipped:
            lost = min(skipped * interval, scan.units - done)
            guessed, done = guessed + lost, done + lost
        expected = (marker - 0xD0 + 1) % 8
        position = found.end()
    guessed += scan.units - done
    return guessed / scan.units, end


def _intact_units(stuffed: bytes, blocks: list[tuple[Table, Table]], wanted: int) -> int:
    """Returns how many units of an interval come before the first code that cannot be, at most `wanted`."""
    data = stuffed.replace(b"\xff\x00", b"\xff")
    units, at = _walked(data, blocks, wanted)
    rest = data[-(-at // 8) :]
    filled = _FILLED.search(data)
    if filled and (units < wanted or len(rest) > MAX_FILLED):
        # Nearly every bit string is a valid code, zeros too.
        return _walked(data[: filled.start()], blocks, wanted)[0]
    # Data beyond the last unit: codes were lost on the way, and nothing tells where.
    is_padded = len(rest) <= MAX_PADDING or len(set(rest)) == 1
    return units if units < wanted or is_padded else 0


def _walked(data: bytes, blocks: list[tuple[Table, Table]], wanted: int) -> tuple[int, int]:
    """Returns how many units come before the first code that cannot be, and the bit after the last code."""
    windows, bits = _windows(data).data, 8 * len(data)
    at = 0
    for unit in range(wanted):
        for dc, ac in blocks:
            if at >= bits:
                return unit, at
            used = dc[windows[at >> 3] >> (16 - (at & 7)) & 0xFFFF]
            if not used:
                return unit, at
            at += used
            coefficient = 1
            while coefficient < 64:
                if at >= bits:
                    return unit, at
                entry = ac[windows[at >> 3] >> (16 - (at & 7)) & 0xFFFF]
                if not entry:
                    return unit, at
                at += entry & 0xFF
                coefficient += entry >> _STEP_BITS
                if coefficient > 64 and entry >> _STEP_BITS != _END_OF_BLOCK:
                    return unit, at
            if at > bits:
                return unit, at
    return wanted, at


def _windows(data: bytes) -> NDArray[np.uint32]:
    """Returns the 32 bits that begin at each byte; past the end come ones."""
    padded = np.frombuffer(data + b"\xff" * 4, np.uint8).astype(np.uint32)
    return np.ascontiguousarray(padded[:-3] << 24 | padded[1:-2] << 16 | padded[2:-1] << 8 | padded[3:])
