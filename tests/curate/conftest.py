"""Real photos from installed packages, their fakes, and datasets made of them."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner
from web_server import WebServer

from supir_console import load_config
from supir_curate import pipeline
from supir_curate.cli import app
from supir_curate.config import CurateConfig, FetchConfig
from supir_curate.fetching.fetch import Fetcher
from supir_curate.reporting.report import write_report
from supir_curate.selection.select import select
from supir_curate.sources.candidate import Candidate
from supir_curate.sources.originals import Original
from supir_shards import Store

Rgb = NDArray[np.uint8]


@pytest.fixture(scope="session")
def photos() -> dict[str, Rgb]:
    """Seven photos, 300 to 640 px high, uint8 RGB."""
    import skimage
    from sklearn.datasets import load_sample_image

    folder = Path(skimage.__file__).parent / "data"
    names = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "motorcycle_left.png")
    read = {name.partition(".")[0]: np.array(Image.open(folder / name).convert("RGB")) for name in names}
    return read | {name: np.array(load_sample_image(f"{name}.jpg")) for name in ("china", "flower")}


@pytest.fixture(scope="session")
def enlarged() -> Callable[[Rgb, float], Rgb]:
    """Reduces a picture by a factor and enlarges it back, bicubic: the usual fake."""

    def fake(rgb: Rgb, factor: float) -> Rgb:
        height, width = rgb.shape[:2]
        small = cv2.resize(rgb, (round(width / factor), round(height / factor)), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)

    return fake


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """Encodes an array as a file: encode(rgb, "JPEG", quality=80)."""

    def to_bytes(pixels: Rgb, name: str, **options: object) -> bytes:
        sink = io.BytesIO()
        Image.fromarray(pixels).save(sink, name, **options)
        return sink.getvalue()

    return to_bytes


@pytest.fixture(scope="session")
def jpeg(photos: dict[str, Rgb], encode: Callable[..., bytes]) -> bytes:
    """One photo as a web server sends it."""
    return encode(photos["chelsea"], "JPEG", quality=80)


def gray(rgb: Rgb) -> NDArray[np.uint8]:
    """Luma."""
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


@pytest.fixture(scope="session")
def luma() -> Callable[[Rgb], NDArray[np.uint8]]:
    """Luma of an RGB picture."""
    return gray


@pytest.fixture(scope="session")
def separation() -> Callable[[list[float], list[float]], float]:
    """Area under the ROC curve: the share of pairs in which the first list's value is higher."""

    def area(higher: list[float], lower: list[float]) -> float:
        pairs = np.subtract.outer(np.array(higher), np.array(lower))
        return float((pairs > 0).mean() + 0.5 * (pairs == 0).mean())

    return area


@pytest.fixture(scope="session")
def fetched() -> Callable[..., list[Original]]:
    """Fetches URLs and returns the originals in order: fetched(config, urls, allow_private=True)."""

    def run(config: FetchConfig, urls: Iterable[str], *, allow_private: bool = True) -> list[Original]:
        async def collect() -> list[Original]:
            fetcher = Fetcher(config, allow_private, 1)
            try:
                return [one async for batch in fetcher.originals(map(Candidate, urls)) for one in batch]
            finally:
                await fetcher.close()

        return asyncio.run(collect())

    return run


CURATE = Path(sys.executable).with_name("supir-curate")


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory, photos: dict[str, Rgb]) -> Path:
    """A folder of 60 files: 42 crops of photos, and what a crawl brings besides."""
    folder = tmp_path_factory.mktemp("collection")
    crops = [
        (f"{name}-{number}", rgb[top : top + 210, left : left + 240])
        for name, rgb in photos.items()
        for number, (top, left) in enumerate([(0, 0), (0, 110), (40, 200), (80, 60), (85, 160), (60, 205)])
    ]
    for number, (name, crop) in enumerate(crops):
        subfolder = folder / f"set-{number % 3}"
        subfolder.mkdir(exist_ok=True)
        Image.fromarray(crop).save(subfolder / f"{name}.jpg", quality=92)
    others = folder / "others"
    others.mkdir()
    for number, name in enumerate(("astronaut", "coffee", "rocket", "china")):
        crop = photos[name][20:250, 30:290]
        Image.fromarray(crop).save(others / f"copy-{number}.webp", quality=90)
        Image.fromarray(cv2.GaussianBlur(crop, (0, 0), 6)).save(others / f"blurred-{number}.png")
        Image.fromarray(crop).save(others / f"strong-{number}.jpg", quality=12)
    (others / "same.jpg").write_bytes((folder / "set-0" / "astronaut-0.jpg").read_bytes())
    Image.fromarray(photos["flower"][:60, :300]).save(others / "small.jpg")
    Image.fromarray(gray(photos["flower"])).save(others / "<i>grey.jpg")
    (others / "<b>cut.jpg").write_bytes((folder / "set-1" / "coffee-1.jpg").read_bytes()[:3000])
    (others / "page.jpg").write_text("<html>404</html>")
    stills = [Image.new("RGB", (200, 200), colour) for colour in ("red", "blue")]
    stills[0].save(others / "moving.gif", save_all=True, append_images=stills[1:])
    (others / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="session")
def settings() -> list[str]:
    """Config for the small pictures of these tests."""
    values = ("source.part_size=7", "select.rules.below_min_side.limit=100", "fetch.pace.per_host_delay_s=0")
    return [word for value in values for word in ("--set", value)]


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    summary: dict[str, Any]


@pytest.fixture(scope="module")
def curate(connected_ray: None) -> Callable[..., Outcome]:
    """Runs a command in this process; its error is raised as it is."""

    return invoked


def invoked(*words: object) -> Outcome:
    """Runs a command in this process; its error is raised as it is."""
    result = CliRunner().invoke(app, [*map(str, words), "--json"])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, json.loads(result.stdout))


@pytest.fixture(scope="session")
def command() -> Callable[..., list[str]]:
    """The installed command's words, for a process of its own."""
    return lambda *words: [str(CURATE), *map(str, words)]


@pytest.fixture(scope="session")
def content() -> Callable[[Path], dict[str, str]]:
    """The SHA-256 of every file of a dataset, by path, but for how long its run took."""

    def hashes(dataset: Path) -> dict[str, str]:
        store = Store(dataset)
        files = {path: store.read(path) for path in store.list() if not path.startswith("log/")}
        if "report/index.html" in files:
            page = files["report/index.html"]
            files["report/index.html"] = re.sub(rb"<h2>Throughput.*?(?=<h2>Failures)", b"", page, flags=re.S)
        return {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}

    return hashes


@pytest.fixture(scope="module")
def curated(
    curate: Callable[..., Outcome],
    collection: Path,
    settings: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Outcome]:
    """The collection's dataset, made without interruption, and how its run ended."""
    dataset = tmp_path_factory.mktemp("curated") / "dataset"
    return dataset, curate("run", collection, "-o", dataset, *settings)


class InThisProcess:
    """Works on parts one after the other, where the commands have a cluster."""

    def run(self, work: Callable[[str], Any], parts: list[str], _fetching: object = None) -> Iterator[Any]:
        """Yields each part's result."""
        return map(work, parts)

    def spread(self, list_files: Callable[[list[str]], Iterator[Any]], files: list[str]) -> Iterator[Any]:
        """Yields the tables of the files."""
        return list_files(files)


@pytest.fixture(scope="session")
def config(settings: list[str]) -> CurateConfig:
    """The config of `settings`."""
    return load_config(CurateConfig, None, settings[1::2])


@pytest.fixture(scope="session")
def in_this_process() -> Any:
    """Stands where the commands have a cluster."""
    return InThisProcess()


@pytest.fixture(scope="session")
def finished(
    collection: Path, config: CurateConfig, in_this_process: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The collection's dataset, made without Ray; not to be changed."""
    store = Store(tmp_path_factory.mktemp("finished") / "dataset")
    plan = pipeline.score(store, str(collection), config, in_this_process, allow_private=False)
    select(store, plan, config.select)
    pipeline.pack(store, plan, config, in_this_process)
    write_report(store, plan, config)
    return Path(store.url)


@pytest.fixture
def own_copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished dataset that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "own"))


@pytest.fixture(scope="session")
def here() -> Callable[..., Outcome]:
    """Runs a command that needs no Ray in this process; its error is raised as it is."""
    return invoked


@pytest.fixture(scope="session")
def url_source(
    web_server: Callable[..., WebServer],
    page: Callable[..., Any],
    collection: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[WebServer, Path]:
    """A server of part of the collection, and a Parquet file of its URLs with LAION's columns."""
    files = sorted(collection.rglob("*-*.jpg"))[:20]
    pages = {f"/{path.name}": page(200, path.read_bytes(), {"Content-Type": "image/jpeg"}) for path in files}
    server = web_server(pages | {"/refused.jpg": page(200, b"x", {"X-Robots-Tag": "noai"})})
    paths = [*pages, "/refused.jpg", "/gone.jpg"]
    table = pa.table(
        {
            "URL": [server.url(path) for path in paths],
            "TEXT": [f"a picture called {path}" for path in paths],
            "LICENSE": ["CC-BY-4.0" if number % 2 else None for number in range(len(paths))],
        }
    )
    parquet = tmp_path_factory.mktemp("urls") / "urls.parquet"
    pq.write_table(table, parquet)
    return server, parquet
