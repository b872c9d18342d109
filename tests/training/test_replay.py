"""The work of a step, repeated: where nothing records, and what it is given where something does."""

import pytest
import torch
from torch import Tensor

from gpu_ssl.runtime import recording
from gpu_ssl.training.replay import Replay
from tests.runtime.fake_graphs import FakeGraphs, Generator


def test_where_nothing_records_the_work_is_done_each_time_with_plain_numbers() -> None:
    replay, numbers = Replay(False, torch.Generator()), []

    def work(values: Tensor, factor: float) -> Tensor:
        numbers.append(factor)
        return factor * values

    results = [replay(work, [torch.full((2,), float(n))], [2.0 + n]) for n in range(3)]
    assert [result.tolist() for result in results] == [[0, 0], [3, 3], [8, 8]]
    assert numbers == [2.0, 3.0, 4.0]
    assert not replay.recorded


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: self)


@pytest.mark.usefixtures("pinned")
def test_recording_begins_with_the_second_time_and_anew_after_forgetting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graphs, given = FakeGraphs(monkeypatch), []
    replay = Replay(True, Generator())  # type: ignore[arg-type]

    def work(values: Tensor, factor: float | Tensor) -> Tensor:
        given.append(type(factor))
        return values * factor

    for number in range(2):
        for time in range(4):
            replay(work, [torch.ones(1)], [3.0])
            assert replay.recorded == (time > 0)
        assert given == [float, Tensor]  # once piece by piece, once to be recorded
        assert graphs.replays == 3 * (number + 1)
        replay.forget()
        given.clear()


@pytest.mark.usefixtures("pinned")
def test_what_a_graph_replays_is_given_the_new_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeGraphs(monkeypatch)
    replay, places = Replay(True, Generator()), []  # type: ignore[arg-type]

    def work(values: Tensor, factor: float | Tensor) -> Tensor:
        places.append((values, factor))
        return values * factor

    for number in range(4):
        replay(work, [torch.full((2,), float(number))], [10.0 + number])
    values, factor = places[-1]
    assert values.tolist() == [3, 3]
    assert float(factor) == 13


def test_where_recording_fails_the_work_goes_on_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    recording._warn.cache_clear()
    FakeGraphs(monkeypatch, fails="no graphs here")
    generator = Generator()
    replay = Replay(True, generator)  # type: ignore[arg-type]

    def work(values: Tensor, factor: float) -> tuple[float, int]:
        return float(values) * factor, generator.draw()

    results = [replay(work, [torch.full((1,), float(n))], [2.0]) for n in range(5)]
    assert results == [(0, 1), (2, 2), (4, 3), (6, 4), (8, 5)]
    assert not replay.recorded
