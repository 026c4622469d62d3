"""A source's files listed over a cluster by Ray Data: names out, tables of candidates back, in the names' order.

Place in the flow: `cluster.spread` calls it for a source of many files, inside the one Ray session. The law: the order
is the files' own, whoever lists them first; what waits for the driver is bounded. Ray Data takes half of the object
store (128 of the 256 MB of a session started here) and stops giving out files while it is full: a file under way may
have two blocks of `BLOCK_BYTES` there. Files and pictures never pass through it.

Source: Ray Data's `DataContext` and `ExecutionOptions.preserve_order` as ray 2.60 has them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

from supir_console import NodeWait, Unfinished

if TYPE_CHECKING:
    import pyarrow as pa

    from supir_curate.sources.listing import ListFiles

BLOCK_BYTES = 4 * 2**20
POLL_S = 1.0
TASKS = 64  # at least, where files are few; more of them go into a task up to FILES_A_TASK
FILES_A_TASK = 16


def listed_by_ray(list_files: ListFiles, files: Sequence[str], workers: int | None) -> Iterator[pa.Table]:
    """Yields the tables of files in the files' order.

    Args:
        list_files: pickles; lists some files. It records what is wrong with a file and raises nothing.
        files: escaped paths.
        workers: files are listed by so many processes at most; None for every core.

    Raises:
        Unfinished: Ray or a node died under it, or no node is left for the work.
    """
    import ray
    from ray.data import DataContext, TaskPoolStrategy, from_items

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = BLOCK_BYTES

    def tables_of(names: pa.Table) -> Iterator[pa.Table]:
        yield from list_files(names.column("item").to_pylist())

    files_a_task = max(1, min(FILES_A_TASK, len(files) // TASKS))
    with DataContext.current(context):
        names = from_items(list(files), override_num_blocks=-(-len(files) // files_a_task))
        listings = names.map_batches(
            tables_of, batch_size=None, batch_format="pyarrow", compute=TaskPoolStrategy(workers)
        )
    try:
        yield from _watched(
            iter(listings.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1))
        )
    except ray.exceptions.RayTaskError:
        raise  # our defect
    except ray.exceptions.RayError as error:
        raise Unfinished(f"listing the source stopped ({error}); run the same command again") from error


def _watched(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yields the same tables; a cluster that has no node for the next one for too long raises Unfinished."""
    while True:
        nodes = NodeWait(lambda: {"CPU": 1})
        coming = _next_in_thread(tables)
        while True:
            try:
                table = coming.result(timeout=POLL_S)
                break
            except TimeoutError:
                if coming.done():
                    raise  # the listing's own
                nodes.check()
        if table is None:
            return
        yield table


def _next_in_thread(tables: Iterator[pa.Table]) -> Future[pa.Table | None]:
    """The next table, None at the end, waited for by a thread that does not keep the process if it never comes."""
    future: Future[pa.Table | None] = Future()

    def pull() -> None:
        try:
            future.set_result(next(tables, None))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=pull, daemon=True).start()
    return future
