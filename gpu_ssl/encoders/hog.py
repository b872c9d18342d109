"""Histograms of oriented gradients (HOG): edge strength by direction in each cell of an image.

The method is that of Dalal and Triggs, "Histograms of oriented gradients for human detection", CVPR 2005,
sections 6.1 to 6.4, as implemented by `skimage.feature.hog`: each pixel votes for one orientation and one
cell, where the paper interpolates between neighbours, and blocks have no Gaussian window.
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
"""Number of equal orientation bins from 0 to 180 degrees (section 6.3)."""

BLOCK = 2
"""Cells along a side of a block (section 6.4); fewer if the image has fewer."""

CLIP = 0.2
"""Values of a block are clipped here before the second normalization (L2-Hys, section 6.4)."""

EPSILON = 1e-5
"""Its square is added to a block's sum of squares, for intensities from 0 to 255, as in scikit-image."""

CELLS = 7
"""Approximate number of cells along the longest side."""

COTANGENTS = tuple(1 / math.tan(math.pi * edge / ORIENTATIONS) for edge in range(1, ORIENTATIONS))
"""Cotangents of the bin edges. All are irrational, so no gradient of integers lies on an edge."""

BASE = 512
"""Base for packing both components of a gradient into one number; more than twice their maximum of 255."""


def cell_side(image_shape: ImageShape) -> int:
    """Return the side of a cell in pixels.

    It is a seventh of the longest side, rounded down, but at least 2 and at most the shortest side. So square
    images of at least 14 pixels have 7 to 10 cells per side, and of at least 28 pixels 7 or 8 cells (1296 or
    1764 features).

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

    The features equal ``skimage.feature.hog(image, orientations=9, pixels_per_cell=(cell, cell),
    cells_per_block=(2, 2), block_norm="L2-Hys")`` for a uint8 image, in the same order: row and column of the
    block, row and column of the cell in the block, orientation. Pixels at the bottom and right that do not
    fill a cell are ignored. In colour images, each pixel votes with the channel of the strongest gradient
    (the first of equals). The features of an image do not depend on the rest of the batch.

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
        # The batch axis comes last, so that operations run along contiguous memory even for tiny images.
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
        # The sign is 1 for directions before an edge and -1 after it: the signs at a bin's two edges differ
        # by 2 for directions in the bin, and by 0 for all others.
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

    A gradient and its opposite are equivalent. Both components are packed into one number, `BASE` times the
    vertical plus the horizontal difference; its absolute value represents the direction from 0 to below 180
    degrees.

    Parameters
    ----------
    pixels : Tensor of shape (channels, height, width, n), uint8
        Intensities.

    Returns
    -------
    gradients, squares : Tensor of shape (height, width, n), float32
        The packed gradient and its squared norm.
    """
    (gradients, squares), *others = (_gradients(channel) for channel in _bordered(_bordered(pixels, 1), 2))
    for other, other_squares in others:
        gradients = torch.where(other_squares > squares, other, gradients)
        squares = torch.maximum(squares, other_squares)
    return gradients.abs(), squares


def _bordered(pixels: Tensor, dim: int) -> Tensor:
    """Pad a dimension by reflection, so that centred differences at the border are 0."""
    last = pixels.shape[dim] - 1
    before, after = (pixels.narrow(dim, place, 1) for place in (min(1, last), max(0, last - 1)))
    return torch.cat([before, pixels, after], dim)


def _gradients(channel: Tensor) -> tuple[Tensor, Tensor]:
    """Return the packed centred differences of a padded channel and their squared norm."""
    values = channel.float()
    vertical = values[2:, 1:-1] - values[:-2, 1:-1]
    horizontal = values[1:-1, 2:] - values[1:-1, :-2]
    squares = torch.addcmul(vertical.square(), horizontal, horizontal)
    return torch.add(horizontal, vertical, alpha=BASE), squares


# Sums are chains of tensor additions, because the order of additions in torch.sum may depend on n.


def _cell_sums(values: Tensor, side: int) -> Tensor:
    """Sum values of shape (height, width, n) over square cells."""
    if torch.compiler.is_exporting():  # one operation instead of 2 * side, which take minutes to trace
        height, width = values.shape[:2]
        cells = values.reshape(height // side, side, width // side, side, values.shape[2])
        return cells.sum(dim=(1, 3))
    values = reduce(torch.add, [values[i::side] for i in range(side)])
    return reduce(torch.add, [values[:, i::side] for i in range(side)])


def _unit(blocks: Tensor) -> Tensor:
    """Divide blocks, of shape (rows, columns, cells, orientations, n), by their L2 norms."""
    # In units of EPSILON: the ONNX exporter treats adding EPSILON ** 2 as adding 0, which would give 0 / 0
    # for blocks without gradients.
    blocks = blocks / EPSILON
    squares = reduce(torch.add, reduce(torch.add, blocks.square().unbind(2)).unbind(2))
    return blocks * (squares + 1).rsqrt()[:, :, None, None]


def fit(images: TrainingImages, training: Training) -> HOG:
    """Return the encoder; nothing is learned."""
    return build(images.image_shape, {})


def build(image_shape: ImageShape, settings: dict[str, Any]) -> HOG:
    """Return the encoder; see `encoders.encoder`."""
    return HOG(image_shape)
