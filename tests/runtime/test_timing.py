"""Phases add up, also when a block fails; no second is in two of them, and the total covers all."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from gpu_ssl.records import Timings
from gpu_ssl.runtime.timing import Stopwatch, seconds_of_process


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


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells")
def test_a_process_knows_how_long_it_has_been_running() -> None:
    code = (
        "import time; time.sleep(1); from gpu_ssl.runtime.timing import seconds_of_process as s; print(s())"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1 <= float(done.stdout) <= time.perf_counter() - start + 0.1
    assert seconds_of_process() > 0


def test_the_start_of_a_run_is_a_phase_and_a_part_of_the_total() -> None:
    before = Timings.of({"load": 1.0, "fit": 2.0}, total=4.0)
    assert before.startup == 0
    begun = before.begun(3.5)
    assert (begun.startup, begun.total, begun.load) == (3.5, 7.5, 1.0)
    assert next(iter(begun.model_dump())) == "startup"
    # Older reports do not contain it, and are still read.
    old = before.model_dump(exclude={"startup", "write"})
    assert Timings.model_validate(old) == before
