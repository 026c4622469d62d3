"""What benchmarks/fetch.py runs its clients against: real JPEGs, and a server of them on cores of its own."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

NUM_FILES = 64


def make_pictures(folder: Path, photos: Path | None) -> list[int]:
    """Writes real JPEGs of about 50 to 500 kB; returns their bytes."""
    import skimage
    from PIL import Image

    from supir_images import decode_rgb

    folder.mkdir()
    source = photos or Path(skimage.__file__).parent / "data"
    found = sorted(path for path in source.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    large = [path for path in found if path.stat().st_size > 50_000]
    for number in range(NUM_FILES):
        image = Image.fromarray(decode_rgb(large[number % len(large)].read_bytes()))
        side = 600 + 25 * number  # small and large ones
        image = image.resize((side, side * image.height // image.width), Image.Resampling.LANCZOS)
        for quality in (92, 85, 75, 60, 40, 20):
            sink = io.BytesIO()
            image.save(sink, "JPEG", quality=quality)
            if len(sink.getvalue()) <= 500_000:
                break
        (folder / f"{number:03}.jpg").write_bytes(sink.getvalue())
    return [path.stat().st_size for path in folder.iterdir()]


@contextlib.contextmanager
def served(folder: Path, cores: list[int]) -> Iterator[int]:
    """A server process a core, all on one port."""
    with socket.socket() as free:
        free.bind(("0.0.0.0", 0))
        port = int(free.getsockname()[1])
    words = [sys.executable, str(Path(__file__).parent / "fetch_server.py"), str(folder), str(port)]
    servers = [started(words, [core]) for core in cores]
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/0.jpg").read()
                break
            time.sleep(0.1)
        yield port
    finally:
        for server in servers:
            server.kill()
            server.wait()


def started(words: list[str], cores: list[int], **options: object) -> subprocess.Popen[str]:
    """Starts a process on some cores alone."""
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        words, text=True, preexec_fn=lambda: os.sched_setaffinity(0, cores), **options
    )
