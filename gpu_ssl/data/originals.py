"""Decoding a user's images again, at other sizes."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.data.decoding import decode_all
from gpu_ssl.data.encoded import EncodedImages
from gpu_ssl.data.opening import Source
from gpu_ssl.data.preparation import ImageShape, Preparation
from gpu_ssl.errors import DataError


@dataclass(frozen=True)
class Originals:
    """The readable images of a collection of encoded images.

    Parameters
    ----------
    encoded : EncodedImages
        All encoded images.
    how : Preparation
        How they are converted to arrays.
    skipped : frozenset of str
        Names of the unreadable images.
    """

    encoded: EncodedImages
    how: Preparation
    skipped: frozenset[str]

    def blocks(self, shape: ImageShape, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        """Yield the images from position `start` on, in uint8 blocks of shape (n, *shape).

        Raises
        ------
        DataError
            If an image can no longer be read.
        """
        return self._decode(islice(self._readable(), start, None), shape)

    def some(self, shape: ImageShape, rows: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        """Yield the images at the positions `rows`, in ascending order; see `blocks`."""
        wanted = frozenset(rows.tolist())
        return self._decode((pair for row, pair in enumerate(self._readable()) if row in wanted), shape)

    def _readable(self) -> Iterator[tuple[str, Source]]:
        """Yield the names and sources of the readable images."""
        pairs = zip(self.encoded.names, self.encoded.sources(), strict=True)
        return (pair for pair in pairs if pair[0] not in self.skipped)

    def _decode(self, pairs: Iterator[tuple[str, Source]], shape: ImageShape) -> Iterator[NDArray[np.uint8]]:
        waiting: deque[str] = deque()

        def sources() -> Iterator[Source]:
            for name, source in pairs:
                waiting.append(name)
                yield source

        for block in decode_all(sources(), shape, self.how):
            pixels = []
            for outcome in block:
                name = waiting.popleft()
                if isinstance(outcome, DataError):
                    raise DataError(f"{name} was readable before but cannot be read now: {outcome}")
                pixels.append(outcome.pixels)
            yield np.stack(pixels)
