"""Cells that worker processes do side by side: the same results, errors and files as one after the other."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import torch

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.errors import GpuSslError, StorageError, UsageError
from gpu_ssl.methods.evaluation import Cell, CellTask, Store, cells_of_run, predict_cells
from gpu_ssl.methods.method import Classifier, Options
from gpu_ssl.methods.workers import Workers
from gpu_ssl.runtime.state import Writing
from gpu_ssl.runtime.threads import limited_threads
from tests.encoders import fitted
from tests.methods import silent, view_of

CELLS = cells_of_run((20, 50), 1347, 2)


def forget(cell: Cell, classifier: Classifier) -> Sequence[Writing]:
    return ()


def stops(cell: Cell, classifier: Classifier) -> Sequence[Writing]:
    if cell == CELLS[1]:
        raise StorageError(f"no space for {cell.labels}")
    return ()


def dies(cell: Cell, classifier: Classifier) -> Sequence[Writing]:
    os.kill(os.getpid(), signal.SIGKILL)
    return ()


def waits(cell: Cell, classifier: Classifier) -> Sequence[Writing]:
    time.sleep(600)
    return ()


@pytest.fixture
def task(digits: Dataset, tmp_path: Path) -> CellTask:
    """An SVM on the pixels of a few digits."""
    encoders = fitted(digits.train.images, tmp_path, "pixels")
    train = view_of(digits.train.images[:300], encoders.values())
    test = view_of(digits.test.images[:100], encoders.values())
    labels = digits.train.labels[:300]
    return CellTask(train, labels, test, Options("raw-svc"), Store(tmp_path / "turn", "these"), forget)


def test_cells_done_side_by_side_have_the_same_bits(task: CellTask, tmp_path: Path) -> None:
    """And workers serve one task after another."""
    cells = CELLS[:2]
    networks = replace(task, options=Options("cnn", steps=10))
    told: list[float] = []
    with limited_threads(2), Workers(2) as workers:
        in_turn = predict_cells(networks, cells, silent)
        aside = replace(networks, store=Store(tmp_path / "aside", "these"))
        both = predict_cells(aside, cells, lambda note, steps=1: told.append(steps), workers)
        workers(task, CELLS[1:], silent)
        assert len(active_children()) == 2
    assert not active_children()
    assert sum(told) == pytest.approx(len(cells))
    for one, other in zip(in_turn[20], both[20], strict=True):
        assert np.array_equal(one.classes, other.classes)
        assert one.curve == other.curve
    assert not np.array_equal(both[20][0].classes, both[20][1].classes)
    assert [cell for cell in CELLS if task.find(cell)] == CELLS[1:]


@pytest.mark.parametrize(
    ("keep", "error", "words"),
    [(stops, StorageError, "no space for 20"), (dies, GpuSslError, "worker process ended .* lower `jobs`")],
)
def test_what_goes_wrong_in_a_worker_is_told_and_no_worker_stays(
    task: CellTask, keep: Callable[[Cell, Classifier], None], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words), Workers(1) as workers:
        workers(replace(task, keep=keep), CELLS, silent)
    assert not active_children()


def test_a_worker_that_ended_before_its_task_is_told(task: CellTask) -> None:
    """Not as a broken pipe, which the program would take for a reader of stdout that has seen enough."""
    with Workers(1) as workers:
        workers(task, CELLS[:1], silent)
        (child,) = active_children()
        child.kill()
        child.join()
        with pytest.raises(GpuSslError, match="worker process ended early"):
            workers(task, CELLS[1:], silent)


def test_an_interrupt_stops_the_workers_at_once(task: CellTask) -> None:
    def interrupted(note: str, steps: float = 1) -> None:
        raise KeyboardInterrupt

    task = replace(task, options=Options("cnn", steps=10), keep=waits)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Workers(1) as workers:
        workers(task, CELLS[:1], interrupted)
    assert time.monotonic() - start < 60
    assert not active_children()
    assert task.find(CELLS[0]) is None


def test_torch_gets_its_threads_back() -> None:
    before = torch.get_num_threads()

    def fail() -> None:
        assert torch.get_num_threads() == before + 1
        raise UsageError("anything")

    with pytest.raises(UsageError), limited_threads(before + 1):
        fail()
    assert torch.get_num_threads() == before
