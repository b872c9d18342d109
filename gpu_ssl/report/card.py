"""What people read of a model: a card, and a diagram of how far its confidence is to be trusted."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gpu_ssl import catalog
from gpu_ssl.data.splits import FOLDS
from gpu_ssl.fitted.records import Estimate, ModelRecord
from gpu_ssl.runtime.figures import new_figure
from gpu_ssl.runtime.files import atomic_path, write_text

FEW = 100
"""Judged images: fewer leave the interval too wide to rely on."""


def expectation(record: ModelRecord) -> str:
    """Say in one line what accuracy to expect."""
    estimate = record.estimate
    if estimate is None:
        alone = [name for name, count in record.n_labelled.items() if count == 1]
        which = f"class {alone[0]!r} has" if alone else "a class has"
        return f"accuracy not known: {which} a single labelled image, so there is none to check with"
    held_out = catalog.method(record.chosen.method).trains
    enough, how = (FOLDS * FEW, "held out once") if held_out else (FEW, "each left out in turn")
    line = (
        f"accuracy about {estimate.accuracy:.1%} (95 % interval {estimate.low:.1%} to "
        f"{estimate.high:.1%}), from {estimate.of} labelled images, {how}"
    )
    if estimate.of < FEW:
        line += f"; {estimate.of} are too few to rely on, label {enough} or more"
    return line


def warning(estimate: Estimate | None) -> str | None:
    """Say in one line that these images are not for this model, where they are not."""
    if estimate is None:
        return None
    if estimate.low <= estimate.most_frequent:
        return (
            "this is no better than always naming the class with most labels "
            f"({estimate.most_frequent:.1%}); do not use this model"
        )
    if estimate.raw_pixels is not None and estimate.raw_pixels > estimate.high:
        return (
            f"an SVM on the raw pixels is better here ({estimate.raw_pixels:.1%}): the model drops "
            "brightness and fine grain, which may tell these classes apart"
        )
    return None


def write_card(folder: Path, record: ModelRecord) -> None:
    """Write ``README.md`` and, where there is an estimate, ``reliability.png`` beside a model.

    Raises
    ------
    StorageError
        If a file cannot be written.
    """
    write_text(folder / "README.md", _card(record))
    if record.estimate is not None:
        with atomic_path(folder / "reliability.png") as temporary:
            reliability_diagram(record.estimate).savefig(temporary, dpi=120)


def _card(record: ModelRecord) -> str:
    channels, height, width = record.image_shape
    n_labelled = sum(record.n_labelled.values())
    rows = "\n".join(f"| {name} | {count:,} |" for name, count in record.n_labelled.items())
    return f"""# A classifier of images into {len(record.class_names)} classes

Made by gpu-ssl {record.gpu_ssl} on {record.created} from {record.n_images:,} images,
{n_labelled:,} of them with a label. Method: {catalog.title(record.chosen.method)}.{_why(record)}
Encoder: {record.encoder["name"]}.

- Images are scaled to {width} x {height} pixels, {"grey" if channels == 1 else "in colour"}.
- What to expect on images like the labelled ones: {expectation(record)}.{_beside(record.estimate)}
- It always answers with one of its classes. An image unlike all it has seen shows in `ood_score`: above 1 it
  is farther from the training images, or worse reconstructed, than 95 % of them are.

| class | labelled images |
|---|---|
{rows}

Use it: `gpu-ssl predict THIS_FOLDER IMAGES`. All settings and versions are in `model.json`.
"""


def _why(record: ModelRecord) -> str:
    return f" Chosen by cross-validation: {record.chosen.reason}." if record.chosen.reason else ""


def _beside(estimate: Estimate | None) -> str:
    if estimate is None or estimate.raw_pixels is None:
        return ""
    said = f" An SVM on the raw pixels reaches {estimate.raw_pixels:.1%} on the same images."
    return said if (problem := warning(estimate)) is None else f"{said} Beware: {problem}."


def contact_sheet(images: NDArray[np.uint8], captions: Sequence[str], columns: int = 10) -> Figure:
    """Draw images (n, channels, height, width) in rows, each below its caption."""
    rows = math.ceil(len(images) / columns)
    figure = new_figure(1.1 * columns, 1.3 * rows)
    for i, axes in enumerate(figure.subplots(rows, columns, squeeze=False).ravel()):
        axes.set_axis_off()
        if i < len(images):
            picture = images[i].transpose(1, 2, 0)
            axes.imshow(picture if picture.shape[2] == 3 else picture[..., 0], cmap="gray", vmin=0, vmax=255)
            axes.set_title(captions[i], fontsize=7, parse_math=False)
    return figure


def reliability_diagram(estimate: Estimate) -> Figure:
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
