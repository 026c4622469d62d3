"""The curve and the table of a sweep: faithfulness (LPIPS, PSNR) against naturalness (NIQE), a point a combination.

Place in the flow: `sweep_cli` writes both. Points that differ in the first knob alone are joined by a line, as in the
paper's figures; the given pictures are a point of their own. The curve is an SVG, drawn here: eighty lines of text are
less than a plotting library.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from supir_infer.sweep import GIVEN, Knob, Measured, said

ARROWS = {"psnr": "PSNR ↑ dB", "lpips": "LPIPS ↓", "niqe": "NIQE ↓"}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 460, 380, 64, 16, 20, 52
COLOURS = ("#1b6ca8", "#c44536", "#2e7d32", "#7b4397", "#b8860b", "#455a64")
TICKS = 4
SPARE = 0.08  # of the range, on each side


def table_csv(knobs: Sequence[Knob], measured: Sequence[Measured], measures: Sequence[str]) -> str:
    """Returns a line a combination: its values, figures and seconds a picture."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*(knob.key for knob in knobs), *measures, "seconds"])
    for cell in measured:
        values = [said(cell.values[knob.key]) if cell.values else GIVEN for knob in knobs]
        figures = [cell.figures.get(name) for name in measures]
        writer.writerow([*values, *figures, cell.seconds])
    return stream.getvalue()


def table_markdown(knobs: Sequence[Knob], measured: Sequence[Measured], measures: Sequence[str]) -> str:
    """Returns the same rounded, with the best figure of each measure in bold."""
    best = {name: _best(measured, name) for name in measures}
    head = [*(knob.key for knob in knobs), *(ARROWS[name] for name in measures), "s"]
    rows = [head, ["---"] * len(knobs) + ["---:"] * (len(measures) + 1)]
    for cell in measured:
        values = [said(cell.values[knob.key]) if cell.values else GIVEN for knob in knobs]
        figures = [_rounded(name, cell.figures.get(name), best[name]) for name in measures]
        rows.append([*values, *figures, "" if cell.seconds is None else f"{cell.seconds:.2f}"])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _best(measured: Sequence[Measured], name: str) -> float | None:
    values = [value for cell in measured if cell.values and (value := cell.figures.get(name)) is not None]
    return (max if name == "psnr" else min)(values, default=None)


def _rounded(name: str, value: float | None, best: float | None) -> str:
    if value is None:
        return "-"
    text = f"{value:.2f}" if name in ("psnr", "niqe") else f"{value:.4f}"
    return f"**{text}**" if value == best else text


def draw_curve(knobs: Sequence[Knob], measured: Sequence[Measured]) -> str | None:
    """Returns an SVG with LPIPS and PSNR against NIQE; None where there is nothing to set against one another."""
    names = [
        name
        for name in ("lpips", "psnr")
        if sum(
            {name, "niqe"} <= {key for key, value in cell.figures.items() if value is not None}
            for cell in measured
        )
        > 1
    ]
    if not names:
        return None
    lines = _lines(knobs, measured)
    panels = "".join(
        _panel(name, index * WIDTH, lines, knobs[0], measured) for index, name in enumerate(names)
    )
    legend = "".join(
        f'<text x="{LEFT}" y="{HEIGHT + 18 * (index + 1)}" fill="{_colour(index)}">{escape(label)}</text>'
        for index, label in enumerate(lines)
    )
    height = HEIGHT + 18 * (len(lines) + 1)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * len(names)} {height}" '
        f'width="{WIDTH * len(names)}" height="{height}" font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/>{panels}{legend}</svg>\n'
    )


def _lines(knobs: Sequence[Knob], measured: Sequence[Measured]) -> dict[str, list[Measured]]:
    """The combinations that differ in the first knob alone, by the values of the others."""
    lines: dict[str, list[Measured]] = defaultdict(list)
    for cell in measured:
        if cell.values:
            others = ", ".join(f"{knob.key}={said(cell.values[knob.key])}" for knob in knobs[1:])
            lines[others or knobs[0].key].append(cell)
    return dict(lines)


def _panel(
    name: str,
    x: int,
    lines: Mapping[str, Sequence[Measured]],
    along: Knob,
    measured: Sequence[Measured],
) -> str:
    points = [(cell.figures["niqe"], cell.figures[name]) for cell in measured if _has(cell, name)]
    across = _scale([point[0] for point in points], x + LEFT, x + WIDTH - RIGHT)
    down = _scale([point[1] for point in points], HEIGHT - BOTTOM, TOP)
    parts = [_axes(name, x, across, down)]
    for index, line in enumerate(lines.values()):
        at = [
            (across.at(cell.figures["niqe"]), down.at(cell.figures[name]), said(cell.values[along.key]))
            for cell in line
            if _has(cell, name)
        ]
        path = " ".join(f"{left:.1f},{top:.1f}" for left, top, _ in at)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{_colour(index)}" stroke-width="1.5"/>')
        parts += [_dot(left, top, label, _colour(index)) for left, top, label in at]
    parts += [
        _dot(across.at(cell.figures["niqe"]), down.at(cell.figures[name]), GIVEN, "#000000")
        for cell in measured
        if not cell.values and _has(cell, name)
    ]
    return "".join(parts)


class _Scale:
    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high, self.start, self.end = low, high, start, end

    def at(self, value: float | None) -> float:
        assert value is not None, "only cells that have it are drawn"
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        return [self.low + (self.high - self.low) * step / TICKS for step in range(TICKS + 1)]


def _scale(values: Sequence[float | None], start: float, end: float) -> _Scale:
    numbers = [value for value in values if value is not None]
    low, high = min(numbers), max(numbers)
    spare = SPARE * (high - low) or 1e-3
    return _Scale(low - spare, high + spare, start, end)


def _has(cell: Measured, name: str) -> bool:
    return cell.figures.get(name) is not None and cell.figures.get("niqe") is not None


def _axes(name: str, x: int, across: _Scale, down: _Scale) -> str:
    left, right, bottom = x + LEFT, x + WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = [f'<path d="M{left} {TOP}V{bottom}H{right}" fill="none" stroke="#888"/>']
    parts += [_text(across.at(value), bottom + 16, f"{value:.3g}", "middle") for value in across.ticks()]
    parts += [_text(left - 6, down.at(value) + 4, f"{value:.4g}", "end") for value in down.ticks()]
    parts.append(_text((left + right) / 2, bottom + 38, ARROWS["niqe"], "middle"))
    parts.append(_text(left, TOP - 6, ARROWS[name], "start"))
    return "".join(parts)


def _dot(x: float, y: float, label: str, colour: str) -> str:
    # the label lies left of a dot in the right half of its panel, so that none leaves it
    side, anchor = (-6, "end") if x % WIDTH > WIDTH / 2 else (6, "start")
    dot = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>'
    return dot + _text(x + side, y - 5, label, anchor)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]
