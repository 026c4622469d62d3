"""SIGKILL at any moment, then the same command again: the same bytes as without."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
from limits import HANGS_AFTER_S

from supir_shards import verify


def killed_when(words: list[str], dataset: Path, pattern: str, count: int) -> bool:
    """Starts a command and kills its process once the dataset has `count` files like `pattern`.

    Returns whether it was still running then.
    """
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + HANGS_AFTER_S
    while process.poll() is None and len(list(dataset.glob(pattern))) < count:
        assert time.monotonic() < deadline, f"no {count} files {pattern} in {HANGS_AFTER_S} s"
        time.sleep(0.002)
    was_running = process.poll() is None
    process.kill()
    process.wait()
    if was_running:
        # Ray's processes notice the death by themselves; this only makes sure none outlives the test.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return was_running


def finished(words: list[str]) -> int:
    return subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode


def test_a_folder_run_killed_twice_ends_with_the_same_bytes(
    command, curated, collection, settings, tmp_path, content
):
    dataset = tmp_path / "dataset"
    words = command("run", collection, "-o", dataset, "--workers", 2, *settings)
    assert killed_when(words, dataset, "ledger/part-*.parquet", 3)
    assert killed_when(words, dataset, "index/part-*.parquet", 1)
    assert not (dataset / "dataset.json").exists()
    assert finished(words) == 1
    assert content(dataset) == content(curated[0])
    assert verify(dataset) == []


def test_a_url_run_killed_while_fetching_asks_no_finished_part_again(
    command, curate, url_source, settings, tmp_path, content
):
    server, parquet = url_source
    options = ("--allow-private", "--keep-spool", *settings)
    whole, dataset = tmp_path / "whole", tmp_path / "dataset"
    curate("run", parquet, "-o", whole, *options)
    words = command("run", parquet, "-o", dataset, "--workers", 2, *options)
    assert killed_when(words, dataset, "spool/part-*.parquet", 1)
    parts = [int(path.stem.rpartition("-")[2]) for path in dataset.glob("spool/part-*.parquet")]
    urls = [row["URL"] for row in pq.read_table(parquet).to_pylist()]
    finished_urls = {url for part in parts for url in urls[7 * part : 7 * part + 7]}
    before = len(server.requests)
    assert finished(words) == 1
    pictures = [server.url(path) for _, _, path in server.requests[before:] if path != "/robots.txt"]
    assert finished_urls
    assert finished_urls.isdisjoint(pictures)
    assert len(pictures) == len(set(pictures)) <= 22 - len(finished_urls)
    assert content(dataset) == content(whole)
