"""Claim: URLs are fetched at least 1.5 times as fast as by img2dataset on the same server and cores, memory bounded.

Peer: img2dataset 1.47.0 in an environment of its own (made under benchmarks/.venv-img2dataset, or IMG2DATASET names its
Python), at its fastest setting that keeps the original bytes, time-out as ours. Neither side decodes or hashes (ours
hashes when it scores). Politeness is off on our side, as it is not there on theirs; address checks, byte caps, content
checks and evidence stay on. Every URL is a host of its own by default (--hosts), so that no connection is used twice,
as in a shuffled crawl list; hosts are addresses, so that no name is resolved. Start-up is left out on both sides.
Both write to memory (/dev/shm): ours waits until a part is on disk, theirs does not.
The clients run on half of the machine's cores, the server on the others. Its ceiling is a bare socket loop on the
clients' cores: no client is faster. On a machine with other work, trust the rate a second of processor time.
Then one URL in a hundred answers after 20 s, and at last a server never stops sending.
Run: python benchmarks/fetch.py [--photos FOLDER] [--images N] [--hosts N] [--rounds N]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fetch_server import SLOW_SECONDS
from fetch_sides import HERE, Figures, bare, ours, peer_python, theirs
from fetch_world import NUM_FILES, make_pictures, served

from supir_curate.sources.plan import load_plan
from supir_shards import Store

THREADS = (32, 128, 256)  # of the peer; the fastest counts
SLOW_EVERY = 100
SLOW_URLS = 16_000
SLOW_URLS_PEER = 3000  # it waits for the slow ones of every thousand
ENDLESS_URLS = 256
ENDLESS_SECONDS = 30
ENDLESS_PEER_BYTES = 8 * 2**30  # address space that the peer may take before it is stopped


def main() -> None:
    """Prints the table, the ratio, and what slow URLs and an endless server do to both."""
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
            _slow(root, port, client_cores)
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


def _compare(root: Path, urls: list[str], cores: list[int], rounds: int) -> None:
    python = peer_python()
    sides: dict[str, Callable[[], Figures]] = {
        "bare sockets (ceiling)": lambda: bare(urls, cores),
        "supir-curate": lambda: ours(root, urls, cores),
    }
    if python:
        warm = urls[: len(urls) // 4]
        rates = {threads: theirs(python, root, warm, cores, threads).rate for threads in THREADS}
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
            f"  {name:<24}{statistics.median(one.rate for one in found):8.0f} images/s"
            f"{statistics.median(one.processor_rate for one in found):8.0f} a second of processor time"
            f"{max(one.peak_bytes for one in found) / 1e6:8.0f} MB at the peak   {lost} lost"
        )
    if python:
        for what, rate in (("images/s", "rate"), ("a second of processor time", "processor_rate")):
            pairs = zip(runs["supir-curate"], runs["img2dataset"], strict=True)
            ratios = [getattr(mine, rate) / getattr(other, rate) for mine, other in pairs]
            print(
                f"  ratio, {what}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            )


def _slow(root: Path, port: int, cores: list[int]) -> None:
    """Says what slow URLs cost: without them, and with one in a hundred."""
    python = peer_python()
    sides: dict[str, Callable[[int], Figures]] = {
        "supir-curate": lambda every: ours(root, _some_slow(port, SLOW_URLS, every), cores)
    }
    if python:
        sides["img2dataset"] = lambda every: theirs(
            python, root, _some_slow(port, SLOW_URLS_PEER, every), cores, max(THREADS)
        )
    print(f"one URL in {SLOW_EVERY} answers after {SLOW_SECONDS} s")
    for name, run in sides.items():
        plain, slow = run(0), run(SLOW_EVERY)
        print(
            f"  {name:<24}{slow.rate:8.0f} images/s, {slow.rate / plain.rate:.2f} of {plain.rate:.0f} without;"
            f" {slow.images} pictures in {slow.seconds:.0f} s, {slow.peak_bytes / 1e6:.0f} MB at the peak"
        )


def _some_slow(port: int, count: int, every: int) -> list[str]:
    hosts = [f"127.{1 + number // 62500}.{number // 250 % 250}.{1 + number % 250}" for number in range(count)]
    kinds = ["slow/" if every and number % every == 0 else "" for number in range(count)]
    return [
        f"http://{host}:{port}/{kind}{number % NUM_FILES}.jpg"
        for number, (host, kind) in enumerate(zip(hosts, kinds, strict=True))
    ]


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


if __name__ == "__main__":
    main()
