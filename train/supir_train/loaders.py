"""Processes that make crops: what they make comes in the order that it was asked for, and one that dies is replaced.

Place in the flow: `data.py` asks for the crops of a batch's draws, and collates what comes. The laws it keeps: crops
depend on their draws alone, so a loader that is killed is replaced and its work made again by another, to the bit; and
a loader's private memory is its pictures and little else: it holds no model of the run and no torch, but where the
recipe has a network, and what it imports was imported by the fork server, whose memory all loaders share.
"""

from __future__ import annotations

import gc
import itertools
import logging
import multiprocessing
import queue
import signal
import socket
import threading
import traceback
import weakref
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.context import ForkServerContext

from supir_console import Unfinished, ignore_stop_signals, limit_threads
from supir_train.crop_maker import CropMaker, Made
from supir_train.launch import end_with_trainer
from supir_train.loader_channel import receive, send
from supir_train.order import Draw

PREFETCH = 4
"""So many pieces of work are under way or done before they are needed, a loader."""
FORGIVEN_DEATHS = 5
"""More loaders than this that die within `FORGIVEN_WITHIN` pieces of work end the run."""
FORGIVEN_WITHIN = 200
REAPED_S = 5.0

SHARED_MODULES = (
    __name__,
    "supir_images.decoding",
    "supir_shards.reader",
    *(
        f"supir_degrade.{name}"
        for name in ("camera", "codecs", "filters", "kernels", "moire", "noise", "pipeline", "video")
    ),
)
"""Imported once, by the fork server; otherwise the first crop would import them into each loader."""

Work = Sequence[Draw]
log = logging.getLogger(__name__)


class Loaders:
    """Loader processes; to be closed.

    Args:
        maker: makes the crops of a draw; each process gets a copy.
        count: number of processes.
        late_modules: what the maker may import later, shared by all if no loader was started before.
    """

    def __init__(self, maker: CropMaker, count: int, late_modules: Sequence[str] = ()) -> None:
        _context().set_forkserver_preload([*SHARED_MODULES, *late_modules])
        self._maker, self._count = maker, count
        self._idle: queue.SimpleQueue[_Loader] = queue.SimpleQueue()
        self._alive: set[_Loader] = set()
        self._lock = threading.Lock()
        self._made = 0
        self._deaths: deque[int] = deque()
        self._untold_deaths = 0
        self._is_closed = False
        # The system would wait for them at the trainer's exit, and they do not listen to its SIGTERM.
        self._end = weakref.finalize(self, _end_all, self._alive)
        for _ in range(count):
            self._idle.put(self._start())

    def made_in_order(self, work: Iterator[Work]) -> Generator[tuple[Work, list[Made]], None, None]:
        """Yields each piece of work with what was made of each of its draws.

        Raises:
            Unfinished: loaders die again and again.
            UserError: what the recipe needs went away.
        """
        threads = ThreadPoolExecutor(self._count, thread_name_prefix="loader")
        try:
            pending: deque[tuple[Work, Future[list[Made]]]] = deque()
            while True:
                for piece in itertools.islice(work, PREFETCH * self._count - len(pending)):
                    pending.append((piece, threads.submit(self._make, piece)))
                if not pending:
                    return
                piece, made = pending.popleft()
                yield piece, made.result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            self.close()

    def take_deaths(self) -> int:
        """Returns how many loaders died since this was last asked."""
        taken, self._untold_deaths = self._untold_deaths, 0
        return taken

    def close(self) -> None:
        """Ends the processes."""
        with self._lock:
            self._is_closed = True
            self._end()

    def _start(self) -> _Loader:
        try:
            loader = _Loader(self._maker)
        except (EOFError, OSError) as error:
            raise Unfinished(f"a loader process cannot be started: {error}") from error
        self._alive.add(loader)
        return loader

    def _make(self, work: Work) -> list[Made]:
        loader = self._idle.get()
        try:
            while True:
                try:
                    answer = loader.ask(work)
                    break
                except (EOFError, OSError):
                    with self._lock:
                        loader = self._instead_of(loader, work)
        finally:
            self._idle.put(loader)
        if isinstance(answer, Exception):
            raise answer
        with self._lock:
            self._made += 1
        return answer

    def _instead_of(self, dead: _Loader, work: Work) -> _Loader:
        """Returns another loader and tells the user; ends the run when this happens too often."""
        if self._is_closed:
            raise Unfinished("the loaders are closed")
        self._alive.discard(dead)
        how = dead.end()
        self._deaths.append(self._made)
        while self._made - self._deaths[0] > FORGIVEN_WITHIN:
            self._deaths.popleft()
        if len(self._deaths) > FORGIVEN_DEATHS:
            raise Unfinished(
                f"{len(self._deaths)} loader processes died within {self._made - self._deaths[0] + 1} batches, the "
                f"last {how} while it made crops of {', '.join(draw.key for draw in work)}; the machine may be short "
                "of memory: lower data.workers or data.cache_bytes; the same command goes on from the last checkpoint"
            )
        self._untold_deaths += 1
        log.warning("a loader died %s; another one makes its crops again, which changes no weight", how)
        return self._start()


class _Loader:
    """One process and the channel to it."""

    def __init__(self, maker: CropMaker) -> None:
        self._channel, theirs = socket.socketpair()
        self._process = _context().Process(target=_serve, args=(theirs, maker), daemon=True)
        try:
            self._process.start()
        finally:
            theirs.close()

    def ask(self, work: Work) -> list[Made] | Exception:
        """Returns what the process made of the work, or what it failed with.

        Raises:
            EOFError: the process is gone.
            OSError: likewise.
        """
        send(self._channel, work)
        return receive(self._channel)

    def end(self) -> str:
        """Kills the process if it still lives; returns how it ended."""
        self._process.kill()
        self._process.join(REAPED_S)
        self._channel.close()
        code = self._process.exitcode or 0
        return f"by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"with exit code {code}"


def _context() -> ForkServerContext:
    """How processes start: a plain fork would inherit locks of OpenCV's and Ray's threads, and wait for ever."""
    return multiprocessing.get_context("forkserver")


def _end_all(loaders: set[_Loader]) -> None:
    for loader in loaders:
        loader.end()
    loaders.clear()


def _serve(channel: socket.socket, maker: CropMaker) -> None:
    """The life of a loader process."""
    ignore_stop_signals()  # the trainer heeds them, and needs its batches until the checkpoint is written
    end_with_trainer()
    limit_threads(1)  # a loader must not fight the trainer for cores
    # A full collection would write to every object of the fork server, and so make 170 MB of them this process's own.
    gc.freeze()
    while True:
        try:
            work = receive(channel)
        except (EOFError, OSError):
            return
        try:
            answer: list[Made] | Exception = [maker(draw) for draw in work]
        except Exception as error:
            error.add_note(traceback.format_exc())
            answer = error
        send(channel, answer)
