"""Writes files in background threads, so that work continues while a disk is slow.

Writing to a slow disk is mostly waiting for `fsync`; several threads wait for several files at a time.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple, Self

from gpu_ssl.runtime.state import Writing
from gpu_ssl.runtime.timing import Stopwatch

THREADS: Final = 8

MOST_BYTES: Final = 64 * 2**20
"""Maximum number of bytes that wait to be written. Larger files are written while nothing else waits."""


class _Pending(NamedTuple):
    future: Future[None]
    done: Callable[[], None]
    n_bytes: int


class BackgroundWriter:
    """Writes files in threads, each complete or not at all (`runtime.files`).

    At the end of the ``with`` block all of them are on disk, also if the block failed or was interrupted.

    Parameters
    ----------
    stopwatch : Stopwatch
        Measures the phase ``write``: the time for which this thread waits for files.
    """

    def __init__(self, stopwatch: Stopwatch) -> None:
        self.stopwatch = stopwatch
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="writer")
        self._pending: deque[_Pending] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self.stopwatch.phase("write"):
            try:
                while self._pending and kind is None:
                    self._finish_first()
            finally:
                self._threads.shutdown()

    def __call__(self, writings: Sequence[Writing], done: Callable[[], None] = lambda: None) -> None:
        """Write files one after the other in a thread; call `done` in this thread when they are on disk.

        `done` is called by a later call or at the end of the ``with`` block, in the order of the calls.

        Raises
        ------
        StorageError
            If a file of an earlier call could not be written; otherwise the end of the block raises it.
        """
        n_bytes = sum(writing.n_bytes for writing in writings)
        with self.stopwatch.phase("write"):
            while self._pending and (self._first_is_done() or self._waiting() + n_bytes > MOST_BYTES):
                self._finish_first()
        self._pending.append(_Pending(self._threads.submit(_write, writings), done, n_bytes))

    def _first_is_done(self) -> bool:
        return self._pending[0].future.done()

    def _waiting(self) -> int:
        """Return the number of bytes that wait to be written."""
        return sum(pending.n_bytes for pending in self._pending)

    def _finish_first(self) -> None:
        pending = self._pending.popleft()
        pending.future.result()
        pending.done()


def _write(writings: Sequence[Writing]) -> None:
    for writing in writings:
        writing.write()
