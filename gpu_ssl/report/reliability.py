"""The reliability diagram of a model."""

from typing import TYPE_CHECKING

from gpu_ssl.fitted.records import Estimate
from gpu_ssl.runtime.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def reliability_diagram(estimate: Estimate) -> "Figure":
    """Plot the share of correct predictions against their confidence."""
    figure = new_figure(4.5, 4.5)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], "k:", linewidth=1, label="perfect calibration")
    largest = max(b.size for b in estimate.bins)
    axes.scatter(
        [b.confidence for b in estimate.bins],
        [b.accuracy for b in estimate.bins],
        s=[10 + 120 * b.size / largest for b in estimate.bins],
        label="labelled images of similar confidence",
    )
    axes.set_xlabel("confidence")
    axes.set_ylabel("share of correct predictions")
    axes.set_title(f"expected calibration error {estimate.calibration_error:.3f}")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
