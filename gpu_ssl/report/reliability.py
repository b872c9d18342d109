"""The diagram of how far the confidence of a model is to be trusted."""

from typing import TYPE_CHECKING

from gpu_ssl.fitted.records import Estimate
from gpu_ssl.runtime.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def reliability_diagram(estimate: Estimate) -> "Figure":
    """Draw the share of right answers against the confidence that they were given with."""
    figure = new_figure(4.5, 4.5)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], "k:", linewidth=1, label="confidence that means what it says")
    largest = max(b.size for b in estimate.bins)
    axes.scatter(
        [b.confidence for b in estimate.bins],
        [b.accuracy for b in estimate.bins],
        s=[10 + 120 * b.size / largest for b in estimate.bins],
        label="labelled images of like confidence",
    )
    axes.set_xlabel("confidence")
    axes.set_ylabel("share that is right")
    axes.set_title(f"expected calibration error {estimate.calibration_error:.3f}")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
