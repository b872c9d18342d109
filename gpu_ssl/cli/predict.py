"""``gpu-ssl predict``: classes, confidences and out-of-distribution scores of images."""

import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from gpu_ssl.cli.answer_file import (
    ESCAPE_FORMULAS,
    FORMATS,
    Rows,
    answer_file,
    check_output,
    choose_format,
    refuse_inputs,
)
from gpu_ssl.cli.fit import tell_skipped
from gpu_ssl.cli.messages import print_message
from gpu_ssl.cli.options import DEVICE, QUIET
from gpu_ssl.cli.own_options import Asked, image_options, open_stream
from gpu_ssl.cli.paths import GivenPath
from gpu_ssl.data.problems import counted
from gpu_ssl.errors import DataError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_ssl.fitted.model import Answers
    from gpu_ssl.fitted.records import ModelRecord

UNKNOWN = "unknown"
"""Label of predictions beyond the requested bounds; in a label file it means unlabelled."""

LEAST_ROW = 8
"""Minimum size in bytes of a prediction, in any format."""

COLUMNS = {"path": str, "label": str, "confidence": float, "second_label": str, "ood_score": float}


@click.command()
@click.argument("model", type=GivenPath())
@click.argument("data", type=GivenPath(allow_dash=True))
@click.option(
    "--output",
    type=GivenPath(),
    metavar="FILE",
    help="File for the predictions; an interrupted command leaves no file.  [default: stdout]",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(list(FORMATS)),
    help="CSV with a header, JSON lines, or Parquet.  [default: by the ending of --output; csv]",
)
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="P",
    help="Write unknown as the label if the confidence is below P.  [default: never]",
)
@click.option(
    "--unknown-above",
    type=click.FloatRange(0),
    default=math.inf,
    metavar="S",
    help="Write unknown as the label if ood_score is above S, such as 1.  [default: never]",
)
@click.option(
    "--probabilities", is_flag=True, help="Also write the probability of every class, in columns p_CLASS."
)
@click.option("--escape-formulas", is_flag=True, help=ESCAPE_FORMULAS)
@image_options
@DEVICE
@QUIET
def command(
    model: Path,
    data: Path,
    output: Path | None,
    kind: str | None,
    min_confidence: float,
    unknown_above: float,
    probabilities: bool,
    escape_formulas: bool,
    device: str,
    quiet: bool,
    **asked: Any,
) -> None:
    """Predict the classes of images with a fitted model.

    DATA is a folder of images, one image, an .npy, .npz or .parquet file, or - for paths on stdin, one a
    line; for a model of embeddings, a file of embeddings. Memory does not grow with the number of images,
    except for their names.

    confidence is the probability of the label, calibrated on the labelled images. ood_score is an
    out-of-distribution score: above 1 the image is farther from the training images, or reconstructed worse,
    than 95 % of them.

    \b
      gpu-ssl predict model photos > answers.csv
      gpu-ssl predict model photos --min-confidence 0.8 --unknown-above 1 > answers.csv
      find . -name '*.jpg' | gpu-ssl predict model - --format jsonl
    """
    from gpu_ssl.runtime import cuda_context

    cuda_context.begin_context(device)
    from gpu_ssl.cli.display import make_progress
    from gpu_ssl.fitted.storage import load
    from gpu_ssl.runtime.device import memory_errors

    refuse_exchanged("predict", model, data)
    refuse_inputs(output, model, data)
    kind = choose_format(output, kind)
    fitted, record = load(model, device)
    stream = open_stream(read_paths() if str(data) == "-" else data, fitted, record, Asked(**asked))
    check_output(output, LEAST_ROW * (stream.total or 0))
    wanted = Wanted(record.class_names, min_confidence, unknown_above, probabilities)
    columns = COLUMNS | dict.fromkeys(wanted.probability_columns, float)
    known = Known(record)
    with (
        answer_file(output, kind, columns, escape_formulas) as write,
        make_progress(quiet).task("predict", stream.total or 0) as advance,
    ):
        for names, images, others in stream:
            known.look_at(images)
            with memory_errors(fitted.device, "give `device=cpu`"):
                answers = fitted.predict(images, others)
            write(_rows(names, answers, wanted))
            advance("", len(names))
        tell_skipped(stream.n_skipped, stream.skipped)
        if not stream.n_read:
            raise DataError(f"no readable image in {data}")
    if known.count:
        print_message(f"{known}; leave them out to measure its accuracy")


def refuse_exchanged(command: str, model: Path, data: Path) -> None:
    """Refuse a model and images in the wrong order.

    Raises
    ------
    UsageError
        If only the second is a model.
    """
    from gpu_ssl.fitted.storage import MODEL

    if (data / MODEL).is_file() and not (model / MODEL).is_file():
        raise UsageError(f"{data} is the model: give it first, gpu-ssl {command} {data} {model}")


def read_paths() -> Iterator[str]:
    """Yield the lines of stdin that are not empty."""
    lines = (os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer)
    return (line for line in lines if line)


@dataclass(frozen=True)
class Wanted:
    """Options of the output.

    Parameters
    ----------
    class_names : tuple of str
        Of the model.
    min_confidence, unknown_above : float
        Bounds of the confidence and the out-of-distribution score, beyond which the label is unknown.
    probabilities : bool
        Whether the probabilities of all classes are written.
    """

    class_names: tuple[str, ...]
    min_confidence: float
    unknown_above: float
    probabilities: bool

    @property
    def probability_columns(self) -> list[str]:
        """Names of the columns of probabilities."""
        return [f"p_{name}" for name in self.class_names] if self.probabilities else []


def _rows(names: list[str], answers: "Answers", wanted: Wanted) -> Rows:
    second = second_best(answers)
    confidences = answers.probabilities.max(axis=1)
    unknown = (confidences < wanted.min_confidence) | (answers.ood_scores > wanted.unknown_above)
    return [
        {
            "path": name,
            "label": UNKNOWN if unknown[i] else wanted.class_names[answers.classes[i]],
            "confidence": round(float(confidences[i]), 4),
            "second_label": wanted.class_names[second[i]],
            "ood_score": round(float(answers.ood_scores[i]), 3),
            **{
                column: round(float(probability), 4)
                for column, probability in zip(
                    wanted.probability_columns, answers.probabilities[i], strict=False
                )
            },
        }
        for i, name in enumerate(names)
    ]


def second_best(answers: "Answers") -> "NDArray[np.int64]":
    """Return the second most likely class of each image, (n,)."""
    others = answers.probabilities.copy()
    others[np.arange(len(others)), answers.classes] = -1
    best: NDArray[np.int64] = others.argmax(axis=1)
    return best


class Known:
    """Counts the images that equal those whose labels a model was fitted to.

    Parameters
    ----------
    record : ModelRecord
        The record of the model.
    """

    def __init__(self, record: "ModelRecord") -> None:
        self.count = 0
        self._keys = set(record.labelled_keys)

    def look_at(self, images: "NDArray[Any]") -> None:
        """Count the known ones among some images."""
        from gpu_ssl.data.own import image_key

        self.count += sum(key in self._keys for key in map(image_key, images))

    def __str__(self) -> str:
        equal = counted(self.count, "of these images is", "of these images are")
        return f"{equal} among those that were labelled when the model was fitted, or equal to one of them"
