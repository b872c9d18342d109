"""Trainings side by side: on a CPU to the bits of one after the other, on a GPU each on its own stream."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
import torch
from torch import Tensor

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.networks.classifier import ClassifierNetwork
from gpu_ssl.training.joint import JointTrainer
from gpu_ssl.training.replay import Replay
from gpu_ssl.training.side_by_side import complete, train_side_by_side
from tests.runtime.fake_graphs import FakeGraphs
from tests.runtime.fake_graphs import Generator as Numbers
from tests.training.test_joint import CPU, make_trainer, silent

CUDA = torch.device("cuda", 0)


def training(name: str, steps: int, log: list[str]) -> Generator[None, None, str]:
    for number in range(steps):
        log.append(f"{name}{number}")
        yield
    return name


def test_steps_are_performed_in_turn_until_all_are_complete() -> None:
    log: list[str] = []
    trainings = [training("a", 1, log), training("b", 3, log), training("c", 0, log)]
    assert train_side_by_side(trainings, CPU) == ["a", "b", "c"]
    assert log == ["a0", "b0", "b1", "b2"]
    assert complete(training("d", 2, log)) == "d"
    assert train_side_by_side([], CPU) == []


def state(trainer: JointTrainer[ClassifierNetwork]) -> list[Tensor]:
    moments = [value for own in trainer.optimizer.state.values() for value in own.values()]
    return [*trainer.average.state_dict().values(), *trainer.network.state_dict().values(), *moments]


def test_interleaved_trainings_give_the_bits_of_one_after_the_other(digits: Dataset) -> None:
    alone = [make_trainer(digits, seed=seed) for seed in range(3)]
    curves = [trainer.fit(silent()) for trainer in alone]
    together = [make_trainer(digits, seed=seed) for seed in range(3)]
    assert train_side_by_side([each.training(silent()) for each in together], CPU) == curves
    for one, other in zip(alone, together, strict=True):
        assert all(map(torch.equal, state(one), state(other)))
    assert not torch.equal(state(together[0])[0], state(together[1])[0]), "seeds differ"


class FakeStreams:
    """Replaces the streams of `torch.cuda`, and logs the order of what happens on each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.current = "default"
        outer, numbers = self, count()

        class Stream:
            def __init__(self, device: torch.device | None = None, name: str = "") -> None:
                self.name = name or f"s{next(numbers)}"
                self.cuda_stream = self.name

            def wait_stream(self, other: "Stream") -> None:
                outer.log.append(f"{self.name} waits for {other.name}")

        @contextmanager
        def stream(own: Stream | None) -> Iterator[None]:
            before, outer.current = outer.current, own.name if own else outer.current
            try:
                yield
            finally:
                outer.current = before

        default = Stream(name="default")
        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "stream", stream)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: default)

    def step(self, name: str, steps: int) -> Generator[None, None, str]:
        for _ in range(steps):
            self.log.append(f"{name} on {self.current}")
            yield
        return name


def test_each_training_has_a_stream_and_is_ordered_against_the_work_around_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = FakeStreams(monkeypatch)
    assert train_side_by_side([streams.step("a", 2), streams.step("b", 1)], CUDA) == ["a", "b"]
    assert streams.log == [
        "s0 waits for default",
        "s1 waits for default",
        "a on s0",
        "b on s1",
        "a on s0",
        "default waits for s0",
        "default waits for s1",
    ]


def test_after_a_failure_later_work_still_waits_for_all_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = FakeStreams(monkeypatch)

    def fails() -> Generator[None, None, str]:
        yield
        raise RuntimeError("not a number")

    with pytest.raises(RuntimeError, match="not a number"):
        train_side_by_side([streams.step("a", 3), fails()], CUDA)
    assert streams.log[-2:] == ["default waits for s0", "default waits for s1"]
    assert streams.current == "default"


def test_graphs_are_recorded_on_streams_of_their_own_and_replayed_in_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two graphs that are live at a time: see `runtime.recording`."""
    graphs = FakeGraphs(monkeypatch)
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: self)
    replays: list[Replay] = [Replay(True, Numbers()) for _ in range(3)]  # type: ignore[arg-type]
    order: list[tuple[int, int]] = []

    def steps(number: int) -> Generator[None, None, int]:
        for step in range(4):
            replays[number](lambda values, factor: values * factor, [torch.ones(2)], [1.0])
            order.append((step, number))
            yield
        return number

    def unused(*_: Any) -> None:
        """Stand for waiting, which `FakeStreams` logs."""

    monkeypatch.setattr(torch.cuda.Stream, "wait_stream", unused, raising=False)
    default = torch.cuda.Stream(CUDA)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: default)
    assert train_side_by_side([steps(number) for number in range(3)], CUDA) == [0, 1, 2]
    assert order == sorted(order)
    recorded = [replay._recording for replay in replays]
    assert len({own.stream.cuda_stream for own in recorded if own is not None}) == 3
    assert graphs.replays == 9
