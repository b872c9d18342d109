"""Phases add up, also when a block fails, and the total covers them."""

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
