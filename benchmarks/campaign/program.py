"""The program in a forked process with faults: killed at a write, limited memory, closed streams."""

import multiprocessing
import os
import resource
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from gpu_ssl.cli import entry_point

LONGEST = 120.0
"""Seconds after which a try counts as hanging."""

PRELOADED = [
    __name__,
    "matplotlib.figure",
    "scipy.optimize",
    "scipy.stats",
    "sklearn.decomposition",
    "sklearn.svm",
    "torch._dynamo",
    *(f"gpu_ssl.cli.{name}" for name in ("check", "data", "encode", "fit", "predict", "run", "suggest")),
    "gpu_ssl.experiment",
    "gpu_ssl.fitted.fitting",
    "gpu_ssl.report.writing",
]
SERVER = multiprocessing.get_context("forkserver")

WRITES = ("fsync", "replace", "rename", "unlink", "remove", "link", "rmdir", "mkdir")
"""Functions of `os` that change files permanently."""


@dataclass(frozen=True)
class Fault:
    """Faults of a process.

    Parameters
    ----------
    at : int
        Number of the write, of `WRITES`, at which it is killed; 0 is none.
    after : bool
        Whether the write is done before the process is killed.
    counts : bool
        Whether its writes are counted, in `Done.writes`.
    megabytes : int
        Maximum memory beyond that at its start; 0 for no limit.
    closed : tuple of int
        Streams that are closed: 0, 1, 2.
    """

    at: int = 0
    after: bool = False
    counts: bool = False
    megabytes: int = 0
    closed: tuple[int, ...] = ()


class Done(NamedTuple):
    """Exit code and output of a process; `code` is None if it had to be killed."""

    code: int | None
    stdout: str
    stderr: str
    writes: int


class Running:
    """A process that was started, to be sent signals and waited for."""

    def __init__(self, process: BaseProcess, streams: tempfile.TemporaryDirectory[str]) -> None:
        self._process, self._streams = process, streams

    def send(self, number: int) -> None:
        """Send a signal, if the process still runs."""
        if self._process.exitcode is None and self._process.pid:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def wait(self, seconds: float = LONGEST) -> Done:
        """Wait for the end, and kill it after a timeout."""
        self._process.join(seconds)
        late = self._process.exitcode is None
        if late:
            self._process.kill()
            self._process.join()
        folder = Path(self._streams.name)
        stdout, stderr, writes = (
            (folder / name).read_bytes().decode(errors="backslashreplace") if (folder / name).exists() else ""
            for name in ("stdout", "stderr", "writes")
        )
        self._streams.cleanup()
        return Done(None if late else self._process.exitcode, stdout, stderr, len(writes))


def start(folder: Path, *words: str, fault: Fault = Fault(), stdin: str = "") -> Running:
    """Start ``gpu-ssl`` with these arguments in `folder`, whose ``cache`` it uses."""
    streams = tempfile.TemporaryDirectory(prefix="campaign-")
    Path(streams.name, "stdin").write_text(stdin)
    environment = {**os.environ, "GPU_SSL_CACHE_DIR": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    process = SERVER.Process(target=_run, args=(folder, words, environment, Path(streams.name), fault))
    process.start()
    return Running(process, streams)


def run(folder: Path, *words: str, fault: Fault = Fault(), stdin: str = "") -> Done:
    """Run ``gpu-ssl`` to its end; see `start`."""
    return start(folder, *words, fault=fault, stdin=stdin).wait()


def run_until(folder: Path, *words: str, seconds: float, number: int) -> Done:
    """Run ``gpu-ssl``, and send it a signal after some seconds."""
    running = start(folder, *words)
    time.sleep(seconds)
    running.send(number)
    return running.wait()


def _run(
    folder: Path, words: tuple[str, ...], environment: Mapping[str, str], streams: Path, fault: Fault
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    flags = (os.O_RDONLY, *2 * (os.O_WRONLY | os.O_CREAT | os.O_APPEND,))
    for number, (name, flag) in enumerate(zip(("stdin", "stdout", "stderr"), flags, strict=True)):
        os.dup2(os.open(streams / name, flag), number)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    for number in fault.closed:
        os.close(number)
        setattr(sys, ("stdin", "stdout", "stderr")[number], None)
    if fault.megabytes:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + fault.megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        entry_point(list(words))  # not by runpy, whose own lack of memory Python reports
    if fault.at or fault.counts:
        _watch_writes(fault, os.open(streams / "writes", os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    sys.argv = ["gpu-ssl", *words]
    runpy.run_module("gpu_ssl", run_name="__main__", alter_sys=True)


def _watch_writes(fault: Fault, told: int) -> None:
    """Count the writes, and kill this process at one of them."""
    seen = 0

    def watched(function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal seen
            seen += 1
            os.write(told, b".")
            if seen == fault.at and not fault.after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*arguments, **options)
            if seen == fault.at:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for name in WRITES:
        setattr(os, name, watched(getattr(os, name)))
