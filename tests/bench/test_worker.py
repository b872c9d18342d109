"""The worker measures every phase, in order, on real images."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpu_ssl.bench.records import BenchConfig
from gpu_ssl.bench.worker import NOISE, Probe, measure, tile
from gpu_ssl.config import DataConfig


def test_every_phase_is_measured_at_every_size() -> None:
    config = BenchConfig(data=DataConfig(dataset="digits"), labels=(20, 200), images=(50, 3000))
    samples = measure(config, "cpu")
    assert [(s.phase, s.size) for s in samples] == [
        ("load", 1347),
        ("upload", 1347),
        ("train epoch", 1347),
        ("encode", 50),
        ("encode", 3000),
        ("handoff", 1347),
        ("fit", 20),
        ("fit", 200),
        ("fit batched", 20),
        ("fit batched", 200),
        ("score", 50),
        ("score", 3000),
    ]
    assert all(s.seconds > 0 for s in samples)
    accuracies = {s.size: s.accuracy for s in samples if s.phase == "fit"}
    assert accuracies[200] > accuracies[20] > 0.3  # type: ignore[operator]
    batched = {s.size: s.accuracy for s in samples if s.phase == "fit batched"}
    assert batched == pytest.approx(accuracies, abs=0.01)
    assert {s.accuracy for s in samples if not s.phase.startswith("fit")} == {None}


def test_a_sample_tells_the_time_and_the_memory_of_its_block_alone() -> None:
    probe = Probe(torch.device("cpu"))
    with probe.sample("encode", 1):
        block = np.ones(50_000_000)
        time.sleep(0.05)
    del block
    with probe.sample("encode", 2):
        pass
    large, small = probe.samples
    assert 0.05 <= large.seconds < 5
    assert small.seconds < large.seconds
    if large.peak_bytes is None or small.peak_bytes is None:
        pytest.skip("this system does not tell the peak of memory")
    assert large.peak_bytes - small.peak_bytes > 300_000_000


@given(n=st.integers(1, 40), available=st.integers(1, 15))
def test_images_beyond_those_there_are_are_copies_with_noise(n: int, available: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (available, 1, 4, 4), dtype=np.uint8)
    tiled = tile(images, n, seed=0)
    assert tiled.shape == (n, 1, 4, 4)
    assert np.array_equal(tiled[:available], images[:n])
    difference = tiled.astype(int) - images[np.arange(n) % available]
    assert abs(difference).max() <= NOISE
    assert np.array_equal(tiled, tile(images, n, seed=0))
