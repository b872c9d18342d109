"""Worker processes that process cells in parallel.

A worker is a fresh interpreter. It receives a copy of the task through a pipe and writes its predictions to
the task's store: the same files as those of a single process.
"""

import multiprocessing
import pickle
import signal
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, Final, NamedTuple, Self

from gpu_ssl.errors import GpuSslError
from gpu_ssl.methods.evaluation import Cell, CellTask
from gpu_ssl.runtime.background import BackgroundWriter
from gpu_ssl.runtime.progress import Advance
from gpu_ssl.runtime.threads import limited_threads, n_threads

GRACE: Final = 10.0
"""Seconds after which a worker that was asked to stop is killed."""

ENDED_EARLY: Final = "a worker process ended early: it may have been killed for lack of memory; lower `jobs`"


class _Progress(NamedTuple):
    note: str
    steps: float


class _Done(NamedTuple):
    """The last message about a cell, with its `error`, if any."""

    error: Exception | None = None


class _Worker(NamedTuple):
    process: multiprocessing.process.BaseProcess
    connection: Connection


class Workers:
    """Processes cells in several processes, each with as many threads as this process has now.

    The processes start when first needed and stop at the end of the ``with`` block, finished or not.

    Parameters
    ----------
    jobs : int
        Maximum number of processes.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(GRACE)
            worker.process.kill()
            worker.connection.close()
        self._workers = []

    def __call__(self, task: CellTask, cells: Sequence[Cell], advance: Advance) -> None:
        """Process cells of a task, those with most labels first; see `methods.evaluation.DoCells`.

        Raises
        ------
        GpuSslError
            If a worker ends early.
        Exception
            Any error of a method.
        """
        copy = pickle.dumps((task, n_threads()), pickle.HIGHEST_PROTOCOL)
        waiting = deque(sorted(cells, key=lambda cell: -cell.labels))
        with task.train.stopwatch.phase("fit"):
            free = self._start(min(self.jobs, len(cells)))
            for connection in free:
                _send(connection, copy)
            busy: list[Connection] = []
            while waiting or busy:
                while waiting and free:
                    busy.append(free.pop())
                    _send(busy[-1], pickle.dumps(waiting.popleft()))
                ready = wait(busy)
                for connection in [each for each in busy if each in ready]:
                    message = _receive(connection)
                    if isinstance(message, _Progress):
                        advance(*message)
                        continue
                    if message.error is not None:
                        raise message.error
                    busy.remove(connection)
                    free.append(connection)

    def _start(self, n: int) -> list[Connection]:
        """Return the connections to `n` workers."""
        context = multiprocessing.get_context("spawn")
        while len(self._workers) < n:
            own, connection = context.Pipe()
            process = context.Process(target=_work, args=(connection,), daemon=True)
            process.start()
            connection.close()
            self._workers.append(_Worker(process, own))
        return [worker.connection for worker in self._workers[:n]]


def _send(connection: Connection, content: bytes) -> None:
    """Send a pickled object; a broken pipe would be taken for that of stdout."""
    try:
        connection.send_bytes(content)
    except ConnectionError:
        raise GpuSslError(ENDED_EARLY) from None


def _receive(connection: Connection) -> Any:
    try:
        return connection.recv()
    except (EOFError, ConnectionError):
        raise GpuSslError(ENDED_EARLY) from None


def _work(connection: Connection) -> None:
    """Process what arrives through the connection, until it is closed."""
    # Ctrl-C goes to all processes of a terminal; the parent process ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)

    def advance(note: str, steps: float = 1) -> None:
        connection.send(_Progress(note, steps))

    with suppress(EOFError, ConnectionError):
        received = connection.recv()
        while True:
            task, threads = received
            with limited_threads(threads):
                while isinstance(received := connection.recv(), Cell):
                    connection.send(_done(task, received, advance))


def _done(task: CellTask, cell: Cell, advance: Advance) -> _Done:
    try:
        with BackgroundWriter(task.train.stopwatch) as write:
            task.do([cell], advance, write)
    except (EOFError, ConnectionError):
        raise
    except Exception as error:  # noqa: BLE001 - the waiting process raises it
        return _Done(error)
    return _Done()


def _stop(signum: int, frame: object) -> None:
    """Exit normally, so that no partly written file remains."""
    raise SystemExit(128 + signum)
