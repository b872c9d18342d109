"""Standard streams, which may be closed or full, and signals that stop the program."""

import io
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from gpu_ssl.errors import GpuSslError
from gpu_ssl.runtime.torchrun import by_torchrun

SOON = 0.05
"""Seconds until a signal that arrived during an import is handled again."""

SPARE_MEMORY = 64 << 20
"""Bytes below its limit of memory at which a process has reached it."""

RESERVE = bytearray(4 << 20)
"""Memory to give back before an error is reported: without any, CPython cannot even raise SystemExit."""

STOPS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that stop the program as Ctrl-C does; no partly written file remains."""


def prepare_streams() -> None:
    """Discard what goes to a closed stdout or stderr, or a full stderr; print ? for unsupported characters.

    A message on stderr never matters more than the work that it is about.
    """
    for number in range(3):  # A file that is opened later must not become one of these.
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
    elif isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(_Forgiving(sys.stderr.fileno()), 1),
            encoding=sys.stderr.encoding,
            errors="backslashreplace",
            line_buffering=True,
            write_through=True,
        )


def require_current_folder() -> None:
    """Refuse to start in a folder that was deleted, where torch aborts the process.

    Raises
    ------
    GpuSslError
        If the current folder no longer exists.
    """
    try:
        os.getcwd()  # noqa: PTH109
    except OSError as error:
        raise GpuSslError("the current folder no longer exists; change to another one (cd)") from error


def reached_memory_limit() -> bool:
    """Return whether the process has used all the memory that its limit (``ulimit -v``) allows.

    Libraries report a small allocation that failed as anything, such as a SystemError without words.
    """
    try:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        status = Path("/proc/self/status").read_bytes()  # as text it would need the import of a codec
        peak = int(status.split(b"VmPeak:")[1].split()[0]) << 10
    except (MemoryError, SystemError):
        return True
    except (ImportError, OSError, ValueError, IndexError):
        return False
    return limit != resource.RLIM_INFINITY and peak + SPARE_MEMORY > limit


class _Forgiving(io.RawIOBase):
    """A file that writes what it can, and discards the rest."""

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        whole = memoryview(content).cast("B")
        rest = whole
        try:
            while rest:
                rest = rest[os.write(self._number, rest) :]
        except OSError:
            pass
        return len(whole)


def heed_signals() -> list[int]:
    """Make the signals in `STOPS` interrupt the program as Ctrl-C does; return the list of received signals.

    Signals that are ignored, for instance under nohup, stay ignored. One that arrives during an import is
    deferred to its end: an interrupted import of torch aborts the process.
    """
    found: list[int] = []
    waiting: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        number = waiting[0] if waiting else number
        if _imports(frame):
            waiting[:] = [number]
            signal.setitimer(signal.ITIMER_REAL, SOON)
            return
        waiting.clear()
        found.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        # torchrun ends the remaining processes by SIGTERM; they need not report it.
        for number in (signal.SIGINT, *(() if by_torchrun() else STOPS)):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, stop)
        if hasattr(signal, "SIGALRM"):
            signal.signal(signal.SIGALRM, stop)
    return found


def _imports(frame: FrameType | None) -> bool:
    """Say whether a module is being imported."""
    if not hasattr(signal, "setitimer"):
        return False
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def ignore_signals() -> None:
    """Ignore signals at the end of the process, where an interruption would print a traceback."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, *STOPS):
            signal.signal(number, signal.SIG_IGN)
