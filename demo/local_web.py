"""A small web of real photos and of the junk that surrounds photos on the real one, served on loopback.

Each entry carries the `kind` it was made as, which curation never sees; the demo's page shows what became
of each kind. A few paths are forbidden by robots.txt or by an X-Robots-Tag header.
"""

from __future__ import annotations

import io
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageFilter

from supir_images import decode_rgb

MAX_SIDE_PX = 1600
ROBOTS = b"User-agent: *\nDisallow: /private/\n"


@dataclass(frozen=True, slots=True)
class Entry:
    """One URL of the web: its path, its bytes and what it was made as."""

    path: str
    content: bytes
    kind: str
    title: str


def build_web(photos: list[Path], seed: int = 0) -> list[Entry]:
    """Returns the entries of the web: every photo, and fakes, copies and junk made from them."""
    rng = random.Random(seed)
    entries: list[Entry] = []
    for number, path in enumerate(photos):
        image = Image.fromarray(decode_rgb(path.read_bytes()))
        image.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), Image.Resampling.LANCZOS)
        title = path.stem.replace("_", " ")
        kept = path.read_bytes() if path.suffix.lower() in {".jpg", ".jpeg"} else _jpeg(image, 95)
        entries.append(Entry(f"/photos/{number:02d}.jpg", kept, "photo", title))
        entries += (
            Entry(f"/{kind.replace(' ', '-')}/{number:02d}.jpg", content, kind, title)
            for kind, content in _variants(image, kept, number)
        )
    return [*entries, *_junk(rng), *_opted_out(photos[:2])]


def write_url_list(entries: list[Entry], base_url: str, path: Path) -> None:
    """Writes the URLs as a Parquet of LAION's columns (URL, TEXT, LICENSE) plus two that lead nowhere."""
    rows = [(base_url + entry.path, entry.title, "see the package the photo comes from") for entry in entries]
    rows += [(base_url + "/gone/0.jpg", "gone", ""), ("file:///etc/hostname", "not http", "")]
    columns = [list(column) for column in zip(*rows, strict=True)]
    pq.write_table(pa.table(columns, names=["URL", "TEXT", "LICENSE"]), path)


@contextmanager
def serve(entries: list[Entry]) -> Iterator[str]:
    """Serves `entries` on a free loopback port and gives the base URL."""
    pages = {entry.path: entry for entry in entries}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            entry = pages.get(self.path)
            body = ROBOTS if self.path == "/robots.txt" else entry.content if entry else b"not here"
            self.send_response(200 if entry or self.path == "/robots.txt" else 404)
            self.send_header("Content-Type", "image/jpeg" if entry else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            if entry and entry.kind == "opted out (header)":
                self.send_header("X-Robots-Tag", "noai")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Says nothing: the ledger holds the evidence of every request."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _variants(image: Image.Image, original: bytes, number: int) -> Iterator[tuple[str, bytes]]:
    width, height = image.size
    match number % 7:
        case 0:
            yield "exact copy", original
            yield "upscaled fake", _jpeg(_resized(_resized(image, 0.4), 2.5, (width, height)), 95)
        case 1:
            yield "resized copy", _jpeg(_resized(image, 0.8), 92)
            yield "blurred", _jpeg(image.filter(ImageFilter.GaussianBlur(3)), 95)
        case 2:
            yield "over-compressed", _jpeg(image, 8)
            yield "thumbnail", _jpeg(_resized(image, 128 / max(width, height)), 90)
        case 3:
            yield "upscaled fake", _jpeg(_resized(_resized(image, 0.5), 2.0, (width, height)), 95)
            yield "truncated", original[: len(original) // 3]
        case 4:
            yield "blurred", _jpeg(image.filter(ImageFilter.GaussianBlur(4)), 95)
            yield "exact copy", original
        case 5:
            yield "over-compressed", _jpeg(image, 6)
            yield "resized copy", _jpeg(_resized(image, 0.7), 95)
        case _:
            yield "thumbnail", _jpeg(_resized(image, 96 / max(width, height)), 90)
            yield "upscaled fake", _jpeg(_resized(_resized(image, 0.33), 3.0, (width, height)), 95)


def _junk(rng: random.Random) -> Iterator[Entry]:
    words = ["the", "photo", "settings", "export", "layer", "file", "view", "select", "help", "undo", "print"]
    for number in range(4):
        page = Image.new("RGB", (900, 640), (250, 250, 250))
        draw = ImageDraw.Draw(page)
        draw.rectangle((0, 0, 900, 36), fill=(40, 60, 120))
        for line in range(26):
            draw.text((24, 52 + 22 * line), " ".join(rng.choices(words, k=14)), fill=(20, 20, 20))
        entry_bytes = io.BytesIO()
        page.save(entry_bytes, "PNG")
        yield Entry(f"/screens/{number}.png", entry_bytes.getvalue(), "text screenshot", "screenshot")
    for number in range(3):
        yield Entry(f"/corrupt/{number}.jpg", rng.randbytes(4000), "corrupt bytes", "noise")
    yield Entry("/page.jpg", b"<html><body>an error page</body></html>", "web page", "page")


def _opted_out(photos: list[Path]) -> Iterator[Entry]:
    for photo, (folder, how) in zip(photos, [("private", "robots.txt"), ("art", "header")], strict=True):
        image = Image.fromarray(decode_rgb(photo.read_bytes()))
        mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        yield Entry(f"/{folder}/0.jpg", _jpeg(mirrored, 92), f"opted out ({how})", "opted out")


def _resized(image: Image.Image, factor: float, size: tuple[int, int] | None = None) -> Image.Image:
    target = size or (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(target, Image.Resampling.BICUBIC)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
