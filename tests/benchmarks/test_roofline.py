"""Operations and bytes are counted as one would by hand."""

import pytest
import torch

from benchmarks.roofline import counted, encoding, measured_peaks, render, training
from gpu_ssl.data.image_set import Dataset


def test_a_product_of_matrices_counts_as_by_hand() -> None:
    a, b = torch.ones(30, 20), torch.ones(20, 10)
    assert counted(lambda: a @ b) == (2 * 30 * 20 * 10, 4 * (30 * 20 + 20 * 10 + 30 * 10))
    assert counted(lambda: a.T[:5]) == (0, 0)  # a view moves nothing


def test_a_step_counts_three_products_for_each_of_a_forward_pass(digits: Dataset) -> None:
    """Those that give the output, the gradient of the input and that of the weight."""
    trainer, work = training(digits, torch.device("cpu"), "mlp")
    layers = [p for p in trainer.vae.parameters() if p.ndim == 2]
    forward = 2 * sum(p.numel() for p in layers) * work.images
    first = 2 * layers[0].numel() * work.images  # nobody needs the gradient of the images
    assert work.flops == pytest.approx(3 * forward - first)
    assert work.bytes > 0
    encoder = 2 * (64 * 600 + 600 * 600 + 600 * 100)
    images = torch.from_numpy(digits.train.images)
    assert encoding(trainer, images).flops == pytest.approx(encoder * len(digits.train))


def test_the_table_shows_shares_of_the_peaks() -> None:
    phase = {"seconds": [2.0, 1.0, 4.0], "images": 100, "flops": 6e9, "bytes": 3e9, "dtype": "bfloat16"}
    peaks = {"bfloat16": 12e9, "float32": 6e9, "bytes": 3e9}
    lines = render({"peaks": peaks, "phases": {"train": phase}}).splitlines()
    line = lines[2]
    assert line == "| train (bfloat16) | 50 | 60.0 | 3 | 25 % | 30000 | 1.5 | 50 % |"
    assert "12 GFLOP/s in bfloat16, 6 GFLOP/s in float32, 3.0 GB/s" in lines[-1]


def test_a_dtype_that_nothing_works_in_has_no_peak() -> None:
    """Where a CPU has no units for bfloat16, measuring its peak takes minutes."""
    peaks = measured_peaks(torch.device("cpu"), 1, [torch.float32])
    assert peaks.keys() == {"float32", "bytes"}
    assert min(peaks.values()) > 0
    phase = {"seconds": [1.0], "images": 1, "flops": 1.0, "bytes": 1.0, "dtype": "float32"}
    assert "bfloat16" not in render({"peaks": peaks, "phases": {"train": phase}})
