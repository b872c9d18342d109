"""``gpu-ssl suggest``: which images to label next."""

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gpu_ssl.cli.answer_file import check_output, opened
from gpu_ssl.cli.fit import tell_skipped
from gpu_ssl.cli.options import DEVICE, QUIET
from gpu_ssl.cli.own_options import IMAGE_COLUMN, LARGE_IMAGES, PAGES, preparation_of, tell_problems
from gpu_ssl.cli.predict import read_paths, second_best
from gpu_ssl.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpu_ssl.data.stream import Block
    from gpu_ssl.fitted.suggestion import Candidates

COLUMNS = ("path", "label", "guess", "confidence", "second_guess")


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path, allow_dash=True))
@click.option("-n", "count", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="CSV file for the answer, whose column label is left for you to fill in.  [default: stdout]",
)
@click.option(
    "--sheet",
    type=click.Path(path_type=Path),
    metavar="PNG",
    help="Also draw the images, with their rows in the answer and what the model takes them for.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Seed of the choice.",
)
@PAGES
@LARGE_IMAGES
@IMAGE_COLUMN
@DEVICE
@QUIET
def command(
    model: Path,
    data: Path,
    count: int,
    output: Path | None,
    sheet: Path | None,
    seed: int,
    pages: str | None,
    large_images: bool,
    path_column: str | None,
    device: str,
    quiet: bool,
) -> None:
    """Tell which images to label next, so that the model gains most.

    DATA is what gpu-ssl predict takes. Chosen are images that MODEL is unsure of and that are unlike each
    other; none that carries a label already. Fill in the column label, add the rows to the labels that you
    have, and fit again. What is hard to tell is then among the labelled images, so the accuracy that fit
    expects of images like those is lower than that on all.

    \b
      gpu-ssl suggest model photos -n 50 --output next.csv --sheet next.png
    """
    from gpu_ssl.cli.display import make_progress
    from gpu_ssl.data.label_file import Columns
    from gpu_ssl.data.stream import ImageStream
    from gpu_ssl.fitted.storage import load
    from gpu_ssl.fitted.suggestion import suggest
    from gpu_ssl.report.card import contact_sheet
    from gpu_ssl.runtime.device import memory_errors
    from gpu_ssl.runtime.files import atomic_path

    check_output(output)
    check_output(sheet)
    if output is not None and output.is_file():
        raise UsageError(
            f"--output {output} exists, and may hold labels that were filled in; name another file"
        )
    fitted, record = load(model, device)
    how = preparation_of(record, pages, large_images)
    stream = ImageStream(
        read_paths() if str(data) == "-" else data, record.image_shape, how, Columns(path=path_column)
    )
    tell_problems(stream.problems)
    with make_progress(quiet).task("look", stream.total or 0) as advance:

        def watched() -> "Iterator[Block]":
            for block in stream:
                yield block
                advance("", len(block[0]))

        with memory_errors(fitted.device, "give `device=cpu`"):
            chosen = suggest(fitted, watched(), count, record.labelled_keys, seed)
    tell_skipped(stream.n_skipped, stream.skipped)
    if chosen is None or not len(chosen):
        raise DataError(f"there is no image in {data} that could be read and carries no label yet")
    guesses = [record.class_names[c] for c in chosen.answers.classes]
    if sheet is not None:
        captions = [f"{row}: {guess}?" for row, guess in enumerate(guesses, 1)]
        with atomic_path(sheet) as temporary:
            contact_sheet(chosen.images, captions).savefig(temporary, dpi=120, format="png")
    _write(chosen, guesses, record.class_names, output)
    if len(chosen) < count:
        click.echo(f"gpu-ssl: there are only {len(chosen)} images without a label", err=True)


def _write(
    chosen: "Candidates", guesses: list[str], class_names: tuple[str, ...], output: Path | None
) -> None:
    second = second_best(chosen.answers)
    with opened(output) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for i, (name, guess) in enumerate(zip(chosen.names, guesses, strict=True)):
            confidence = round(float(chosen.answers.probabilities[i].max()), 4)
            writer.writerow((name, "", guess, confidence, class_names[second[i]]))
    if output is not None:
        click.echo(f"{len(chosen)} images to label, written to {output}", file=sys.stderr)
