"""img2dataset's side of benchmarks/fetch.py, run by the Python of its own environment.

Its fastest setting for keeping the original bytes: nothing decoded or encoded, no hash, no EXIF, WebDataset tars.
Seconds, processor time and memory are taken around its own `download_shard`, so that starting and importing is free.
Run by fetch.py: PYTHON benchmarks/fetch_peer.py URLS FOLDER PROCESSES THREADS
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from pathlib import Path

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import img2dataset.downloader as downloader

SHARD = 1000
MEASURED = downloader.Downloader.download_shard


@functools.wraps(MEASURED)
def download_shard(self: object, row: tuple[int, str]) -> None:
    """Runs theirs and leaves the figures beside its shard."""
    begun, processor = time.time(), time.process_time()
    MEASURED(self, row)
    figures = {"begun": begun, "ended": time.time(), "processor_s": time.process_time() - processor}
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    name = f"measured-{row[0]}-{os.getpid()}.json"
    (Path(sys.argv[2]) / name).write_text(json.dumps(figures | {"peak_bytes": peak, "pid": os.getpid()}))


downloader.Downloader.download_shard = download_shard  # spawned processes load this file again

if __name__ == "__main__":
    downloader_options = {"processes_count": int(sys.argv[3]), "thread_count": int(sys.argv[4])}
    from img2dataset import download

    download(
        sys.argv[1],
        output_folder=sys.argv[2],
        output_format="webdataset",
        input_format="txt",
        disable_all_reencoding=True,
        resize_mode="no",
        extract_exif=False,
        compute_hash=None,
        timeout=60,  # as ours
        number_sample_per_shard=SHARD,
        **downloader_options,
    )
