"""The plot of a confusion matrix."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.runtime.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMED, NUMBERED = 60, 20
"""Maximum number of classes with axis labels, and with figures in the cells."""


def confusion_figure(matrix: NDArray[np.int64], names: Sequence[str], title: str) -> "Figure":
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
