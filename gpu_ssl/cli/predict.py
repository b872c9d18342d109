"""``gpu-ssl predict``: images in; classes, confidence and a score for what the model has never seen out."""

import csv
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click
import numpy as np

from gpu_ssl.cli.fit import DEVICE, tell_skipped
from gpu_ssl.errors import DataError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_ssl.fitted.model import Answers
    from gpu_ssl.fitted.records import ModelRecord

COLUMNS = ("path", "label", "confidence", "second_label", "ood_score")


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where the answers go; written whole or not at all.  [default: stdout]",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["csv", "jsonl"]),
    help="CSV with a header, or a JSON object a line.  [default: by the name of --output; csv]",
)
@DEVICE
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
def command(model: Path, data: Path, output: Path | None, kind: str | None, device: str, quiet: bool) -> None:
    """Name the classes of images by a model that gpu-ssl fit made.

    DATA is a folder of images, one image, an .npy or .npz file, or - for paths on stdin, one a line. A
    million images take no more memory than a thousand, but for their names.

    confidence is the probability of the label, calibrated on the labelled images. ood_score tells how
    unlike all that the model has learned from an image is: above 1 it is farther from the training images, or
    worse reconstructed, than all but one in twenty of them.

    \b
      gpu-ssl predict model photos > answers.csv
      find . -name '*.jpg' | gpu-ssl predict model - --format jsonl
    """
    from gpu_ssl.cli.display import make_progress
    from gpu_ssl.data.stream import ImageStream
    from gpu_ssl.fitted.storage import load
    from gpu_ssl.runtime.device import memory_errors

    check_output(output)
    fitted, record = load(model, device)
    stream = ImageStream(read_paths() if str(data) == "-" else data, record.image_shape)
    kind = kind or ("jsonl" if output is not None and output.suffix in (".jsonl", ".ndjson") else "csv")
    seen = 0
    with opened(output) as file, make_progress(quiet).task("predict", stream.total or 0) as advance:
        write = _writer(kind, file)
        for names, images in stream:
            seen += _known(images, record)
            with memory_errors(fitted.vae.device, "give --device cpu"):
                answers = fitted.predict(images)
            _write_answers(write, names, answers, record)
            advance("", len(names))
        tell_skipped(stream.n_skipped, stream.skipped)
        if not stream.n_read:
            raise DataError(f"there was no readable image in {data}")
    if seen:
        click.echo(
            f"gpu-ssl: {seen} of these images carried a label when the model was fitted; leave them out to "
            "measure its accuracy",
            err=True,
        )


def read_paths() -> Iterator[str]:
    """Give the lines of stdin that are not empty."""
    lines = (os.fsdecode(line.rstrip(b"\n")) for line in sys.stdin.buffer)
    return (line for line in lines if line)


def check_output(output: Path | None) -> None:
    """Refuse a folder as the place of a file, before any work is done.

    Raises
    ------
    UsageError
        If `output` is one.
    """
    if output is not None and output.is_dir():
        raise UsageError(f"{output} is a folder; name a file")


@contextmanager
def opened(output: Path | None) -> Iterator[TextIO]:
    """Give stdout, or a file that is there when the block has ended well."""
    from gpu_ssl.runtime.files import atomic_path

    if output is None:
        # File names need not be UTF-8; they go out as they came in.
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
        yield sys.stdout
        return
    with (
        atomic_path(output) as path,
        path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        # File names need not be UTF-8; they go out as they came in.
        yield file


Write = Callable[[dict[str, Any]], Any]


def _writer(kind: str, file: TextIO) -> Write:
    if kind == "jsonl":
        return lambda row: file.write(json.dumps(row) + "\n")
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    return writer.writerow


def _write_answers(write: Write, names: list[str], answers: "Answers", record: "ModelRecord") -> None:
    second = second_best(answers)
    confidences = answers.probabilities.max(axis=1)
    for i, name in enumerate(names):
        write(
            {
                "path": name,
                "label": record.class_names[answers.classes[i]],
                "confidence": round(float(confidences[i]), 4),
                "second_label": record.class_names[second[i]],
                "ood_score": round(float(answers.ood_scores[i]), 3),
            }
        )


def second_best(answers: "Answers") -> "NDArray[np.int64]":
    """Return the second most likely class of each image, (n,)."""
    others = answers.probabilities.copy()
    others[np.arange(len(others)), answers.classes] = -1
    best: NDArray[np.int64] = others.argmax(axis=1)
    return best


def _known(images: "NDArray[np.uint8]", record: "ModelRecord") -> int:
    """Count the images whose label the model was given."""
    from gpu_ssl.data.own import image_key

    keys = set(record.labelled_keys)
    return sum(image_key(image) in keys for image in images)
