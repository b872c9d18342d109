"""The reliability diagram of a model."""

from gpu_ssl.fitted.records import Estimate
from gpu_ssl.report.charts import COLOURS, Axis, Series, chart
from gpu_ssl.report.shapes import Drawing


def reliability_diagram(estimate: Estimate) -> Drawing:
    """Plot the share of correct predictions against their confidence."""
    largest = max(b.size for b in estimate.bins)
    ideal = Series(((0, 0), (1, 1)), "perfect calibration", dashed=True)
    found = Series(
        [(b.confidence, b.accuracy) for b in estimate.bins],
        "labelled images of similar confidence",
        COLOURS[0],
        line=False,
        dots=True,
        sizes=[2 + 4.5 * (b.size / largest) ** 0.5 for b in estimate.bins],
    )
    return chart(
        Axis("confidence", (0, 1.02)),
        Axis("share of correct predictions", (0, 1.02)),
        [ideal, found],
        f"expected calibration error {estimate.calibration_error:.3f}",
        width=400,
        height=380,
    )
