"""Gives the cells of a sweep to the workers of a Dask cluster."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_ssl.errors import DeviceError, GpuSslError, UsageError
from gpu_ssl.records import Report
from gpu_ssl.runtime.optional import require
from gpu_ssl.runtime.progress import Progress
from gpu_ssl.sweep.spec import SweepCell
from gpu_ssl.sweep.work import finish_cell, read_cell, train_vae

if TYPE_CHECKING:
    from distributed import Client

HERE = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
"""Where clusters that are made here listen: for nobody else."""


@contextmanager
def connected(cluster: str, workers: int | None = None) -> Iterator["Client"]:
    """Give a client of a cluster, which is closed at the end if it was made here.

    Parameters
    ----------
    cluster : str
        ``local``: worker processes here, each computing with one thread (two of several threads each would
        wait for one another most of the time). ``cuda``: a worker for each GPU here. ``tcp://HOST:PORT``:
        the scheduler of a cluster whose workers see the same files.
    workers : int, optional
        How many of ``local``; as many as there are CPUs unless given.

    Raises
    ------
    DependencyError, DeviceError, UsageError
        If there is no such cluster.
    """
    require("gpu-ssl sweep", "distributed")
    # Read when it is imported, here and in the workers; what fails comes back to us anyway.
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "critical")
    from distributed import Client

    if cluster.startswith(("tcp://", "tls://")):
        try:
            client = Client(cluster, timeout="20s")
        except (OSError, ValueError) as error:
            raise UsageError(f"`cluster={cluster}`: no scheduler answers there: {error}") from error
        with _closing(client):
            yield client
        return
    if cluster not in ("local", "cuda"):
        raise UsageError(f"`cluster={cluster}`: allowed are local, cuda and tcp://HOST:PORT")
    with _ctrl_c_waits():
        made = _local(workers) if cluster == "local" else _cuda()
    with _closing(made):
        client = Client(made)
        with _closing(client):
            yield client


def _local(workers: int | None) -> Any:
    from dask.system import CPU_COUNT
    from distributed import LocalCluster

    return LocalCluster(n_workers=workers or CPU_COUNT, threads_per_worker=1, processes=True, **HERE)


def _cuda() -> Any:
    require("`cluster=cuda`", "dask_cuda")
    from dask_cuda import LocalCUDACluster

    try:
        return LocalCUDACluster(**HERE)
    except Exception as error:  # of NVML and CUDA, by many names
        raise DeviceError(f"`cluster=cuda`: no GPU can be used: {error}") from error


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block, and never reach the processes that start in it.

    A terminal sends it to them, too; they inherit which signals are blocked.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # Started later, by multiprocessing, it would let the signal through.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _closing(part: Any) -> Iterator[None]:
    try:
        yield
    except BaseException:
        _be_silent()
        raise
    finally:
        # After Ctrl-C it may stumble over what was cut off; the processes end all the same.
        with suppress(Exception):
            part.close()


def _be_silent() -> None:
    """Let libraries not tell of what they were doing when they were interrupted: our own word is enough."""
    for name in ("asyncio", "distributed", "tornado"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [logging.NullHandler()]
        logger.propagate, logger.disabled = False, True
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("asyncio", "distributed", "tornado"):
            logging.getLogger(name).disabled = True
    sys.unraisablehook = lambda told: None
    threading.excepthook = lambda told: None


def run(client: "Client", cells: Sequence[SweepCell], folder: Path, progress: Progress) -> dict[str, str]:
    """Finish the cells that are not finished yet, and return those that failed, by name, with the reason.

    A cell whose worker dies begins again on another; a VAE goes on from its last epoch. What fails by its
    own fault does not stop the others.

    Parameters
    ----------
    client : Client
        Of the cluster.
    cells : sequence of SweepCell
        What to do.
    folder : Path
        Takes a folder for each VAE and each cell; the workers must see it under this name.
    progress : Progress
        Shows how many cells are finished.
    """
    from distributed import as_completed

    waiting = [cell for cell in cells if read_cell(cell.config, folder / "cells" / cell.name) is None]
    vaes: dict[str, Any] = {}
    futures: dict[Any, SweepCell] = {}
    for cell in waiting:
        vae_folder = folder / "vaes" / cell.vae_name
        if cell.vae_name not in vaes:
            vaes[cell.vae_name] = client.submit(
                train_vae, cell.config, vae_folder, key=f"vae-{cell.vae_name}", pure=False
            )
        future = client.submit(
            finish_cell,
            cell.config,
            folder / "cells" / cell.name,
            vae_folder,
            vaes[cell.vae_name],
            key=f"cell-{cell.name}",
            pure=False,
        )
        futures[future] = cell
    failed = {}
    with progress.task("Cells", len(cells), len(cells) - len(waiting)) as advance:
        for future in as_completed(futures):
            cell = futures[future]
            error = future.exception()
            if (reason := _reason(error) if error is not None else future.result()) is not None:
                failed[cell.name] = reason
            advance(cell.name)
    return failed


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, GpuSslError) else f"{type(error).__name__}: {error}"


def reports(cells: Sequence[SweepCell], folder: Path) -> dict[SweepCell, Report]:
    """Return the reports of the finished cells."""
    found = ((cell, read_cell(cell.config, folder / "cells" / cell.name)) for cell in cells)
    return {cell: report for cell, report in found if report is not None}
