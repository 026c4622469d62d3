"""The sides that benchmarks/fetch.py compares: this package, img2dataset, and bare sockets as the ceiling."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from fetch_world import started

from supir_curate.config import CurateConfig, SourceConfig
from supir_curate.sources.plan import make_plan
from supir_shards import Store

HERE = Path(__file__).parent
PEER = "img2dataset==1.47.0"
PART = 1000


@dataclass(frozen=True, slots=True)
class Figures:
    """One run of one side: pictures, seconds, seconds of processor time, peak bytes of its largest process."""

    images: int
    seconds: float
    processor_s: float
    peak_bytes: int

    @property
    def rate(self) -> float:
        """Pictures a second."""
        return self.images / self.seconds

    @property
    def processor_rate(self) -> float:
        """Pictures a second of processor time."""
        return self.images / self.processor_s


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
