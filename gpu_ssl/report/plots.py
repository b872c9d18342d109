"""Plots of a run, without a display or global state."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gpu_ssl import catalog
from gpu_ssl.experiment import Outcome
from gpu_ssl.records import CURVE_STEPS, Report, TrainingRecord
from gpu_ssl.report.confusion import confusion_figure
from gpu_ssl.runtime.figures import new_figure
from gpu_ssl.runtime.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_POINTS = 3000


def accuracy_against_labels(report: Report) -> "Figure":
    """Plot accuracy against the number of labels, with the standard deviation over splits as bars."""
    figure = new_figure(7, 4.5)
    axes = figure.add_subplot()
    for method in dict.fromkeys(result.method for result in report.results):
        results = sorted((r for r in report.results if r.method == method), key=lambda r: r.labels)
        axes.errorbar(
            [r.labels for r in results],
            [100 * r.accuracy_mean for r in results],
            yerr=[100 * (r.accuracy_std or 0) for r in results],
            marker="o",
            capsize=3,
            label=catalog.title(method),
        )
    for name in dict.fromkeys(f.name for f in report.published):
        figures = sorted((f.labels, 100 * f.accuracy) for f in report.published if f.name == name)
        axes.plot(*zip(*figures, strict=True), "k:x", label=name)
    axes.set_xscale("log")
    counts = sorted({result.labels for result in report.results})
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.set_xlabel("labelled images")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(report.dataset.name)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def accuracy_against_seconds(report: Report) -> "Figure":
    """Plot mean accuracies against the mean seconds of a split, a point for each number of labels."""
    figure = new_figure(7, 4.5)
    axes = figure.add_subplot()
    for method in dict.fromkeys(result.method for result in report.results):
        results = sorted((r for r in report.results if r.method == method), key=lambda r: r.labels)
        seconds = [max(sum(r.seconds) / len(r.seconds), 1e-3) for r in results]
        axes.plot(seconds, [100 * r.accuracy_mean for r in results], marker="o", label=catalog.title(method))
        axes.annotate(f"{results[-1].labels:,}", (seconds[-1], 100 * results[-1].accuracy_mean), fontsize=7)
    axes.set_xscale("log")
    axes.set_xlabel("seconds per split, without shared encoders")
    axes.set_ylabel("test accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def training_curves(training: TrainingRecord) -> "Figure":
    """Plot the training loss against the step, and both of its terms against the epoch."""
    figure = new_figure(9, 3.2)
    history = training.history
    by_step, *parts = figure.subplots(1, 3)
    per_epoch = training.steps / max(training.epochs, 1)
    steps = [
        per_epoch * (epoch + (i + 1) / len(losses.curve))
        for epoch, losses in enumerate(history)
        for i in range(len(losses.curve))
    ]
    by_step.plot(steps, [value for losses in history for value in losses.curve], linewidth=1)
    by_step.set_title("loss", fontsize=10)
    by_step.set_xlabel("step")
    by_step.set_ylabel("nats per image")
    for axes, name in zip(parts, ("reconstruction", "kl"), strict=True):
        axes.plot([h.epoch for h in history], [getattr(h, name) for h in history], marker=".")
        axes.set_xlabel("epoch")
        axes.set_title({"reconstruction": "reconstruction loss", "kl": "KL divergence"}[name], fontsize=10)
    for axes in figure.axes:
        axes.grid(alpha=0.3)
    return figure


def learning_curves(report: Report) -> "Figure":
    """Plot the loss of each method's networks at the largest number of labels, one line per split."""
    count = max(result.labels for result in report.results)
    drawn = [r for r in report.results if r.labels == count and r.curves]
    figure = new_figure(4 * len(drawn), 3.5)
    for axes, result in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True):
        for curve in result.curves:
            axes.plot([CURVE_STEPS * (i + 1) for i in range(len(curve))], curve, linewidth=1)
        axes.set_title(f"{result.method}, {count:,} labels")
        axes.set_xlabel("step")
        axes.set_ylabel(f"mean loss of {CURVE_STEPS} steps")
        axes.grid(alpha=0.3)
    return figure


def image_rows(rows: list[NDArray[np.float32]], title: str) -> "Figure":
    """Show rows of images, each of shape (n, channels, height, width), as one image with gaps."""
    channels, height, width = rows[0].shape[1:]
    gap, columns = max(1, height // 14), max(len(images) for images in rows)
    picture = np.ones((len(rows) * (height + gap) - gap, columns * (width + gap) - gap, channels))
    for i, images in enumerate(rows):
        for j, image in enumerate(images):
            top, left = i * (height + gap), j * (width + gap)
            picture[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    figure = new_figure(columns * 0.8, len(rows) * 0.9 + 0.3)
    figure.suptitle(title, fontsize=10)
    axes = figure.add_subplot()
    axes.imshow(picture if channels == 3 else picture[..., 0], cmap="gray", vmin=0, vmax=1)
    axes.set_axis_off()
    return figure


def confusion_matrix(outcome: Outcome) -> "Figure":
    """Plot the confusion matrix at the largest number of labels, as row percentages over all splits."""
    names, method = outcome.report.dataset.classes, outcome.report.results[0].method
    n_classes = len(names)
    predictions = outcome.predictions[method]
    count = max(predictions)
    matrix = np.zeros((n_classes, n_classes), np.int64)
    for predicted in predictions[count]:
        np.add.at(matrix, (outcome.test.labels, predicted.classes), 1)
    return confusion_figure(matrix, names, f"{method}, {count:,} labels: % of each class")


def feature_map(outcome: Outcome) -> "Figure":
    """Plot the first two principal components of the features of test images, coloured by class."""
    from sklearn.decomposition import PCA

    features = outcome.test_features[:N_POINTS]
    n_components = min(2, *features.shape)
    points = np.zeros((len(features), 2))
    points[:, :n_components] = PCA(n_components).fit_transform(features)
    labels = outcome.test.labels[:N_POINTS]
    figure = new_figure(8, 6)
    axes = figure.add_subplot()
    names = outcome.report.dataset.classes
    scatter = axes.scatter(
        points[:, 0], points[:, 1], c=labels, cmap="tab10" if len(names) <= 10 else "turbo", s=5
    )
    handles = scatter.legend_elements(num=list(range(len(names))))[0]
    axes.legend(handles, names, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set_title("features of test images, first two principal components")
    return figure


def write_plots(outcome: Outcome, folder: Path) -> None:
    """Write all plots of a run as PNG files into `folder`.

    Raises
    ------
    StorageError
        If a file cannot be written.
    """
    report = outcome.report
    figures = {
        "accuracy": accuracy_against_labels(report),
        "confusion-matrix": confusion_matrix(outcome),
        "feature-map": feature_map(outcome),
    }
    if report.training is not None:
        figures["training"] = training_curves(report.training)
    if any(result.curves for result in report.results):
        figures["learning-curves"] = learning_curves(report)
    for exhibit in outcome.exhibits:
        figures[exhibit.name] = image_rows(exhibit.rows, exhibit.title)
    for name, figure in figures.items():
        with atomic_path(folder / f"{name}.png") as temporary:
            figure.savefig(temporary, dpi=120)
