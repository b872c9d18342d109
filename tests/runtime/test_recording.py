"""Graphs use their own streams; a failed recording is reported, and changes nothing."""

import gc
import logging

import pytest
import torch

from gpu_ssl.runtime import recording
from gpu_ssl.runtime.recording import record
from tests.runtime.fake_graphs import FakeGraphs, Generator

CUDA = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def nothing_told() -> None:
    recording._warn.cache_clear()


def test_live_graphs_lie_on_streams_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where torch's streams have all been handed out once: pytorch#193402."""
    FakeGraphs(monkeypatch, n_streams=4)
    first = record(lambda: 1, CUDA)
    assert first is not None
    assert first.result == 1
    live = [first]
    for _ in range(10):  # come and go
        passing = record(lambda: 2, CUDA)
        assert passing is not None
        assert passing.stream.cuda_stream != first.stream.cuda_stream
    del passing
    gc.collect()
    for _ in range(3):
        another = record(lambda: 3, CUDA)
        assert another is not None
        live.append(another)
    assert len({one.stream.cuda_stream for one in live}) == 4


def test_without_a_free_stream_nothing_is_recorded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    FakeGraphs(monkeypatch, n_streams=1)
    kept = record(lambda: 1, CUDA)
    assert record(lambda: 1, CUDA) is None
    assert "32 CUDA graphs are in use" in caplog.text
    assert kept is not None


def test_what_cannot_be_recorded_is_told_once_and_leaves_stream_and_generator_as_they_were(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    graphs, generator = FakeGraphs(monkeypatch, fails="operation not permitted\n when capturing"), Generator()
    assert generator.draw() == 1
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert record(lambda: generator.draw(), CUDA, generator) is None  # type: ignore[arg-type]
    assert graphs.current == 0
    assert generator.draw() == 2
    (told,) = caplog.messages
    assert "cannot be recorded as a CUDA graph (operation not permitted when capturing)" in told
    assert "slower" in told


def test_a_fault_of_the_work_itself_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeGraphs(monkeypatch)
    with pytest.raises(ZeroDivisionError):
        record(lambda: 1 / 0, CUDA)
