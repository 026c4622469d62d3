"""Claim: URLs are fetched at least 1.5 times as fast as by img2dataset on the same server and cores, memory bounded.

Peer: img2dataset 1.47.0 in an environment of its own (made under benchmarks/.venv-img2dataset, or IMG2DATASET names its
Python), at its fastest setting that keeps the original bytes. Politeness is off on our side, as it is not there on
theirs; address checks, byte caps, content checks and evidence stay on. Every URL is a host of its own by default
(--hosts), so that no connection is used twice, as in a shuffled crawl list. Start-up is left out on both sides.
Both write to memory (/dev/shm): ours waits until a part is on disk, theirs does not.
The clients run on half of the machine's cores, the server on the others. Its ceiling is a bare socket loop on the
clients' cores: no client is faster. On a machine with other work, trust the rate a second of processor time.
Run: python benchmarks/fetch.py [--photos FOLDER] [--images N] [--hosts N] [--rounds N]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from fetch_world import NUM_FILES, make_pictures, served, started

from supir_curate.config import CurateConfig, SourceConfig
from supir_curate.sources.plan import load_plan, make_plan
from supir_shards import Store

HERE = Path(__file__).parent
PEER = "img2dataset==1.47.0"
THREADS = (32, 128, 256)  # of the peer; the fastest counts
PART = 1000
ENDLESS_URLS = 256
ENDLESS_SECONDS = 30
ENDLESS_PEER_BYTES = 8 * 2**30  # address space that the peer may take before it is stopped


@dataclass(frozen=True, slots=True)
class Figures:
    """One run of one side: pictures, seconds, seconds of processor time, peak bytes of its largest process."""

    images: int
    seconds: float
    processor_s: float
    peak_bytes: int


def main() -> None:
    """Prints the table, the ratio, and what an endless server does to both."""
    options = _options()
    cores = sorted(os.sched_getaffinity(0))
    server_cores, client_cores = cores[: len(cores) // 2] or cores, cores[len(cores) // 2 :]
    memory = Path("/dev/shm")  # both sides write there, so that the disk is not what is measured
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        root = Path(folder)
        sizes = make_pictures(root / "pictures", options.photos)
        print(
            f"{options.images} URLs on {options.hosts or options.images} hosts; {NUM_FILES} JPEGs of", end=" "
        )
        print(
            f"{min(sizes) // 1000} to {max(sizes) // 1000} kB, {statistics.mean(sizes) / 1000:.0f} kB on average"
        )
        with served(root / "pictures", server_cores) as port:
            urls = [_url(port, number, options) for number in range(options.images)]
            _compare(root, urls, client_cores, options.rounds)
            _endless(root, port, client_cores)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=Path, help="folder of photos to serve; without, scikit-image's")
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--hosts", type=int, default=0, help="0: one a URL")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _url(port: int, number: int, options: argparse.Namespace) -> str:
    host = number % options.hosts if options.hosts else number
    address = f"127.{1 + host // 62500}.{host // 250 % 250}.{1 + host % 250}"
    return f"http://{address}:{port}/{number % NUM_FILES}.jpg"


def ours(root: Path, urls: list[str], cores: list[int]) -> Figures:
    """Fetches with a fetcher a core, into spool files."""
    dataset = root / "ours"
    shutil.rmtree(dataset, ignore_errors=True)
    pq.write_table(pa.table({"url": urls}), root / "urls.parquet")
    store = Store(dataset)
    plan = make_plan(store, str(root / "urls.parquet"), CurateConfig(source=SourceConfig(part_size=PART)))
    words = [sys.executable, str(HERE / "fetch_ours.py"), str(dataset)]
    fetchers = [
        started([*words, str(number), str(len(cores))], cores, stdout=subprocess.PIPE)
        for number in range(len(cores))
    ]
    figures = [json.loads(fetcher.communicate()[0].splitlines()[-1]) for fetcher in fetchers]
    reasons = [
        reason
        for part in plan.parts()
        for reason in store.read_table(f"spool/{part}.parquet", ["reason"]).column("reason").to_pylist()
    ]
    return Figures(
        images=reasons.count(None),
        seconds=max(one["ended"] for one in figures) - min(one["begun"] for one in figures),
        processor_s=sum(one["processor_s"] for one in figures),
        peak_bytes=max(one["peak_bytes"] for one in figures),
    )


def theirs(python: str, root: Path, urls: list[str], cores: list[int], threads: int) -> Figures:
    """Fetches with img2dataset, a process a core, into tars."""
    folder = root / "theirs"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (root / "urls.txt").write_text("\n".join(urls))
    words = [
        python,
        str(HERE / "fetch_peer.py"),
        str(root / "urls.txt"),
        str(folder),
        str(len(cores)),
        str(threads),
    ]
    process = started(words, cores, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process.wait()
    figures = [json.loads(path.read_text()) for path in folder.glob("measured-*.json")]
    stats = [json.loads(path.read_text()) for path in folder.glob("*_stats.json")]
    return Figures(
        images=sum(one["successes"] for one in stats),
        seconds=sum(one["ended"] - one["begun"] for one in figures) / len(cores),
        processor_s=sum(one["processor_s"] for one in figures),
        peak_bytes=max(one["peak_bytes"] for one in figures),
    )


def bare(urls: list[str], cores: list[int]) -> Figures:
    """Reads every URL over a connection of its own with nothing but a socket, four threads a core."""
    code = (
        "import socket,sys,time,threading\n"
        "from urllib.parse import urlsplit\n"
        "urls=[urlsplit(line) for line in sys.stdin.read().split()]\n"
        "begun,processor=time.time(),time.process_time()\n"
        "def work(mine):\n"
        "    buffer=bytearray(2**20)\n"
        "    for url in mine:\n"
        "        with socket.create_connection((url.hostname,url.port)) as one:\n"
        "            one.sendall(f'GET {url.path} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n'.encode())\n"
        "            while one.recv_into(buffer): pass\n"
        "threads=[threading.Thread(target=work,args=(urls[n::4],)) for n in range(4)]\n"
        "[one.start() for one in threads]; [one.join() for one in threads]\n"
        "print(begun,time.time(),time.process_time()-processor)\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    clients = [started([sys.executable, "-c", code], cores, **pipes) for _ in cores]
    for number, client in enumerate(clients):
        assert client.stdin
        client.stdin.write("\n".join(urls[number :: len(clients)]))
        client.stdin.close()
    said = [[float(word) for word in client.stdout.read().split()] for client in clients if client.stdout]
    seconds = max(one[1] for one in said) - min(one[0] for one in said)
    return Figures(len(urls), seconds, sum(one[2] for one in said), 0)


def _compare(root: Path, urls: list[str], cores: list[int], rounds: int) -> None:
    python = peer_python()
    sides: dict[str, Callable[[], Figures]] = {
        "bare sockets (ceiling)": lambda: bare(urls, cores),
        "supir-curate": lambda: ours(root, urls, cores),
    }
    if python:
        warm = urls[: len(urls) // 4]
        rates = {threads: _rate(theirs(python, root, warm, cores, threads)) for threads in THREADS}
        best = max(rates, key=rates.__getitem__)
        print(f"img2dataset's best of {THREADS} threads: {best}")
        sides["img2dataset"] = lambda: theirs(python, root, urls, cores, best)
    runs: dict[str, list[Figures]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            runs[name].append(run())
    for name, found in runs.items():
        lost = sum(len(urls) - one.images for one in found)
        print(
            f"  {name:<24}{statistics.median(map(_rate, found)):8.0f} images/s"
            f"{statistics.median(map(_processor_rate, found)):8.0f} a second of processor time"
            f"{max(one.peak_bytes for one in found) / 1e6:8.0f} MB at the peak   {lost} lost"
        )
    if python:
        for what, rate in (("images/s", _rate), ("a second of processor time", _processor_rate)):
            pairs = zip(runs["supir-curate"], runs["img2dataset"], strict=True)
            ratios = [rate(mine) / rate(other) for mine, other in pairs]
            print(
                f"  ratio, {what}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            )


def _rate(figures: Figures) -> float:
    return figures.images / figures.seconds


def _processor_rate(figures: Figures) -> float:
    return figures.images / figures.processor_s


def _endless(root: Path, port: int, cores: list[int]) -> None:
    urls = [
        f"http://127.0.{number // 250}.{1 + number % 250}:{port}/endless.jpg"
        for number in range(ENDLESS_URLS)
    ]
    found = ours(root, urls, cores)
    print(f"a server that never stops sending, {len(urls)} URLs")
    print(
        f"  supir-curate: all refused in {found.seconds:.0f} s, {found.peak_bytes / 1e6:.0f} MB at the peak"
    )
    assert found.images == 0
    assert load_plan(Store(root / "ours")).num_candidates == len(urls)
    python = peer_python()
    if python:
        print(f"  img2dataset: {_endless_peer(python, root, urls, cores)}")


def _endless_peer(python: str, root: Path, urls: list[str], cores: list[int]) -> str:
    """Lets the peer run for a while within limited memory; returns what it held."""
    import resource

    folder = root / "theirs"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (root / "urls.txt").write_text("\n".join(urls))

    def enter() -> None:
        os.setsid()
        os.sched_setaffinity(0, cores)
        resource.setrlimit(resource.RLIMIT_AS, (ENDLESS_PEER_BYTES, ENDLESS_PEER_BYTES))

    words = [python, str(HERE / "fetch_peer.py"), str(root / "urls.txt"), str(folder), "1", "32"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=enter)
    most, ended = 0, time.time() + ENDLESS_SECONDS
    while process.poll() is None and time.time() < ended:
        most = max(most, *_group_memory(process.pid))
        time.sleep(0.2)
    was_running = process.poll() is None
    os.killpg(process.pid, 9)
    process.wait()
    state = "still reading" if was_running else "ended"
    limit_mb = ENDLESS_PEER_BYTES / 1e6
    return f"{state} after {ENDLESS_SECONDS} s, {most / 1e6:.0f} MB at the peak, limited to {limit_mb:.0f}"


def _group_memory(group: int) -> Iterator[int]:
    yield 0
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, StopIteration, ValueError):
            if os.getpgid(int(place.name)) == group:
                lines = (place / "status").read_text().splitlines()
                yield next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def peer_python() -> str | None:
    """The Python that has img2dataset; None where it does not install, which is said."""
    given = os.environ.get("IMG2DATASET")
    if given:
        return given
    python = HERE / ".venv-img2dataset" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
        done = subprocess.run(
            [str(python), "-m", "pip", "install", "-q", PEER], capture_output=True, text=True
        )
        if done.returncode:
            shutil.rmtree(python.parents[1])
            print(f"{PEER} does not install here: {(done.stderr.splitlines() or ['no word'])[-1]}")
            return None
    return str(python)


if __name__ == "__main__":
    main()
