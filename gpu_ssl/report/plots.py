"""Plots of a run, as drawings."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gpu_ssl import catalog
from gpu_ssl.records import CURVE_STEPS, Report, TrainingRecord
from gpu_ssl.report.charts import COLOURS, Axis, Series, chart
from gpu_ssl.report.confusion import confusion_figure
from gpu_ssl.report.data_address import image_of, sheet_of
from gpu_ssl.report.feature_map import two_components
from gpu_ssl.report.shapes import Drawing, side_by_side, to_png
from gpu_ssl.runtime.files import atomic_path

if TYPE_CHECKING:
    from PIL.Image import Image

    from gpu_ssl.experiment import Outcome

N_POINTS = 3000

ENLARGED = 112
"""About the longest side of an image of an exhibit, in pixels."""


def accuracy_against_labels(report: Report) -> Drawing:
    """Plot accuracy against the number of labels, with the standard deviation over splits as bars."""
    series = []
    for i, method in enumerate(_methods(report)):
        results = sorted((r for r in report.results if r.method == method), key=lambda r: r.labels)
        series.append(
            Series(
                [(r.labels, 100 * r.accuracy_mean) for r in results],
                catalog.title(method),
                COLOURS[i % len(COLOURS)],
                dots=True,
                errors=[100 * (r.accuracy_std or 0) for r in results],
            )
        )
    for name in dict.fromkeys(f.name for f in report.published):
        figures = sorted((f.labels, 100 * f.accuracy) for f in report.published if f.name == name)
        series.append(Series(figures, name, dots=True, dashed=True))
    ticks = tuple((n, f"{n:,}") for n in sorted({result.labels for result in report.results}))
    x = Axis("labelled images", log=True, ticks=ticks)
    return chart(x, Axis("test accuracy, %"), series, report.dataset.name)


def accuracy_against_seconds(report: Report) -> Drawing:
    """Plot mean accuracies against the mean seconds of a split, a point for each number of labels."""
    series = []
    for i, method in enumerate(_methods(report)):
        results = sorted((r for r in report.results if r.method == method), key=lambda r: r.labels)
        seconds = [max(sum(r.seconds) / len(r.seconds), 1e-3) for r in results]
        series.append(
            Series(
                [(own, 100 * r.accuracy_mean) for own, r in zip(seconds, results, strict=True)],
                catalog.title(method),
                COLOURS[i % len(COLOURS)],
                dots=True,
                notes=[""] * (len(results) - 1) + [f"{results[-1].labels:,}"],
            )
        )
    x = Axis("seconds per split, without shared encoders", log=True)
    return chart(x, Axis("test accuracy, %"), series)


def _methods(report: Report) -> list[str]:
    return list(dict.fromkeys(result.method for result in report.results))


def training_curves(training: TrainingRecord) -> list[Drawing]:
    """Plot the training loss against the step, and both of its terms against the epoch."""
    whole = Series(training.loss_by_step(), colour=COLOURS[0])
    drawings = [chart(Axis("step"), Axis("nats per image"), [whole], "loss", 320, 260)]
    for name, title in (("reconstruction", "reconstruction loss"), ("kl", "KL divergence")):
        values = [(losses.epoch, getattr(losses, name)) for losses in training.history]
        own = Series(values, colour=COLOURS[0], dots=True)
        drawings.append(chart(Axis("epoch"), Axis(""), [own], title, 320, 260))
    return drawings


def learning_curves(report: Report) -> list[Drawing]:
    """Plot the loss of each method's networks at the largest number of labels, one line per split."""
    count = max(result.labels for result in report.results)
    drawings = []
    for result in (r for r in report.results if r.labels == count and r.curves):
        lines = [
            Series(
                [(CURVE_STEPS * (step + 1), value) for step, value in enumerate(curve)],
                colour=COLOURS[i % len(COLOURS)],
            )
            for i, curve in enumerate(result.curves)
        ]
        y = Axis(f"mean loss of {CURVE_STEPS} steps")
        drawings.append(chart(Axis("step"), y, lines, f"{result.method}, {count:,} labels", 340, 280))
    return drawings


def image_rows(rows: list[NDArray[np.float32]]) -> "Image":
    """Show rows of images, each of shape (n, channels, height, width), as one image with gaps."""
    columns = max(len(images) for images in rows)
    blank = np.ones_like(rows[0][:1])
    whole = [image for images in rows for image in (*images, *[blank[0]] * (columns - len(images)))]
    side = max(rows[0].shape[2:])
    sheet = sheet_of([image_of(image, side) for image in whole], columns, max(1, side // 14), ground=255)
    times = max(1, ENLARGED // side)
    return sheet.resize((times * sheet.width, times * sheet.height), 0)


def confusion_matrix(outcome: "Outcome") -> Drawing:
    """Plot the confusion matrix at the largest number of labels, as row percentages over all splits."""
    names, method = outcome.report.dataset.classes, outcome.report.results[0].method
    n_classes = len(names)
    predictions = outcome.predictions[method]
    count = max(predictions)
    matrix = np.zeros((n_classes, n_classes), np.int64)
    for predicted in predictions[count]:
        np.add.at(matrix, (outcome.test.labels, predicted.classes), 1)
    return confusion_figure(matrix, names, f"{method}, {count:,} labels: % of each class")


def feature_map(outcome: "Outcome") -> Drawing:
    """Plot the first two principal components of the features of test images, coloured by class."""
    points = two_components(outcome.test_features[:N_POINTS])
    labels = outcome.test.labels[:N_POINTS]
    series = []
    for own, name in enumerate(outcome.report.dataset.classes):
        chosen = points[labels == own]
        colour = COLOURS[own % len(COLOURS)]
        sizes = [1.5] * len(chosen)
        series.append(Series(chosen.tolist(), name, colour, line=False, dots=True, sizes=sizes))
    title = "features of test images, first two principal components"
    return chart(Axis(""), Axis(""), series, title, width=640, height=480)


def write_plots(outcome: "Outcome", folder: Path) -> None:
    """Write all plots of a run as PNG files into `folder`.

    Raises
    ------
    StorageError
        If a file cannot be written.
    """
    report = outcome.report
    drawings: dict[str, Drawing] = {
        "accuracy": accuracy_against_labels(report),
        "confusion-matrix": confusion_matrix(outcome),
        "feature-map": feature_map(outcome),
    }
    if report.training is not None:
        drawings["training"] = side_by_side(training_curves(report.training))
    if any(result.curves for result in report.results):
        drawings["learning-curves"] = side_by_side(learning_curves(report))
    for name, drawing in drawings.items():
        with atomic_path(folder / f"{name}.png") as temporary:
            temporary.write_bytes(to_png(drawing))
    for exhibit in outcome.exhibits():
        with atomic_path(folder / f"{exhibit.name}.png") as temporary:
            image_rows(exhibit.rows).save(temporary, "PNG")
