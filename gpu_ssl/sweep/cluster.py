"""Distributes the cells of a sweep to the workers of a Dask cluster."""

import logging
import os
import signal
import sys
import threading
import uuid
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
from gpu_ssl.sweep.work import finish_cell, needs_vae, read_cell, train_vae

if TYPE_CHECKING:
    from distributed import Client

HERE = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
"""Address of clusters created here: only this machine."""

UNSEEN = "its worker wrote no report that can be read here; all workers must see the folder under this name"
"""Reason for the failure of a cell without report."""


@contextmanager
def connected(cluster: str, workers: int | None = None) -> Iterator["Client"]:
    """Yield a client of a cluster, which is closed at the end if it was created here.

    Parameters
    ----------
    cluster : str
        ``local``: worker processes on this machine, with one thread each (with several threads each they
        would mostly wait for one another). ``cuda``: a worker for each GPU of this machine.
        ``tcp://HOST:PORT``: the scheduler of a cluster whose workers share the file system.
    workers : int, optional
        Number of workers of ``local``; by default the number of CPUs.

    Raises
    ------
    DependencyError, DeviceError, UsageError
        If the cluster is not available.
    """
    if workers is not None and cluster != "local":
        raise UsageError(f"`workers={workers}`: only `cluster=local` takes it, got {cluster}; leave it out")
    require("gpu-ssl sweep", "distributed", extra="sweep")
    # Read on import, here and in the workers; their errors are returned anyway.
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
    except Exception as error:  # errors of NVML and CUDA have many types
        raise DeviceError(f"`cluster=cuda`: no usable GPU: {error}") from error


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Defer Ctrl-C to the end of the block, and block it in the processes that start in it.

    A terminal sends it to all processes; they inherit blocked signals.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # Started later, by multiprocessing, it would not block the signal.
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
        # After Ctrl-C it may fail on closed connections; the processes end anyway.
        with suppress(Exception):
            part.close()


def _be_silent() -> None:
    """Silence messages of libraries about the interruption; our own is enough."""
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
    """Finish the unfinished cells, and return those that failed, by name, with the reason.

    A cell whose worker dies restarts on another; a VAE resumes from its last epoch. A failed cell does not
    stop the others.

    Parameters
    ----------
    client : Client
        Client of the cluster.
    cells : sequence of SweepCell
        Cells to finish.
    folder : Path
        Parent of a folder for each VAE and each cell; the workers must see it under this name.
    progress : Progress
        Reports the number of finished cells.
    """
    from distributed import as_completed

    waiting = _unfinished(cells, folder)
    sweep = uuid.uuid4().hex[:8]  # A cluster does work of the same key once, also for another sweep.
    vaes: dict[str, Any] = {}
    futures: dict[Any, SweepCell] = {}
    for cell in waiting:
        vae_folder = folder / "vaes" / cell.vae_name
        needs = needs_vae(cell.config)
        if needs and cell.vae_name not in vaes:
            vaes[cell.vae_name] = client.submit(
                train_vae, cell.config, vae_folder, key=f"vae-{cell.vae_name}-{sweep}"
            )
        future = client.submit(
            finish_cell,
            cell.config,
            folder / "cells" / cell.name,
            vae_folder,
            vaes[cell.vae_name] if needs else None,
            key=f"cell-{cell.name}-{sweep}",
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
    return {cell.name: UNSEEN for cell in _unfinished(waiting, folder)} | failed


def _unfinished(cells: Sequence[SweepCell], folder: Path) -> list[SweepCell]:
    return [cell for cell in cells if read_cell(cell.config, folder / "cells" / cell.name) is None]


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, GpuSslError) else f"{type(error).__name__}: {error}"


def reports(cells: Sequence[SweepCell], folder: Path) -> dict[SweepCell, Report]:
    """Return the reports of the finished cells."""
    found = ((cell, read_cell(cell.config, folder / "cells" / cell.name)) for cell in cells)
    return {cell: report for cell, report in found if report is not None}
