"""Files written in background threads: all of them, in order, within memory."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gpu_ssl.errors import StorageError
from gpu_ssl.runtime import background
from gpu_ssl.runtime.background import THREADS, BackgroundWriter
from gpu_ssl.runtime.state import Writing
from gpu_ssl.runtime.timing import Stopwatch

PATIENCE = 30.0
"""Seconds after which a test fails that waits for a thread."""


@pytest.fixture
def stopwatch() -> Stopwatch:
    return Stopwatch(torch.device("cpu"))


def nothing() -> None:
    pass


def writes(path: Path, after: threading.Event | None = None) -> Writing:
    """Return what writes a file once an event has happened."""

    def write() -> None:
        assert after is None or after.wait(PATIENCE)
        path.write_text("all of it", encoding="utf-8")

    return Writing(write, 0)


def fails(after: threading.Event | None = None) -> Writing:
    """Return what cannot write its file."""

    def write() -> None:
        assert after is None or after.wait(PATIENCE)
        raise StorageError("no space")

    return Writing(write, 0)


def test_work_goes_on_while_files_are_written_and_the_end_waits_for_them(
    stopwatch: Stopwatch, tmp_path: Path
) -> None:
    paths = [tmp_path / str(number) for number in range(3)]
    go, told = threading.Event(), []
    with BackgroundWriter(stopwatch) as write:
        for number, path in enumerate(paths):
            write([writes(path, go)], lambda number=number: told.append(number))  # type: ignore[misc]
        assert not any(path.exists() for path in paths)
        assert told == []
        go.set()
    assert all(path.exists() for path in paths)
    assert told == [0, 1, 2]
    assert stopwatch.seconds["write"] > 0


def test_done_is_called_by_a_later_call_in_the_thread_that_calls(stopwatch: Stopwatch) -> None:
    written, told = threading.Event(), []
    with BackgroundWriter(stopwatch) as write:
        write([Writing(written.set, 0)], lambda: told.append(threading.current_thread()))
        assert written.wait(PATIENCE)
        while not told:
            write([Writing(nothing, 0)])
        assert told == [threading.current_thread()]


def test_several_files_are_written_at_a_time(stopwatch: Stopwatch) -> None:
    together = threading.Barrier(THREADS, timeout=PATIENCE)
    with BackgroundWriter(stopwatch) as write:
        for _ in range(THREADS):
            write([Writing(lambda: print(together.wait()), 0)])


def test_files_of_one_call_are_written_in_turn(stopwatch: Stopwatch, tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    seen: list[bool] = []

    def work() -> None:
        with BackgroundWriter(stopwatch) as write:
            write([writes(first), Writing(lambda: seen.append(first.exists()), 0), writes(second)])
            write([writes(tmp_path / "3"), fails(), writes(tmp_path / "4")])

    with pytest.raises(StorageError, match="no space"):
        work()
    assert seen == [True]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "3"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_was_handed_over_is_written_if_the_block_fails(
    stopwatch: Stopwatch, tmp_path: Path, error: type[BaseException]
) -> None:
    go = threading.Event()

    def work() -> None:
        with BackgroundWriter(stopwatch) as write:
            write([writes(tmp_path / "1", go)])
            threading.Timer(0.05, go.set).start()
            raise error("the work failed")

    with pytest.raises(error, match="the work failed"):
        work()
    assert (tmp_path / "1").exists()


def test_the_end_raises_the_error_of_a_file_and_the_others_are_written(
    stopwatch: Stopwatch, tmp_path: Path
) -> None:
    go, told = threading.Event(), []

    def work() -> None:
        with BackgroundWriter(stopwatch) as write:
            for writing in (fails(go), writes(tmp_path / "1", go)):
                write([writing], lambda: told.append(1))
            go.set()

    with pytest.raises(StorageError, match="no space"):
        work()
    assert (tmp_path / "1").exists()
    assert told == []


@pytest.mark.parametrize(("n_bytes", "at_once"), [(4, 2), (6, 1), (20, 1)])
def test_what_waits_is_limited_in_bytes(
    stopwatch: Stopwatch, monkeypatch: pytest.MonkeyPatch, n_bytes: int, at_once: int
) -> None:
    monkeypatch.setattr(background, "MOST_BYTES", 10)
    waiting, most, lock = 0, 0, threading.Lock()
    full: Callable[[], None] = threading.Barrier(at_once, timeout=PATIENCE).wait  # type: ignore[assignment]

    def write_one() -> None:
        nonlocal waiting, most
        with lock:
            waiting += 1
            most = max(most, waiting)
        full()
        with lock:
            waiting -= 1

    with BackgroundWriter(stopwatch) as write:
        for _ in range(4):
            write([Writing(write_one, n_bytes)])
    assert most == at_once
