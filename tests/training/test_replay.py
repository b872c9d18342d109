"""The work of a step, repeated: where nothing records, and what it is given where something does."""

import pytest
import torch
from torch import Tensor

from gpu_ssl.training.replay import Replay


def test_where_nothing_records_the_work_is_done_each_time_with_plain_numbers() -> None:
    replay, numbers = Replay(False, torch.Generator()), []

    def work(values: Tensor, factor: float) -> Tensor:
        numbers.append(factor)
        return factor * values

    results = [replay(work, [torch.full((2,), float(n))], [2.0 + n]) for n in range(3)]
    assert [result.tolist() for result in results] == [[0, 0], [3, 3], [8, 8]]
    assert numbers == [2.0, 3.0, 4.0]
    assert not replay.recorded


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU records")
def test_recording_begins_with_the_second_time_and_anew_after_forgetting() -> None:
    replay, values = Replay(True, torch.Generator()), [torch.zeros(1)]
    for _ in range(2):
        assert replay(lambda value: value + 1, values, []).tolist() == [1]
        # There is no GPU to record for.
        with pytest.raises((RuntimeError, AssertionError), match=r"CUDA|NVIDIA|cuda"):
            replay(lambda value: value + 1, values, [])
        replay.forget()
