"""``gpu-ssl suggest``: the images to label next, or first."""

import csv
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import numpy as np

from gpu_ssl.cli.answer_file import ESCAPE_FORMULAS, check_output, opened, refuse_inputs
from gpu_ssl.cli.fit import tell_skipped
from gpu_ssl.cli.messages import line_of, no_formula, print_message
from gpu_ssl.cli.options import DEVICE, QUIET
from gpu_ssl.cli.own_options import Asked, image_options, open_stream, tell_problems
from gpu_ssl.cli.paths import GivenPath
from gpu_ssl.cli.predict import read_paths, refuse_exchanged, second_best
from gpu_ssl.data.problems import counted
from gpu_ssl.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from gpu_ssl.data.stream import Block
    from gpu_ssl.runtime.progress import Progress

COLUMNS = ("path", "label", "prediction", "confidence", "second_prediction")


@click.command()
@click.argument(
    "places",
    nargs=-1,
    required=True,
    type=GivenPath(allow_dash=True),
    metavar="[MODEL] DATA",
)
@click.option(
    "-n", "count", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Number of images."
)
@click.option(
    "--output",
    type=GivenPath(),
    metavar="FILE",
    help="CSV file for the suggestions; fill in its empty column label.  [default: stdout]",
)
@click.option(
    "--sheet",
    type=GivenPath(),
    metavar="PNG",
    help="Also write a contact sheet of the images, with their row numbers and the model's predictions.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Random seed of the choice.",
)
@click.option("--escape-formulas", is_flag=True, help=ESCAPE_FORMULAS)
@image_options
@DEVICE
@QUIET
def command(
    places: tuple[Path, ...],
    count: int,
    output: Path | None,
    sheet: Path | None,
    seed: int,
    escape_formulas: bool,
    device: str,
    quiet: bool,
    **options: Any,
) -> None:
    """Suggest the images to label next, where labels improve the model most; without a model, the first ones.

    DATA is what gpu-ssl predict takes; without MODEL, no single image and no paths on stdin.

    With MODEL, the suggestions are unlabelled images that the model is uncertain about and that differ from
    each other. Labels of such hard images lower the accuracy that fit estimates, which then is below the
    accuracy on all images. Without MODEL, the suggestions are typical images that differ from each other.

    Fill in the column label, and pass the file to fit together with the labels that you have.

    \b
      gpu-ssl suggest photos -n 50 --output first.csv --sheet first.png      without a model
      gpu-ssl fit photos --labels first.csv --output model
      gpu-ssl suggest model photos -n 50 --output next.csv --sheet next.png
      gpu-ssl fit photos --labels first.csv --labels next.csv --output model-2
    """
    from gpu_ssl.cli.display import make_progress

    check_output(output)
    check_output(sheet)
    if output is not None and output.suffix.lower() not in ("", ".csv"):
        raise UsageError(f"expected an output file that ends in .csv, got {output}")
    if sheet is not None and sheet.suffix.lower() not in ("", ".png"):
        raise UsageError(f"expected a --sheet that ends in .png, got {sheet}")
    if output is not None and output.is_file():
        raise UsageError(
            f"--output {output} exists, and may hold labels that were filled in; name another file"
        )
    if len(places) > 2:
        raise UsageError("give a model and a folder of images, or only the latter")
    *models, data = places
    refuse_inputs(sheet, *places)
    if models:
        refuse_exchanged("suggest", models[0], data)
    progress = make_progress(quiet)
    asked = Asked(**options)
    if models:
        chosen = _by_model(models[0], data, count, seed, asked, device, progress)
    else:
        chosen = _first(data, count, seed, asked, device, progress)
    if not chosen.names:
        raise DataError(f"no readable image in {data} is unlabelled")
    if sheet is not None and chosen.images.dtype != np.uint8:
        raise UsageError("--sheet needs images, and these are embeddings; leave it out")
    _write(chosen, output, escape_formulas)
    if sheet is not None:
        _draw(chosen, sheet)
    if len(chosen.names) < count:
        left_out = (
            "labelled images, their copies and copies of each other"
            if models
            else "labelled and blank images"
        )
        print_message(
            f"only {counted(len(chosen.names), 'image is', 'images are')} left to suggest: {left_out} are "
            "left out"
        )


class Chosen(NamedTuple):
    """Images to label: names, pixels and, if there is a model, its predictions."""

    names: list[str]
    images: "NDArray[Any]"
    predictions: "list[tuple[str, float, str]] | None" = None


def _by_model(
    model: Path, data: Path, count: int, seed: int, asked: Asked, device: str, progress: "Progress"
) -> Chosen:
    from gpu_ssl.fitted.storage import load
    from gpu_ssl.fitted.suggestion import suggest
    from gpu_ssl.runtime.device import memory_errors

    fitted, record = load(model, device)
    stream = open_stream(read_paths() if str(data) == "-" else data, fitted, record, asked)
    with progress.task("look", stream.total or 0) as advance:

        def watched() -> "Iterator[Block]":
            for block in stream:
                yield block
                advance("", len(block.names))

        with memory_errors(fitted.device, "give `device=cpu`"):
            chosen = suggest(fitted, watched(), count, record.labelled_keys, seed)
    tell_skipped(stream.n_skipped, stream.skipped)
    if chosen is None or not len(chosen):
        return Chosen([], np.empty(0, np.uint8))
    second = second_best(chosen.answers)
    names = record.class_names
    predictions = [
        (names[best], round(float(chosen.answers.probabilities[i].max()), 4), names[second[i]])
        for i, best in enumerate(chosen.answers.classes)
    ]
    return Chosen(chosen.names, chosen.images, predictions)


def _first(data: Path, count: int, seed: int, asked: Asked, device: str, progress: "Progress") -> Chosen:
    """Choose without a model; refuse a model given without images."""
    import torch

    from gpu_ssl.data.collection import Reading
    from gpu_ssl.data.label_columns import Columns
    from gpu_ssl.data.own import UNLABELLED, load_own, with_labels
    from gpu_ssl.data.preparation import Preparation
    from gpu_ssl.fitted.storage import MODEL
    from gpu_ssl.fitted.suggestion import suggest_first
    from gpu_ssl.runtime.device import memory_errors, resolve_device

    if (data / MODEL).is_file():
        raise UsageError(f"{data} is a model; give the images as well: gpu-ssl suggest {data} IMAGES")
    if str(data) == "-":
        raise UsageError("paths on stdin need a model; give a folder of images")
    how = Preparation(pages=asked.pages or "first", large_images=asked.large_images)
    images = load_own(data, (), Reading(how=how, columns=Columns(path=asked.path_column)), progress)
    # Few labels are the reason for this, not a problem.
    tell_problems([problem for problem in images.problems if problem.kind != "few-labels"])
    if data.is_dir() and not (images.labels == UNLABELLED).any():
        print_message("all images lie in folders, whose names are not taken as classes here")
        images = with_labels(images, {})
    place = torch.device(resolve_device(device).used)
    with memory_errors(place, "give `device=cpu`"):
        rows = suggest_first(images, count, place, seed)
    return Chosen([images.names[row] for row in rows], images.images[rows])


def _draw(chosen: Chosen, sheet: Path) -> None:
    from gpu_ssl.report.card import contact_sheet
    from gpu_ssl.runtime.files import atomic_path

    captions = [
        f"{row}" if chosen.predictions is None else f"{row}: {chosen.predictions[row - 1][0]}?"
        for row in range(1, len(chosen.names) + 1)
    ]
    with atomic_path(sheet) as temporary:
        contact_sheet(chosen.images, captions).savefig(temporary, dpi=120, format="png")


def _write(chosen: Chosen, output: Path | None, escape_formulas: bool) -> None:
    with opened(output) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for name, prediction in zip(chosen.names, chosen.predictions or repeat(("", "", "")), strict=False):
            cells = (name, "", *prediction)
            writer.writerow(map(no_formula, cells) if escape_formulas else cells)
    if output is not None:
        click.echo(line_of(f"{counted(len(chosen.names), 'image')} to label, written to {output}"), err=True)
