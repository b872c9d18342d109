"""The model card, and a reliability diagram."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gpu_ssl import catalog
from gpu_ssl.data.problems import printable
from gpu_ssl.data.summary import in_pixels
from gpu_ssl.fitted.records import Estimate, ModelRecord, SuspectLabel
from gpu_ssl.methods.validation import FOLDS_OF_NETWORKS
from gpu_ssl.report.command import command_of_predict
from gpu_ssl.report.confusion import confusion_figure
from gpu_ssl.report.reliability import reliability_diagram
from gpu_ssl.report.shapes import to_png
from gpu_ssl.runtime.figures import new_figure
from gpu_ssl.runtime.files import atomic_path, write_text
from gpu_ssl.statistics import in_percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEW = 100
"""Number of judged images below which the interval is too wide to rely on."""

ALIKE = 0.9
"""Share of independent trials below which the card reports that many are dependent."""

LISTED = 5
"""Maximum number of classes named in a line."""

MANY_COPIES = 0.2
"""Share of near duplicates among labelled images from which there may be undetected ones."""

SUSPECTS = "suspect-labels.csv"
"""File next to a model: labels that look wrong."""

PRETRAINED = "pretrained"
"""Encoder with weights published by others."""

CARD = "README.md"
TITLE = "# A classifier of images into"

FILES = (CARD, SUSPECTS, "confusion.json", "confusion.png", "reliability.png")
"""All files that `write_card` may write."""


def expectation(record: ModelRecord) -> str:
    """Return one line on the expected accuracy."""
    estimate = record.estimate
    if estimate is None:
        return f"accuracy not known: {_why_not_known(record)}"
    held_out = catalog.method(record.chosen.method).trains
    enough, how = (FOLDS_OF_NETWORKS * FEW, "held out once") if held_out else (FEW, "each held out in turn")
    line = (
        f"accuracy about {in_percent(estimate.accuracy)} (95 % interval {in_percent(estimate.low)} to "
        f"{in_percent(estimate.high)}), from {_judged(record, estimate)}, {how}"
    )
    worth = max(1, round(estimate.independent))
    if worth < ALIKE * estimate.of:
        line += f"; as grouped images count as one, they are worth {worth}"
    if worth < FEW:
        line += f"; {worth} are too few for a reliable estimate, label {enough} or more"
    return line


def _judged(record: ModelRecord, estimate: Estimate) -> str:
    """Return how many of the labelled images were judged, and why not all of them."""
    labelled = sum(record.n_labelled.values())
    if estimate.of == labelled:
        return f"{labelled:,} labelled images"
    reasons = []
    if estimate.copies:
        reasons.append("copies of an image count once")
    if estimate.of + estimate.copies < labelled and not catalog.method(record.chosen.method).trains:
        reasons.append("the only image or group of a class is not held out")
    why = f" ({'; '.join(reasons)})" if reasons else ""
    return f"{estimate.of:,} of {labelled:,} labelled images{why}"


def encoder_of(record: ModelRecord) -> str:
    """Return the name of the encoder, with that of its pretrained network if needed."""
    taken = [own["backbone"] for name, own in _pretrained(record) if name == PRETRAINED]
    return f"{record.encoder['name']}{f' ({taken[0]})' if taken else ''}"


def _pretrained(record: ModelRecord) -> list[tuple[str, dict[str, Any]]]:
    """Return name and settings of the parts of the encoder with weights published by others."""
    parts = [(part["name"], part["settings"]) for part in record.encoder["parts"]]
    return [(name, settings) for name, settings in parts if name.partition(":")[0] == PRETRAINED]


def _why_not_known(record: ModelRecord) -> str:
    single = [name for name, count in record.n_labelled.items() if count == 1]
    if single:
        return f"class {single[0]!r} has a single labelled image, so none can be held out"
    return (
        "all labelled images of a class are near duplicates of each other or of one group, so none can be "
        "held out"
    )


def notes(record: ModelRecord, folder: Path = Path()) -> list[str]:
    """Return further notes on the labelled images of a model in `folder`, one line each."""
    lines = []
    estimate, labelled = record.estimate, sum(record.n_labelled.values())
    if record.suspects:
        lines.append(
            f"{_counted(record.suspects, 'label looks', 'labels look')} wrong: see {folder / SUSPECTS}"
        )
    if estimate is not None and estimate.not_judged:
        single = [name for name in estimate.not_judged if record.n_labelled[name] == 1]
        grouped = [name for name in estimate.not_judged if record.n_labelled[name] > 1]
        if single:
            lines.append(
                f"{_classes(single, 'has', 'have')} a single label and {_are(single)} not judged; "
                "the accuracy is that of the others"
            )
        if grouped:
            lines.append(
                f"{_classes(grouped, 'is', 'are')} not judged: all labelled images of each are of one group, "
                "or were not held out; the accuracy is that of the others"
            )
    if record.near_copies and estimate is not None:
        where = (
            "had to be on both sides of folds, since little else is left: the accuracy is that on more "
            "of the same, and its interval counts all that look alike as one"
            if estimate.copies_apart
            else "stay in one fold, and count as one"
        )
        if record.near_copies >= MANY_COPIES * labelled and not estimate.copies_apart:
            where += (
                "; frames of one scene that differ more may have come apart, and the accuracy be too high: "
                "name the scenes in a column `group` of the label file"
            )
        lines.append(
            f"{record.near_copies} of {labelled} labelled images are near duplicates of another; they {where}"
        )
    return lines


def _counted(n: int, one: str, more: str) -> str:
    return f"{n} {one if n == 1 else more}"


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _classes(names: Sequence[str], one: str, more: str) -> str:
    listed = ", ".join(map(printable, names[:LISTED]))
    listed += f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"class {listed} {one}" if len(names) == 1 else f"classes {listed} {more}"


def warning(estimate: Estimate | None) -> str | None:
    """Return one line that advises against the model, if it is not suited to these images."""
    if estimate is None:
        return None
    if estimate.low <= estimate.most_frequent:
        better = estimate.accuracy > estimate.most_frequent
        return (
            f"this is not {'significantly ' if better else ''}better than always predicting the class with "
            f"most labels ({in_percent(estimate.accuracy)} against {in_percent(estimate.most_frequent)}, "
            f"95 % interval {in_percent(estimate.low)} to {in_percent(estimate.high)}); do not use this model"
        )
    if estimate.raw_pixels is not None and estimate.raw_pixels > estimate.high:
        return (
            f"an SVM on the raw pixels is better here ({in_percent(estimate.raw_pixels)}): the model drops "
            "brightness and fine detail, which may distinguish these classes"
        )
    return None


def write_card(folder: Path, record: ModelRecord, suspects: Sequence[SuspectLabel] = ()) -> None:
    """Write the model card next to a model.

    That is ``README.md``, a table of labels that look wrong, and, if there is an estimate, the confusion
    matrix as PNG and JSON and ``reliability.png``.

    Raises
    ------
    StorageError
        If a file cannot be written.
    """
    write_text(folder / CARD, _card(record))
    _write_suspects(folder / SUSPECTS, suspects)
    estimate = record.estimate
    if estimate is None:
        return
    matrix, names = estimate.confusion_matrix(), record.class_names
    write_text(
        folder / "confusion.json",
        json.dumps({"classes": names, "true_by_predicted": matrix.tolist()}) + "\n",
    )
    title = f"{estimate.of:,} labelled images: % of each class"
    for name, drawing in (
        ("reliability", reliability_diagram(estimate)),
        ("confusion", confusion_figure(matrix, names, title)),
    ):
        with atomic_path(folder / f"{name}.png") as temporary:
            temporary.write_bytes(to_png(drawing))


def _write_suspects(path: Path, suspects: Sequence[SuspectLabel]) -> None:
    # File names need not be UTF-8; they are written as they were read.
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(SuspectLabel._fields)
        writer.writerows((*own[:-1], f"{own.confidence:.4f}") for own in suspects)


def _card(record: ModelRecord) -> str:
    n_labelled = sum(record.n_labelled.values())
    more = "".join(f"- {line[0].upper()}{line[1:]}.\n" for line in notes(record))
    more += "".join(
        f"- The weights of {own['backbone']} are those of {own['source']}; licence: {own['licence']}.\n"
        for _, own in _pretrained(record)
    )
    return f"""{TITLE} {len(record.class_names)} classes

Made by gpu-ssl {record.gpu_ssl} on {record.created} from {record.n_images:,} images,
{n_labelled:,} of them labelled. Method: {catalog.title(record.chosen.method)}.{_why(record)}
Encoder: {encoder_of(record)}.

- {_input(record)}.
- Expected on images like the labelled ones: {expectation(record)}.{_beside(record.estimate)}
{more}- It always predicts one of its classes. `ood_score` marks images unlike the training images: above 1 an
  image is farther from them, or reconstructed worse, than 95 % of them.

{_table(record)}

Use it: `{command_of_predict("THIS_FOLDER", record.takes_embeddings)}`.
All settings and versions are in `model.json`.
"""


def _input(record: ModelRecord) -> str:
    if record.takes_embeddings:
        width = record.image_shape[2]
        return f"Inputs are embeddings of {width} numbers, by the same program as those it was fitted to"
    return f"Images are scaled to {in_pixels(record.encoded_shapes)}"


def _table(record: ModelRecord) -> str:
    """Return a table of the classes, with the metrics of each if there is an estimate."""
    estimate, counts = record.estimate, record.n_labelled
    if estimate is None:
        rows = [f"| {_cell(name)} | {count:,} |" for name, count in counts.items()]
        return "\n".join(["| class | labelled images |", "|---|---|", *rows])
    rows = [
        f"| {_cell(own.name)} | {counts[own.name]:,} | {own.support:,} | "
        + " | ".join(_percent(value) for value in (own.recall, own.precision, own.f1))
        + " |"
        for own in estimate.classes
    ]
    head = "| class | labelled images | judged | recall | precision | F1 |"
    mean = f"| mean of the classes | | | | | {_percent(estimate.macro_f1)} |"
    return "\n".join([head, "|---|---|---|---|---|---|", *rows, mean])


def _cell(text: str) -> str:
    return printable(text).translate({ord(letter): f"&#{ord(letter)};" for letter in "&<|[`*\\"})


def _percent(value: float | None) -> str:
    return "" if value is None else in_percent(value)


def _why(record: ModelRecord) -> str:
    return f" Chosen by cross-validation: {record.chosen.reason}." if record.chosen.reason else ""


def _beside(estimate: Estimate | None) -> str:
    if estimate is None or estimate.raw_pixels is None:
        return ""
    said = f" An SVM on the raw pixels reaches {in_percent(estimate.raw_pixels)} on the same images."
    return said if (problem := warning(estimate)) is None else f"{said} Warning: {problem}."


def contact_sheet(images: NDArray[np.uint8], captions: Sequence[str], columns: int = 10) -> "Figure":
    """Return a figure of images (n, channels, height, width) in rows, each below its caption."""
    rows = math.ceil(len(images) / columns)
    figure = new_figure(1.1 * columns, 1.3 * rows)
    for i, axes in enumerate(figure.subplots(rows, columns, squeeze=False).ravel()):
        axes.set_axis_off()
        if i < len(images):
            picture = images[i].transpose(1, 2, 0)
            axes.imshow(picture if picture.shape[2] == 3 else picture[..., 0], cmap="gray", vmin=0, vmax=255)
            axes.set_title(captions[i], fontsize=7, parse_math=False)
    return figure
