"""The plot of a confusion matrix."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.data.problems import printable
from gpu_ssl.report.shapes import SIZE, Box, Drawing, Shape, Text

NAMED, NUMBERED = 60, 20
"""Maximum number of classes with axis labels, and with figures in the cells."""

LONGEST = 24
"""Maximum number of characters of a name."""

CELL, SMALLEST, SIDE = 34.0, 14.0, 480.0
"""Side length of a cell with few classes and with more, and of the whole matrix with many."""

WHITE, BLUE = (247, 251, 255), (8, 48, 107)


def confusion_figure(matrix: NDArray[np.int64], names: Sequence[str], title: str) -> Drawing:
    """Plot a confusion matrix as percentages of the true classes.

    Parameters
    ----------
    matrix : ndarray of shape (n_classes, n_classes), int64
        Number of images by true class (rows) and predicted class (columns); a row may be empty.
    names : sequence of str
        Names of the classes.
    title : str
        Title of the plot.
    """
    n = len(names)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    cell = (CELL if n <= NUMBERED else SMALLEST) if n <= NAMED else SIDE / n
    shown = [_short(printable(name)) for name in names] if n <= NAMED else []
    margin = 34 + 0.62 * SIZE * max(map(len, shown), default=0)
    side, top = n * cell, 30.0
    width = max(margin + side + 14, 8.0 * len(title))
    shapes: list[Shape] = [Text((width / 2, top / 2), title, "middle")]
    shapes.append(Box((margin, top), side, side, _blue(0.0)))
    for (i, j), share in np.ndenumerate(shares):
        if share > 0:
            shapes.append(Box((margin + j * cell, top + i * cell), cell, cell, _blue(float(share))))
    if n <= NUMBERED:
        shapes += [
            Text(
                (margin + (j + 0.5) * cell, top + (i + 0.5) * cell),
                f"{100 * share:.0f}",
                "middle",
                10.5,
                "white" if share > 0.5 else "black",
            )
            for (i, j), share in np.ndenumerate(shares)
            if share >= 0.005
        ]
    for i, name in enumerate(shown):
        shapes.append(Text((margin - 5, top + (i + 0.5) * cell), name, "end"))
        shapes.append(Text((margin + (i + 0.5) * cell, top + side + 5), name, "end", upright=True))
    shapes.append(Text((12, top + side / 2), "true", "middle", upright=True))
    shapes.append(Text((margin + side / 2, top + side + margin - 12), "predicted", "middle"))
    return Drawing(width, top + side + margin, tuple(shapes))


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..."


def _blue(share: float) -> str:
    mixed = (round(low + share * (high - low)) for low, high in zip(WHITE, BLUE, strict=True))
    return "#{:02x}{:02x}{:02x}".format(*mixed)
