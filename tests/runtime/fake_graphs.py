"""Stands for CUDA graphs without a GPU: recording runs the work, and replaying runs it again.

Like torch's own, a recording that fails leaves its stream the current one, and its generator unusable.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
import torch


class Generator:
    """A source of numbers that refuses once a recording with it has failed, as torch's does."""

    def __init__(self) -> None:
        self.recording, self.drawn = False, 0

    def draw(self) -> int:
        if self.recording:
            raise RuntimeError("Offset increment outside graph capture encountered unexpectedly.")
        self.drawn += 1
        return self.drawn

    def clone_state(self) -> "Generator":
        clone = Generator()
        clone.drawn = self.drawn
        return clone

    def graphsafe_set_state(self, other: "Generator") -> None:
        self.recording, self.drawn = other.recording, other.drawn


class FakeGraphs:
    """Replaces what of `torch.cuda` needs a GPU.

    Parameters
    ----------
    n_streams : int
        Streams that are handed out in turn.
    fails : str
        What the recording raises, or "".
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, n_streams: int = 32, fails: str = "") -> None:
        self.current, self.replays, numbers = 0, 0, count()
        outer = self

        class Stream:
            def __init__(self, device: torch.device) -> None:
                self.cuda_stream = 1 + next(numbers) % n_streams

        class CUDAGraph:
            def __init__(self) -> None:
                self.generators: list[Generator] = []

            def register_generator_state(self, generator: Generator) -> None:
                self.generators.append(generator)

            def replay(self) -> None:
                outer.replays += 1

        @contextmanager
        def stream(own: Stream) -> Iterator[None]:
            before, outer.current = outer.current, own.cuda_stream
            try:
                yield
            finally:
                outer.current = before

        @contextmanager
        def graph(of: CUDAGraph, stream: Stream, capture_error_mode: str) -> Iterator[None]:
            outer.current = stream.cuda_stream
            if fails:
                for generator in of.generators:
                    generator.recording = True
                raise RuntimeError(fails)
            yield

        @contextmanager
        def device(of: torch.device) -> Iterator[None]:
            yield

        parts: dict[str, Callable[..., Any]] = {
            "Stream": Stream,
            "CUDAGraph": CUDAGraph,
            "stream": stream,
            "graph": graph,
            "device": device,
        }
        for name, part in parts.items():
            monkeypatch.setattr(torch.cuda, name, part)
