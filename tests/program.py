"""The program in a separate process: started as by a user, or forked, which is faster."""

import ctypes
import json
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parent.parent
PRELOADED = [
    "slipcover.pytest_plugin",  # first, to see the others imported
    __name__,
    "pytest",  # a process imports what the tests' own main module does
    "matplotlib.figure",
    "scipy.optimize",
    "scipy.stats",
    "sklearn.decomposition",
    "sklearn.svm",
    "torch._dynamo",  # a second of each start of ranks that train
    "torch.distributed.run",
    *(
        f"gpu_ssl.cli.{name}"
        for name in ("bench", "data", "doctor", "encode", "fit", "predict", "run", "suggest")
    ),
    "gpu_ssl.bench.plots",
    "gpu_ssl.experiment",
    "gpu_ssl.fitted.fitting",
    "gpu_ssl.report.writing",
]
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(PRELOADED)  # It skips what it cannot import; a test detects that.

NETWORK = "GPU_SSL_TESTS_NETWORK"
"""Variable of the environment: the file of the network namespace in which a forked program runs."""


def start_program(folder: Path, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start ``gpu-ssl`` with `arguments` in `folder`, to be sent signals; `options` are those of Popen."""
    return subprocess.Popen(
        [sys.executable, "-m", "gpu_ssl", *arguments],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what it puts in the background with SIGINT ignored, the tests perhaps among it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    )


def run_program(
    folder: Path, *arguments: str, stdin: str = "", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``gpu-ssl`` with `arguments` in `folder`, and return how it ended and what it printed.

    The process is forked from one that has imported torch already: importing is three seconds of each start,
    and there are some two hundred. So what Python and libraries read from the environment as they start is
    that of the tests, and not of `environment`.
    """
    return Forked(folder, _module, ("gpu_ssl", *arguments), stdin, environment or {}).finish()


def run_module(folder: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m module`` with `arguments`; see `run_program`."""
    return Forked(folder, _module, (module, *arguments), "", {}).finish()


def run_ranks(
    folder: Path, torchrun: Sequence[str], *arguments: str, module: str = "gpu_ssl"
) -> subprocess.CompletedProcess[str]:
    """Run ``torchrun -m module`` with `arguments`; see `run_program`: torchrun is forked, and each rank.

    `torchrun` are its options.
    """
    with start_ranks(folder, torchrun, *arguments, module=module) as forked:
        return forked.finish()


@contextmanager
def start_ranks(
    folder: Path,
    torchrun: Sequence[str],
    *arguments: str,
    module: str = "gpu_ssl",
    environment: Mapping[str, str] | None = None,
) -> Iterator["Forked"]:
    """Start what `run_ranks` runs, to be sent signals; nothing of it is left at the end of the block."""
    own = {"OMP_NUM_THREADS": "1", **(environment or {})}
    forked = Forked(folder, _torchrun, (*torchrun, "-m", module, *arguments), "", own)
    try:
        yield forked
    finally:
        forked.kill()


class Forked:
    """A forked program, of which torchrun and each rank are processes of their own."""

    def __init__(
        self,
        folder: Path,
        target: Callable[..., None],
        arguments: tuple[str, ...],
        stdin: str,
        environment: Mapping[str, str],
    ) -> None:
        self._arguments = arguments
        self._streams = TemporaryDirectory()
        paths = [Path(self._streams.name, name) for name in ("stdin", "stdout", "stderr")]
        paths[0].write_text(stdin)
        self.process: BaseProcess = SERVER.Process(
            target=target, args=(folder, arguments, {**os.environ, **environment}, paths)
        )
        self.process.start()

    @property
    def ranks(self) -> dict[int, int]:
        """The process of each rank that was started."""
        found = Path(self._streams.name).glob("rank-*")
        return {int(path.name.removeprefix("rank-")): int(path.read_text()) for path in found}

    def finish(self, seconds: float = 300) -> subprocess.CompletedProcess[str]:
        """Wait for the end, and return what was printed."""
        self.process.join(seconds)
        code = self.process.exitcode
        names = [Path(self._streams.name, name) for name in ("stdout", "stderr")]
        stdout, stderr = (path.read_text() if path.exists() else "" for path in names)
        self.kill()
        if code is None:
            raise subprocess.TimeoutExpired(list(self._arguments), seconds, stdout, stderr)
        return subprocess.CompletedProcess(list(self._arguments), code, stdout, stderr)

    def kill(self) -> None:
        """End what still runs, which is nothing after a regular end."""
        if self.process.exitcode is None:
            for number in (*self.ranks.values(), self.process.pid):
                with suppress(ProcessLookupError):
                    os.kill(number or 0, signal.SIGKILL)
            self.process.join()
        self._streams.cleanup()


def _module(
    folder: Path, arguments: tuple[str, ...], environment: dict[str, str], streams: list[Path]
) -> None:
    _begin(folder, environment, streams)
    module, *words = arguments
    sys.argv = [module, *words]
    with _measured():
        runpy.run_module(module, run_name="__main__", alter_sys=True)


@contextmanager
def _measured() -> Iterator[None]:
    """Write the lines that are run to where SlipCover merges those of xdist's workers, if it measures."""
    plugin: Any = sys.modules["slipcover.pytest_plugin"]
    slipcover, folder = plugin._slipcover_instance, plugin._coverage_dir
    if not slipcover:
        yield
        return
    slipcover.signal_child_process()
    try:
        yield
    finally:
        os.chdir(ROOT)  # for the names of files
        path = Path(folder, f"coverage-{plugin._get_worker_id()}-{os.getpid()}.json")
        path.write_text(json.dumps(slipcover.get_coverage()))


def _torchrun(
    folder: Path, arguments: tuple[str, ...], environment: dict[str, str], streams: list[Path]
) -> None:
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import api
    from torch.distributed.elastic.multiprocessing.subprocess_handler import SubprocessHandler

    class Rank(SubprocessHandler):
        """What torchrun knows of a rank; `proc` is a Popen in all that it asks for."""

        def _popen(self, args: tuple[str, ...], env: dict[str, str]) -> Any:
            words = args[args.index("-m") + 1 :]
            process: Any = SERVER.Process(target=_module, args=(folder, words, env, streams))
            process.start()
            unfinished = streams[0].with_name(f"of-rank-{env['RANK']}")
            unfinished.write_text(str(process.pid))
            unfinished.rename(unfinished.with_name(f"rank-{env['RANK']}"))
            process.poll = lambda: process.exitcode
            process.wait = process.join
            return process

        def close(self, death_sig: signal.Signals | None = None) -> None:
            os.kill(self.proc.pid, death_sig or signal.SIGTERM)

    _begin(folder, environment, streams)
    # The server that forked this process also forks the ranks; another one would import everything again.
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[attr-defined]
    api.get_subprocess_handler = Rank
    run.main(arguments)


def _begin(folder: Path, environment: dict[str, str], streams: list[Path]) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    # A shell starts what it puts in the background with SIGINT ignored, the tests perhaps among it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if network := environment.get(NETWORK):
        with Path(network).open() as namespace:
            assert ctypes.CDLL(None).setns(namespace.fileno(), 0) == 0
    flags = (os.O_RDONLY, *2 * (os.O_WRONLY | os.O_CREAT | os.O_APPEND,))
    for number, (path, flag) in enumerate(zip(streams, flags, strict=True)):
        os.dup2(os.open(path, flag), number)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
