"""Images of the user's own at any size, decoded anew from their files."""

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
    """The readable ones of encoded images.

    Parameters
    ----------
    encoded : EncodedImages
        All of them.
    how : Preparation
        How they become arrays.
    skipped : frozenset of str
        Names of those that could not be read.
    """

    encoded: EncodedImages
    how: Preparation
    skipped: frozenset[str]

    def blocks(self, shape: ImageShape, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        """Decode the images from number `start` on, in blocks (n, *shape).

        Raises
        ------
        DataError
            If one cannot be read any more.
        """
        return self._decode(islice(self._readable(), start, None), shape)

    def some(self, shape: ImageShape, rows: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        """Decode the images with the numbers `rows`, ascending; see `blocks`."""
        wanted = frozenset(rows.tolist())
        return self._decode((pair for row, pair in enumerate(self._readable()) if row in wanted), shape)

    def _readable(self) -> Iterator[tuple[str, Source]]:
        """Give the names and sources of those that could be read."""
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
                    raise DataError(f"{name} could be read before, and cannot now: {outcome}")
                pixels.append(outcome.pixels)
            yield np.stack(pixels)
