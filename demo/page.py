"""The demo's page: one HTML file that shows what every stage made, from the files that the stages wrote."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pyarrow.parquet as pq
from markupsafe import Markup
from PIL import Image

from supir_images import decode_rgb
from supir_shards import Dataset, sample_key

THUMBNAIL_PX = 320
STAGES = ("prior", "encoder", "adapter")
CURVE_PX = (300, 160)
PEERS = Path(__file__).parent / "peers.json"
"""The table that benchmarks/restore_peers.py wrote of the pairs of this demo, with the packages' photos."""
EXPECTATION = (
    "What to expect: the mini model has 16 M parameters (SDXL with SUPIR's parts has 4.8 B) and was trained for some "
    "fourteen hours on one CPU core. It takes out noise and blocks, sharpens edges, softens texture and invents "
    "little. "
    "Training went on here for a minute a stage, to show that the chain works, not to make it better."
)


@dataclass(frozen=True, slots=True)
class Kind:
    """What became of the URLs that were made as one kind."""

    name: str
    count: int
    kept: int
    reasons: str


@dataclass(frozen=True, slots=True)
class Column:
    """One maker of pictures: its means by metric."""

    name: str
    means: dict[str, float]


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric, its mean of every column ("-" where there is none), and what exactly it is."""

    name: str
    higher_is_better: bool
    means: list[str]
    identity: str


def write_page(work: Path, seconds: dict[str, float], *, is_package_photos: bool) -> Path:
    """Writes `work/index.html` from the demo's files and returns its path.

    Args:
        work: the demo's folder.
        seconds: wall time of each command, by its text.
        is_package_photos: the demo took no photos of the user's, so the peers' stored figures are of the same pairs.
    """
    outcomes = _outcomes(work)
    report, trained_on = (
        json.loads((work / f"{folder}.json").read_text()) for folder in ("restored", "restored_trained_on")
    )
    columns = list(_columns(report, trained_on, is_package_photos))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    page = environment.get_template("page.html.j2").render(
        expectation=EXPECTATION,
        pairs=list(_pairs(work)),
        columns=[column.name for column in columns],
        metrics=list(_metric_rows(report, columns)),
        has_peers=is_package_photos,
        num_candidates=len(outcomes),
        num_kept=sum(not reason for _, reason in outcomes),
        funnel=Counter(reason for _, reason in outcomes if reason).most_common(),
        kinds=list(_kinds(outcomes)),
        captions=list(_captions(work)),
        negatives=[_embedded(record.image) for record in Dataset(work / "negatives").samples()],
        curves=[(stage, _curve(work / "runs" / stage / "metrics.jsonl")) for stage in STAGES],
        seconds=seconds,
    )
    path = work / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def _outcomes(work: Path) -> list[tuple[str, str]]:
    """(kind it was made as, first failing rule or "") of every URL."""
    kinds = json.loads((work / "kinds.json").read_text())
    outcomes = []
    for part in sorted((work / "dataset" / "ledger").glob("*.parquet")):
        rows = pq.read_table(part, columns=["url", "reason"]).to_pylist()
        chosen = pq.read_table(work / "dataset" / "selection" / part.name).to_pylist()
        for row, choice in zip(rows, chosen, strict=True):
            path = "/" + row["url"].partition("://")[2].partition("/")[2]
            outcomes.append((kinds.get(path, "leads nowhere"), choice["reason"]))
    return outcomes


def _kinds(outcomes: Sequence[tuple[str, str]]) -> Iterator[Kind]:
    for name, count in Counter(kind for kind, _ in outcomes).most_common():
        reasons = Counter(reason for kind, reason in outcomes if kind == name and reason)
        kept = count - reasons.total()
        yield Kind(name, count, kept, ", ".join(f"{reason} {n}" for reason, n in reasons.most_common()))


def _pairs(work: Path) -> Iterator[tuple[str, str, str, str]]:
    names = {sample_key(photo.read_bytes()): photo.stem for photo in (work / "held_out").iterdir()}
    for restored in sorted((work / "restored").glob("*.png")):
        yield names[restored.stem], f"lq/{restored.name}", f"restored/{restored.name}", f"hq/{restored.name}"


def _columns(report: dict[str, Any], trained_on: dict[str, Any], is_package_photos: bool) -> Iterator[Column]:
    yield Column("input", report["means"]["bicubic"])
    yield Column("mini", report["means"]["restored"])
    yield Column("mini, trained on here", trained_on["means"]["restored"])
    if is_package_photos:
        table = json.loads(PEERS.read_text())
        yield from (Column(name, means) for name, means in table.items() if name not in ("input", "mini"))


def _metric_rows(report: dict[str, Any], columns: Sequence[Column]) -> Iterator[MetricRow]:
    for identity in report["metrics"]:
        name = identity["metric"]
        means = [f"{column.means[name]:.3f}" if name in column.means else "-" for column in columns]
        images = f"{report['num_averaged']} of {report['num_images']} images"
        what = f"{identity['implementation']}, {identity['colour_space']}, {images}"
        yield MetricRow(name, identity["better"] == "higher", means, what)


def _captions(work: Path) -> Iterator[tuple[str, str]]:
    for record in Dataset(work / "dataset").samples(captions="tags"):
        whole = record.caption_for((0, 0, record.width, record.height))
        if whole:
            yield _embedded(record.image), whole.text


def _embedded(image: bytes) -> str:
    thumbnail = Image.fromarray(decode_rgb(image))
    thumbnail.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    thumbnail.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _curve(metrics: Path) -> Markup:
    """The training loss as a line and the held-out loss as dots, as inline SVG."""
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    training = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    held_out = [(line["step"], line["validation_loss"]) for line in lines if "validation_loss" in line]
    points = training + held_out
    last, (low, high) = max(step for step, _ in points), (f(v for _, v in points) for f in (min, max))
    width, height = CURVE_PX

    def place(step: int, loss: float) -> tuple[float, float]:
        return 44 + (width - 54) * step / last, 10 + (height - 34) * (high - loss) / max(high - low, 1e-12)

    line = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in training)
    dots = "".join(
        '<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="#d6602a"/>'.format(*place(*point)) for point in held_out
    )
    return Markup(
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="loss curve">'
        f'<polyline points="{line}" fill="none" stroke="#2a78d6" stroke-width="1.5"/>{dots}'
        f'<text x="2" y="16">{high:.3g}</text><text x="2" y="{height - 26}">{low:.3g}</text>'
        f'<text x="{width - 60}" y="{height - 4}">step {last}</text></svg>'
    )
