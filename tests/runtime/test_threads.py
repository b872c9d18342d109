"""Small work gets one thread, other work all of them, and afterwards all is as before."""

import pytest
import torch

from gpu_ssl.runtime.threads import FEW_PIXELS, limited_threads, n_threads, suitable_threads


@pytest.mark.parametrize(("n_pixels", "expected"), [(0, 1), (FEW_PIXELS, 1), (FEW_PIXELS + 1, 3)])
def test_few_pixels_get_one_thread(n_pixels: int, expected: int) -> None:
    before = n_threads()
    with limited_threads(3):
        with suitable_threads(n_pixels):
            assert n_threads() == torch.get_num_threads() == expected
        assert n_threads() == 3
    assert n_threads() == before
