"""Worker processes that do cells side by side.

A worker is a fresh interpreter. It gets a copy of the task through a pipe and leaves what it predicted in the
task's store: the same files as those of one process that does one cell after the other.
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
from gpu_ssl.runtime.progress import Advance
from gpu_ssl.runtime.threads import limited_threads, n_threads

GRACE: Final = 10.0
"""Seconds that a worker has to stop before it is killed."""


class _Progress(NamedTuple):
    note: str
    steps: float


class _Done(NamedTuple):
    """The last message about a cell; `error` is what went wrong, if anything."""

    error: Exception | None = None


class _Worker(NamedTuple):
    process: multiprocessing.process.BaseProcess
    connection: Connection


class Workers:
    """Does cells in several processes at a time, on as many threads each as this process has now.

    The processes start when they are first needed and stop at the end of the ``with`` block, finished or not.

    Parameters
    ----------
    jobs : int
        Most processes at a time.
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
        """Do cells of a task, those with most labels first; see `methods.evaluation.DoCells`.

        Raises
        ------
        GpuSslError
            If a worker ends before its work does.
        Exception
            What a method raises.
        """
        copy = pickle.dumps((task, n_threads()), pickle.HIGHEST_PROTOCOL)
        waiting = deque(sorted(cells, key=lambda cell: -cell.labels))
        with task.train.stopwatch.phase("fit"):
            free = self._start(min(self.jobs, len(cells)))
            for connection in free:
                connection.send_bytes(copy)
            busy: list[Connection] = []
            while waiting or busy:
                while waiting and free:
                    busy.append(free.pop())
                    busy[-1].send(waiting.popleft())
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
        """Return the connections of `n` workers."""
        context = multiprocessing.get_context("spawn")
        while len(self._workers) < n:
            own, connection = context.Pipe()
            process = context.Process(target=_work, args=(connection,), daemon=True)
            process.start()
            connection.close()
            self._workers.append(_Worker(process, own))
        return [worker.connection for worker in self._workers[:n]]


def _receive(connection: Connection) -> Any:
    try:
        return connection.recv()
    except (EOFError, ConnectionError):
        raise GpuSslError(
            "a worker process ended before its work did: it was killed, maybe for want of memory; "
            "lower `jobs`"
        ) from None


def _work(connection: Connection) -> None:
    """Do what comes through the connection, until the other end is gone."""
    # Ctrl-C goes to all processes of a terminal; the one that started this one ends it.
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
        task.do([cell], advance)
    except (EOFError, ConnectionError):
        raise
    except Exception as error:  # noqa: BLE001 - the process that waits raises it
        return _Done(error)
    return _Done()


def _stop(signum: int, frame: object) -> None:
    """End in order, so that no half-written file stays behind."""
    raise SystemExit(128 + signum)
