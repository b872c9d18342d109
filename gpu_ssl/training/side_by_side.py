"""Several trainings at a time on one GPU, interleaved, each on a stream of its own.

A small network's step, recorded as a CUDA graph, occupies a part of a large GPU. One thread starts the next
step of each training in turn, so that the steps of several overlap on the device. No training reads what
another writes, so the results do not depend on how many there are.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch

Result = TypeVar("Result")

Training = Generator[None, None, Result]
"""A training that performs one step each time it is resumed, and returns its result."""


def complete(training: Training[Result]) -> Result:
    """Perform all steps of one training."""
    while True:
        try:
            next(training)
        except StopIteration as done:
            result: Result = done.value
            return result


def train_side_by_side(trainings: Sequence[Training[Result]], device: torch.device) -> list[Result]:
    """Perform the steps of several trainings in turn until all are complete; on a GPU their steps overlap."""
    results: dict[int, Result] = {}
    with _streams(len(trainings), device) as streams:
        while len(results) < len(trainings):
            for number, training in enumerate(trainings):
                if number in results:
                    continue
                # None stands for the current stream, and for no stream on a CPU.
                with torch.cuda.stream(streams[number]):
                    try:
                        next(training)
                    except StopIteration as done:
                        results[number] = done.value
    return [results[number] for number in range(len(trainings))]


@contextmanager
def _streams(n: int, device: torch.device) -> Iterator[list[torch.cuda.Stream | None]]:
    """Yield a stream for each training, which starts after the work before it; later work waits for all."""
    if device.type != "cuda":
        yield [None] * n
        return
    current = torch.cuda.current_stream(device)
    own = [torch.cuda.Stream(device) for _ in range(n)]  # type: ignore[no-untyped-call]
    for stream in own:
        stream.wait_stream(current)
    try:
        yield list(own)
    finally:
        for stream in own:
            current.wait_stream(stream)
