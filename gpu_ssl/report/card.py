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
from gpu_ssl.report.command import command_of_predict
from gpu_ssl.report.confusion import confusion_figure
from gpu_ssl.report.expectation import SUSPECTS, expectation, notes, warning
from gpu_ssl.report.reliability import reliability_diagram
from gpu_ssl.report.shapes import to_png
from gpu_ssl.runtime.figures import new_figure
from gpu_ssl.runtime.files import atomic_path, write_text
from gpu_ssl.statistics import in_percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRETRAINED = "pretrained"
"""Encoder with weights published by others."""

CARD = "README.md"
TITLE = "# A classifier of images into"

FILES = (CARD, SUSPECTS, "confusion.json", "confusion.png", "reliability.png")
"""All files that `write_card` may write."""


def encoder_of(record: ModelRecord) -> str:
    """Return the name of the encoder, with that of its pretrained network if needed."""
    taken = [own["backbone"] for name, own in _pretrained(record) if name == PRETRAINED]
    return f"{record.encoder['name']}{f' ({taken[0]})' if taken else ''}"


def _pretrained(record: ModelRecord) -> list[tuple[str, dict[str, Any]]]:
    """Return name and settings of the parts of the encoder with weights published by others."""
    parts = [(part["name"], part["settings"]) for part in record.encoder["parts"]]
    return [(name, settings) for name, settings in parts if name.partition(":")[0] == PRETRAINED]


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
            pixels = images[i].transpose(1, 2, 0)
            axes.imshow(pixels if pixels.shape[2] == 3 else pixels[..., 0], cmap="gray", vmin=0, vmax=255)
            axes.set_title(captions[i], fontsize=7, parse_math=False)
    return figure
