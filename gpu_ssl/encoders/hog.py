"""Histograms of oriented gradients (HOG): how strong the edges in each part of an image are, by direction.

The method is that of Dalal and Triggs, "Histograms of oriented gradients for human detection", CVPR 2005,
sections 6.1 to 6.4, as `skimage.feature.hog` has it: a pixel votes for one orientation and one cell, where
the paper interpolates between neighbours, and a block has no Gaussian window.
"""

import math
from functools import reduce
from itertools import product
from typing import Any

import torch
from torch import Tensor

from gpu_ssl.encoders.encoder import Encoder, ImageShape
from gpu_ssl.encoders.fitting import Training, TrainingImages

ORIENTATIONS = 9
"""Bins of equal width for directions from 0 to 180 degrees (section 6.3)."""

BLOCK = 2
"""Cells along a side of a block (section 6.4); fewer where the image has fewer."""

CLIP = 0.2
"""Largest value of a block before it is normalized a second time (L2-Hys, section 6.4)."""

EPSILON = 1e-5
"""Its square is added to a block's sum of squares; for intensities from 0 to 255, and as in scikit-image."""

CELLS = 7
"""Cells along the longest side, or a few more."""

COTANGENTS = tuple(1 / math.tan(math.pi * edge / ORIENTATIONS) for edge in range(1, ORIENTATIONS))
"""Of the edges between bins. All are irrational, so that no gradient of whole numbers is on an edge."""

BASE = 512
"""Of the two-digit number that stands for a gradient: more than twice a difference of intensities, 255."""


def cell_side(image_shape: ImageShape) -> int:
    """Choose how many pixels long and wide a cell is.

    It is a seventh of the longest side, rounded down, but at least 2, and at most the shortest side. A square
    image then has 7 to 10 cells a side from 14 pixels on, and 7 or 8 from 28 on: 1296 or 1764 features.

    Parameters
    ----------
    image_shape : tuple of int
        Channels, height and width.

    Returns
    -------
    int
        At least 1.
    """
    _, height, width = image_shape
    return min(max(2, max(height, width) // CELLS), height, width)


class HOG(Encoder):
    """Histograms of oriented gradients of images of one shape.

    The features are those of ``skimage.feature.hog(image, orientations=9, pixels_per_cell=(cell, cell),
    cells_per_block=(2, 2), block_norm="L2-Hys")`` for a uint8 image, in the same order: row and column of the
    block, row and column of the cell in the block, orientation. Pixels at the bottom and at the right that do
    not fill a cell have no vote. In a colour image, the channel with the strongest gradient votes for a
    pixel, the first one of equals. The features of an image do not depend on the rest of the batch.

    Parameters
    ----------
    image_shape : tuple of int
        Channels, height and width, each at least 1.

    Attributes
    ----------
    cell : int
        Side of a cell in pixels; see `cell_side`.
    """

    def __init__(self, image_shape: ImageShape) -> None:
        super().__init__("hog", image_shape, 0)
        self.cell = cell_side(image_shape)
        self._cells = tuple(side // self.cell for side in image_shape[1:])
        self._block = tuple(min(BLOCK, cells) for cells in self._cells)
        self._blocks = tuple(cells - side + 1 for cells, side in zip(self._cells, self._block, strict=True))
        self.width = math.prod(self._blocks + self._block) * ORIENTATIONS

    def forward(self, images: Tensor) -> Tensor:
        """Compute the features.

        Parameters
        ----------
        images : Tensor of shape (n, channels, height, width), uint8
            Images of `image_shape`.

        Returns
        -------
        Tensor of shape (n, width), float32
            Values from 0 to 1; column-major.
        """
        # The images come last, so that every operation runs along contiguous memory, however small they are.
        pixels = images.flatten(1).T.contiguous().reshape(*self.image_shape, images.shape[0])
        gradients, squares = _strongest(pixels)
        rows, columns = (cells * self.cell for cells in self._cells)
        return self._normalized(self._histograms(gradients[:rows, :columns], squares[:rows, :columns])).T

    def _histograms(self, gradients: Tensor, squares: Tensor) -> Tensor:
        """Return the mean vote in each cell (section 6.3), of shape (rows, columns, orientations, n)."""
        vertical = (gradients / BASE).round_()
        horizontal = torch.sub(gradients, vertical, alpha=BASE)
        votes = squares.sqrt() * (0.5 / self.cell**2)
        histograms = []
        # 1 where a pixel's direction is before an edge, -1 where after: the signs of a bin's two edges differ
        # by 2 for the directions in the bin, and by 0 for all others.
        lower: Tensor | float = -1.0
        for cotangent in COTANGENTS:
            upper = torch.sub(horizontal, vertical, alpha=cotangent).sign_()
            histograms.append(_cell_sums((upper - lower).mul_(votes), self.cell))
            lower = upper
        histograms.append(_cell_sums((1.0 - lower) * votes, self.cell))
        return torch.stack(histograms, dim=2)

    def _normalized(self, histograms: Tensor) -> Tensor:
        """Return the values of all blocks after L2-Hys (section 6.4), of shape (width, n)."""
        rows, columns = self._blocks
        corners = product(*map(range, self._block))
        cells = [histograms[i : i + rows, j : j + columns] for i, j in corners]
        return _unit(_unit(torch.stack(cells, dim=2)).clamp(max=CLIP)).flatten(0, 3)


def _strongest(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the strongest channel's gradient at each pixel (section 6.2).

    A gradient and its opposite count as the same. It is one number, `BASE` times the vertical difference plus
    the horizontal one, so that the absolute value is the one of both whose direction is from 0 to below 180
    degrees.

    Parameters
    ----------
    pixels : Tensor of shape (channels, height, width, n), uint8
        Intensities.

    Returns
    -------
    gradients, squares : Tensor of shape (height, width, n), float32
        The gradient, and its squared length.
    """
    (gradients, squares), *others = (_gradients(channel) for channel in _bordered(_bordered(pixels, 1), 2))
    for other, other_squares in others:
        gradients = torch.where(other_squares > squares, other, gradients)
        squares = torch.maximum(squares, other_squares)
    return gradients.abs(), squares


def _bordered(pixels: Tensor, dim: int) -> Tensor:
    """Repeat the second pixel before the first and the last but one after the last: no difference there."""
    last = pixels.shape[dim] - 1
    before, after = (pixels.narrow(dim, place, 1) for place in (min(1, last), max(0, last - 1)))
    return torch.cat([before, pixels, after], dim)


def _gradients(channel: Tensor) -> tuple[Tensor, Tensor]:
    """Return centred differences as one number and their squared length, of a bordered channel."""
    values = channel.float()
    vertical = values[2:, 1:-1] - values[:-2, 1:-1]
    horizontal = values[1:-1, 2:] - values[1:-1, :-2]
    squares = torch.addcmul(vertical.square(), horizontal, horizontal)
    return torch.add(horizontal, vertical, alpha=BASE), squares


# Sums are chains of additions of whole tensors: torch.sum may add in another order for another n.


def _cell_sums(values: Tensor, side: int) -> Tensor:
    """Sum values of shape (height, width, n) over square cells."""
    if torch.compiler.is_exporting():  # one operation in place of twice `side`, which take minutes to trace
        height, width = values.shape[:2]
        cells = values.reshape(height // side, side, width // side, side, values.shape[2])
        return cells.sum(dim=(1, 3))
    values = reduce(torch.add, [values[i::side] for i in range(side)])
    return reduce(torch.add, [values[:, i::side] for i in range(side)])


def _unit(blocks: Tensor) -> Tensor:
    """Divide blocks, of shape (rows, columns, cells, orientations, n), by their L2 norms."""
    # In units of EPSILON: what writes ONNX takes adding its square for adding 0, and blocks without an edge
    # would be 0 / 0.
    blocks = blocks / EPSILON
    squares = reduce(torch.add, reduce(torch.add, blocks.square().unbind(2)).unbind(2))
    return blocks * (squares + 1).rsqrt()[:, :, None, None]


def fit(images: TrainingImages, training: Training) -> HOG:
    """Make the encoder; there is nothing to learn."""
    return build(images.image_shape, {})


def build(image_shape: ImageShape, settings: dict[str, Any]) -> HOG:
    """Make the encoder; see `encoders.encoder`."""
    return HOG(image_shape)
