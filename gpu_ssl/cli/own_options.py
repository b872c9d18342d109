"""Options of the commands that read the user's images."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from gpu_ssl.cli.messages import print_item, print_message
from gpu_ssl.cli.paths import GivenPath
from gpu_ssl.cli.wording import as_options
from gpu_ssl.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from gpu_ssl.data.collection import Reading
    from gpu_ssl.data.own import OwnImages
    from gpu_ssl.data.problems import Problem
    from gpu_ssl.data.stream import ImageStream
    from gpu_ssl.fitted.model import FittedModel
    from gpu_ssl.fitted.records import ModelRecord

NAMED = 100
"""Maximum number of lines listed for each kind of problem."""

OF_GROUP = 10
"""Maximum number of names in a line, which lists a group such as a pair of duplicates."""

LABELS = click.option(
    "--labels",
    "label_files",
    type=GivenPath(),
    multiple=True,
    metavar="FILE",
    help="File with paths (relative to DATA, or row numbers of an array file) and labels: CSV, TSV, JSON, "
    "JSON lines, Parquet, or an export of Label Studio. May be given several times.  [default: folders name "
    "the classes of the images in them]",
)
_PAGES = click.option(
    "--pages",
    type=click.Choice(["first", "all"]),
    help="Pages or frames to use of multi-page files.  [default: first, or as the model was fitted]",
)
_LARGE_IMAGES = click.option(
    "--large-images", is_flag=True, help="Also read images that take more than 1 GiB of memory each."
)
_FOR_A_MODEL = (
    _PAGES,
    _LARGE_IMAGES,
    click.option(
        "--path-column", metavar="NAME", help="Column of a Parquet file with images or their paths."
    ),
)
_READING = (
    LABELS,
    click.option(
        "--path-column",
        metavar="NAME",
        help="Column of --labels with paths, or of a Parquet file with images.  [default: found by usual "
        "names such as path, file_name, image or id]",
    ),
    click.option(
        "--label-column",
        metavar="NAME",
        help="Column with labels.  [default: found by usual names such as label, class, category or target]",
    ),
    click.option(
        "--group-column",
        metavar="NAME",
        help="Column of --labels, or of a Parquet file with labels, with the group of an image, such as a "
        "patient or a burst. Cross-validation never splits a group.  [default: "
        "group, patient, scene or burst, if present]",
    ),
    click.option(
        "--folders-too",
        is_flag=True,
        help="With --labels, folders name the classes of the images that it does not label.",
    ),
    click.option(
        "--image-size",
        type=int,
        metavar="PIXELS",
        help="Longest side of images in pixels; arrays keep their size, pretrained networks take their own.  "
        "[default: 64 at most]",
    ),
    _PAGES,
    _LARGE_IMAGES,
)


def reading_options(command: Any) -> Any:
    """Add the options of images and labels to a command."""
    for option in reversed(_READING):
        command = option(command)
    return command


class Asked(NamedTuple):
    """The options for reading images for an existing model, or for choosing the first labels."""

    pages: str | None
    large_images: bool
    path_column: str | None


def image_options(command: Any) -> Any:
    """Add the options of `Asked` to a command."""
    for option in reversed(_FOR_A_MODEL):
        command = option(command)
    return command


def take_reading(options: dict[str, Any]) -> "Reading":
    """Pop the settings of reading, except the image size, from the options of a command."""
    from gpu_ssl.data.collection import Reading
    from gpu_ssl.data.label_columns import Columns
    from gpu_ssl.data.preparation import Preparation

    columns = Columns(*(options.pop(name) for name in ("path_column", "label_column", "group_column")))
    how = Preparation(pages=options.pop("pages") or "first", large_images=options.pop("large_images"))
    return Reading(options.get("image_size"), how, columns, options.pop("folders_too"))


def open_stream(
    data: "Path | Iterable[str]", fitted: "FittedModel", record: "ModelRecord", asked: Asked
) -> "ImageStream":
    """Open images with the preparation of a model, and report those that are skipped."""
    from gpu_ssl.data.label_columns import Columns
    from gpu_ssl.data.stream import ImageStream

    pages = {} if asked.pages is None else {"pages": asked.pages}
    how = record.preparation.model_copy(update={**pages, "large_images": asked.large_images})
    columns = Columns(path=asked.path_column)
    shape, others = record.image_shape, fitted.other_shapes
    if shape[1] == 1 and not fitted.takes_embeddings:
        raise UsageError(
            f"the model was fitted in Python to rows of {shape[2]} numbers, which are no images; "
            "gpu_ssl.load reads it, and predict takes such rows"
        )
    stream = ImageStream(
        data, shape, how, columns, others, fitted.takes_embeddings, value_range=record.value_range
    )
    tell_problems(stream.problems)
    return stream


def described(images: "OwnImages") -> dict[str, Any]:
    """Return a description of the images as JSON, worded for the command line."""
    from gpu_ssl.data.summary import summarize

    found = summarize(images)
    for problem in found["problems"]:
        problem["message"] = as_options(problem["message"])
    return found


def tell_problems(problems: "Sequence[Problem]", *, with_names: bool = False) -> None:
    """Print the problems of the images to stderr, one line for each kind.

    Optionally all names follow, one a line; those that belong together, such as duplicates, in one line.
    """
    from gpu_ssl.data.problems import NAMED as EXAMPLES
    from gpu_ssl.data.problems import printable

    for problem in problems:
        print_message(problem.message, warns=True)
        told = all(printable(name) in problem.message for name in problem.paths)
        if with_names and len(problem.paths) > EXAMPLES and not told:
            lines = [_in_one_line(group) for group in problem.groups] or problem.paths
            for line in lines[:NAMED]:
                print_item(line)
            if len(lines) > NAMED:
                print_item(f"and {len(lines) - NAMED:,} more, which --json lists")


def _in_one_line(group: "Sequence[str]") -> str:
    more = f" and {len(group) - OF_GROUP:,} more" if len(group) > OF_GROUP else ""
    return ", ".join(group[:OF_GROUP]) + more
