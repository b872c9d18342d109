"""The picture of a confusion matrix."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.runtime.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMED, NUMBERED = 60, 20
"""Most classes whose names are written at the sides, and most whose figures are written into the cells."""


def confusion_figure(matrix: NDArray[np.int64], names: Sequence[str], title: str) -> "Figure":
    """Draw a confusion matrix as percentages of the true classes.

    Parameters
    ----------
    matrix : ndarray of shape (n_classes, n_classes), int64
        Number of images by true class (rows) and class named (columns); a row may be empty.
    names : sequence of str
        One name a class.
    title : str
        What stands above.
    """
    n = len(names)
    percent = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = max(4.5, 3 + 0.4 * min(n, NAMED))
    figure = new_figure(side, side)
    axes = figure.add_subplot()
    axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    if n <= NAMED:
        axes.set_xticks(range(n), names, rotation=90, parse_math=False)
        axes.set_yticks(range(n), names, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, fontsize=10)
    if n <= NUMBERED:
        for (i, j), value in np.ndenumerate(percent):
            if value >= 0.5:
                colour = "white" if value > 50 else "black"
                axes.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=8, color=colour)
    return figure
