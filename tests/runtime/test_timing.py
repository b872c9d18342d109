"""Phases add up, also when a block fails; no second is in two of them, and the total covers all."""

import time

import pytest
import torch

from gpu_ssl.runtime.timing import Stopwatch


def test_phases_add_up() -> None:
    stopwatch = Stopwatch(torch.device("cpu"))
    for _ in range(2):
        with stopwatch.phase("sleep"):
            time.sleep(0.01)
    with pytest.raises(ValueError, match="failed"), stopwatch.phase("failing"):
        raise ValueError("failed")
    assert stopwatch.seconds["sleep"] >= 0.02
    assert "failing" in stopwatch.seconds
    assert stopwatch.total() >= sum(stopwatch.seconds.values())


def test_a_phase_within_another_takes_its_time_from_it() -> None:
    stopwatch = Stopwatch(torch.device("cpu"))
    with stopwatch.phase("outer"):
        with stopwatch.phase("inner"):
            time.sleep(0.2)
        with pytest.raises(ValueError, match="failed"), stopwatch.phase("inner"):
            raise ValueError("failed")
        time.sleep(0.02)
    assert stopwatch.seconds["inner"] >= 0.2
    assert 0.02 <= stopwatch.seconds["outer"] < 0.2
    assert stopwatch.total() >= sum(stopwatch.seconds.values())
