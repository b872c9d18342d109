"""The batches of an epoch, in an order that does not depend on where the images are stored.

The order is built from chunks of as many images as fit in `CHUNK_BYTES`. A chunk consists of runs of
consecutive images, one from each 64th of the data set, and is shuffled: so a disk is read in long sequential
reads, and the images of a batch come from the whole data set. Data that fit in one chunk (as Fashion-MNIST)
are shuffled as a whole.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_ssl.runtime.memory_map import release
from gpu_ssl.runtime.randomness import Randomness, Share

CHUNK_BYTES: Final = 2**27
"""Size in bytes of a chunk: of the images that are shuffled, and when streaming also read, at a time."""

RUNS: Final = 64
"""Number of runs of consecutive images in a chunk, if there are several chunks."""

RESIDENT_SHARE: Final = 0.25
"""Maximum memory of resident images as a fraction of the GPU's free memory; canonical images need as much."""

Run = tuple[int, int]
"""First row, and the row after the last."""

Epoch = Callable[[torch.Generator], Iterator["Batch"]]
"""Iterates once over all full batches, in a random order from a generator."""

MakeTargets = Callable[[Tensor], Tensor]
"""Computes the reconstruction targets of uint8 images, as uint8."""


class Batch(NamedTuple):
    """The images of one step on this process.

    `images` and `targets`, their reconstruction targets, are uint8 (n, channels, height, width); `total` is
    the size of the batch over all processes.
    """

    images: Tensor
    targets: Tensor
    randomness: Randomness
    total: int


class Images(Protocol):
    """The images to train on, uint8, on the device or the host.

    Attributes
    ----------
    shape : tuple of int
        Channels, height and width.
    device : torch.device
        Device of the batches.
    """

    shape: tuple[int, int, int]
    device: torch.device

    def __len__(self) -> int:
        """Return the number of images over all processes."""

    def epochs(self, batch_size: int, make_targets: MakeTargets) -> Epoch:
        """Return an iterator over the images in batches."""


def chunk_length(shape: Sequence[int], batch_size: int) -> int:
    """Return the number of images of a shape per chunk: full batches, at least one."""
    return batch_size * max(1, CHUNK_BYTES // (int(np.prod(shape)) * batch_size))


def chunks_of(n: int, length: int, generator: torch.Generator, device: torch.device) -> list[list[Run]]:
    """Split `n` rows into runs, and combine these at random into chunks of `length` rows (the last: fewer).

    A chunk has one run from each of `RUNS` equal parts of the rows, so that shards have equal shares in it.
    Every row is in exactly one chunk. Rows that fit in a single chunk keep their order.
    """
    if n <= length:
        return [[(0, n)]]
    full, tail = divmod(n, length)
    size, rest = (np.diff(np.linspace(0, k, RUNS + 1).astype(np.int64))[:, None] for k in (length, tail))
    part = np.cumsum(full * size + rest)[:, None] - (full * size + rest)
    # Position in each part of the run of each chunk; that of the last chunk is shorter.
    order = torch.rand(RUNS, full + 1, generator=generator, device=device).argsort(dim=1).cpu().numpy()
    starts = part + order * size - (order > order[:, -1:]) * (size - rest)
    stops = starts + np.hstack([np.repeat(size, full, axis=1), rest])
    runs = np.stack([starts, stops], axis=2).transpose(1, 0, 2).tolist()
    chunks = [[(start, stop) for start, stop in chunk if start < stop] for chunk in runs]
    return chunks if tail else chunks[:-1]


def _parts(
    runs: list[Run], own: range, total: int, batch_size: int, generator: torch.Generator, device: torch.device
) -> Iterator[tuple[Tensor, Randomness]]:
    """Shuffle a chunk, split it into full batches, and yield the rows of each in this process's shard `own`.

    Rows are counted within the shard's rows of the chunk, in the order of its runs.
    """
    length = sum(stop - start for start, stop in runs)
    order = torch.randperm(length, generator=generator, device=device)
    order = order[: length // batch_size * batch_size]
    if not len(order):
        return
    if len(own) == total:
        yield from ((batch, generator) for batch in torch.split(order, batch_size))
        return
    rows = torch.cat([torch.arange(*run, device=device) for run in runs])
    here = (rows >= own.start) & (rows < own.stop)
    slots = here.cumsum(0) - 1
    places = here[order].nonzero().squeeze(1)
    # One synchronization per chunk: the number of rows of each batch on this process.
    counts = torch.bincount(places // batch_size, minlength=len(order) // batch_size).tolist()
    for part in torch.split(places, counts):
        yield slots[order[part]], Share(generator, batch_size, part % batch_size)


def _own_runs(runs: list[Run], own: range) -> list[Run]:
    """Return the parts of some runs in this process's shard."""
    cut = ((max(start, own.start), min(stop, own.stop)) for start, stop in runs)
    return [(start, stop) for start, stop in cut if start < stop]


class Resident:
    """Images on the device, or this process's shard of them.

    Parameters
    ----------
    pixels : Tensor of shape (n, channels, height, width), uint8
        The images of this process.
    start : int
        Row of the first of them in the whole data set.
    total : int, optional
        Number of images over all processes, if larger.
    """

    def __init__(self, pixels: Tensor, start: int = 0, total: int | None = None) -> None:
        self.pixels, self.own = pixels, range(start, start + len(pixels))
        self._total = len(pixels) if total is None else total
        channels, height, width = pixels.shape[1:]
        self.shape = (channels, height, width)
        self.device = pixels.device

    def __len__(self) -> int:
        return self._total

    def epochs(self, batch_size: int, make_targets: MakeTargets) -> Epoch:
        """See `Images`. Targets depend only on the image, so they are computed once."""
        targets = make_targets(self.pixels)

        def epoch(generator: torch.Generator) -> Iterator[Batch]:
            for runs in chunks_of(len(self), chunk_length(self.shape, batch_size), generator, self.device):
                own = [torch.arange(*run, device=self.device) for run in _own_runs(runs, self.own)]
                rows = torch.cat(own) - self.own.start if own else None
                parts = _parts(runs, self.own, len(self), batch_size, generator, self.device)
                for slots, randomness in parts:
                    chosen = slots if rows is None else rows[slots]
                    images = self.pixels[chosen]
                    drawn = images if targets is self.pixels else targets[chosen]
                    yield Batch(images, drawn, randomness, batch_size)

        return epoch


class Streamed:
    """Images on the host, such as a memory map larger than memory; one chunk at a time is on the device.

    During training on one chunk, a thread reads the next into the other of two buffers (pinned for a GPU).
    The memory required does not depend on the number of images.

    Parameters
    ----------
    pixels : ndarray of shape (n, channels, height, width), uint8
        All images; only read.
    device : torch.device
        Device of the batches.
    own : range, optional
        Shard of rows that this process reads.
    """

    def __init__(self, pixels: NDArray[np.uint8], device: torch.device, own: range | None = None) -> None:
        self.pixels, self.device = pixels, device
        self.own = range(len(pixels)) if own is None else own
        channels, height, width = pixels.shape[1:]
        self.shape = (channels, height, width)

    def __len__(self) -> int:
        return len(self.pixels)

    def epochs(self, batch_size: int, make_targets: MakeTargets) -> Epoch:
        """See `Images`."""
        length = chunk_length(self.shape, batch_size)
        pinned = self.device.type == "cuda"
        size = (min(length, len(self.own)), *self.shape)
        buffers = [torch.empty(size, dtype=torch.uint8, pin_memory=pinned) for _ in range(2)]

        def epoch(generator: torch.Generator) -> Iterator[Batch]:
            chunks = chunks_of(len(self), length, generator, self.device)
            for runs, chunk in zip(chunks, self._uploaded(chunks, buffers), strict=True):
                targets = make_targets(chunk)
                parts = _parts(runs, self.own, len(self), batch_size, generator, self.device)
                for slots, randomness in parts:
                    yield Batch(chunk[slots], targets[slots], randomness, batch_size)

        return epoch

    def _uploaded(self, chunks: list[list[Run]], buffers: list[Tensor]) -> Iterator[Tensor]:
        """Yield the shard's rows of each chunk on the device; the previous chunk is then no longer needed."""
        before: torch.cuda.Event | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="read") as reader:
            reading = reader.submit(self._read, chunks[0], buffers[0], None)
            for number in range(len(chunks)):
                chunk = reading.result().to(self.device, non_blocking=True)
                copied = torch.cuda.current_stream(self.device).record_event() if chunk.is_cuda else None
                if number + 1 < len(chunks):
                    following = buffers[(number + 1) % 2]
                    reading = reader.submit(self._read, chunks[number + 1], following, before)
                before = copied
                yield chunk
        if before is not None:  # The next epoch refills both buffers.
            before.synchronize()

    def _read(self, runs: list[Run], buffer: Tensor, copied: torch.cuda.Event | None) -> Tensor:
        """Fill a buffer after its previous content has been copied to the device."""
        if copied is not None:
            copied.synchronize()
        filled = 0
        for start, stop in _own_runs(runs, self.own):
            buffer.numpy()[filled : filled + stop - start] = self.pixels[start:stop]
            filled += stop - start
        release(self.pixels)
        return buffer[:filled]


def place(pixels: NDArray[np.uint8], device: torch.device, own: range | None = None) -> Images:
    """Put images (n, channels, height, width) on the device, or stream them if there are many.

    On a CPU there are many if they fill several chunks; on a GPU, if they exceed a quarter
    of its free memory. On a CPU,
    training gives bitwise identical results either way. Each process uses its shard `own`.
    """
    own = range(len(pixels)) if own is None else own
    room = CHUNK_BYTES
    if device.type == "cuda":
        room = max(room, int(RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]))
    shard = pixels[own.start : own.stop]
    if shard.nbytes <= room:
        return Resident(torch.from_numpy(np.ascontiguousarray(shard)).to(device), own.start, len(pixels))
    return Streamed(pixels, device, own)


def blocks_of(
    pixels: NDArray[Any], rows: NDArray[np.int64], size: int, device: torch.device
) -> Iterator[Tensor]:
    """Yield the images in some rows of `pixels`, `size` at a time, on the device."""
    for start in range(0, len(rows), size):
        yield torch.from_numpy(pixels[rows[start : start + size]]).to(device)
        release(pixels)
