"""The program in a separate process: started as by a user, or forked, which is faster."""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PRELOADED = [
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
    return _run(folder, _module, ("gpu_ssl", *arguments), stdin, environment or {})


def run_module(folder: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m module`` with `arguments`; see `run_program`."""
    return _run(folder, _module, (module, *arguments), "", {})


def run_ranks(
    folder: Path, torchrun: Sequence[str], *arguments: str, module: str = "gpu_ssl"
) -> subprocess.CompletedProcess[str]:
    """Run ``torchrun -m module`` with `arguments`; see `run_program`: torchrun is forked, and each rank.

    `torchrun` are its options. A rank is no child of torchrun, and cannot be found by its command line.
    """
    return _run(folder, _torchrun, (*torchrun, "-m", module, *arguments), "", {"OMP_NUM_THREADS": "1"})


def _run(
    folder: Path,
    target: Callable[..., None],
    arguments: tuple[str, ...],
    stdin: str,
    environment: Mapping[str, str],
) -> subprocess.CompletedProcess[str]:
    with TemporaryDirectory() as streams:
        paths = [Path(streams, name) for name in ("stdin", "stdout", "stderr")]
        paths[0].write_text(stdin)
        process = SERVER.Process(
            target=target, args=(folder, arguments, {**os.environ, **environment}, paths)
        )
        process.start()
        process.join(300)
        late = process.exitcode is None
        if late:
            process.kill()
            process.join()
        _, stdout, stderr = (path.read_text() if path.exists() else "" for path in paths)
    if late:
        raise subprocess.TimeoutExpired(list(arguments), 300, stdout, stderr)
    return subprocess.CompletedProcess(list(arguments), process.exitcode, stdout, stderr)


def _module(
    folder: Path, arguments: tuple[str, ...], environment: dict[str, str], streams: list[Path]
) -> None:
    _begin(folder, environment, streams)
    module, *words = arguments
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


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
    flags = (os.O_RDONLY, *2 * (os.O_WRONLY | os.O_CREAT | os.O_APPEND,))
    for number, (path, flag) in enumerate(zip(streams, flags, strict=True)):
        os.dup2(os.open(path, flag), number)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
