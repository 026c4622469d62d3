"""One fetcher process of benchmarks/fetch.py: the parts that fall to it, as one Ray actor fetches them.

Run by fetch.py: python benchmarks/fetch_ours.py DATASET NUMBER FETCHERS; prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time

import pyarrow as pa
import uvloop  # Ray's actors run on it too

from supir_curate.cluster import PARTS_A_FETCHER
from supir_curate.config import FetchConfig, FetchPace, FetchPolicy
from supir_curate.fetching.fetch import Fetcher
from supir_curate.sources.plan import load_plan
from supir_shards import Store

IMPOLITE = FetchPace(per_host_delay_s=0, per_host_concurrency=1000, concurrency=128, retries=0)
POLICY = FetchPolicy(honour_robots=False, honour_opt_out=False)


async def fetch(dataset: str, number: int, num_fetchers: int) -> None:
    """Fetches every part whose number falls to this fetcher, some at the same time."""
    parts = load_plan(Store(dataset)).parts()[number::num_fetchers]
    fetcher = Fetcher(FetchConfig(policy=POLICY, pace=IMPOLITE), True, num_fetchers, number)

    async def work() -> None:
        while parts:
            await fetcher.fetch_part(dataset, parts.pop(0))

    await asyncio.gather(*(work() for _ in range(PARTS_A_FETCHER)))
    await fetcher.close()


def peak_bytes() -> int:
    """The most memory this process held."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def load() -> None:
    """Loads what the first part would load, before the clock starts; theirs is loaded then too."""
    with tempfile.TemporaryDirectory() as folder:
        Store(folder).write_table("warm", pa.Table.from_pylist([{"row": 1}]))
        Store(folder).read_table("warm").to_pylist()


if __name__ == "__main__":
    load()
    begun, processor = time.time(), time.process_time()
    uvloop.run(fetch(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
    figures = {"begun": begun, "ended": time.time(), "processor_s": time.process_time() - processor}
    print(json.dumps(figures | {"peak_bytes": peak_bytes()}))
