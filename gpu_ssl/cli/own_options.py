"""Options of the commands that read images of the user's own."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from gpu_ssl.cli.messages import tell, tell_more
from gpu_ssl.cli.paths import GivenPath
from gpu_ssl.cli.wording import as_options

if TYPE_CHECKING:
    from pathlib import Path

    from gpu_ssl.data.collection import Reading
    from gpu_ssl.data.own import OwnImages
    from gpu_ssl.data.problems import Problem
    from gpu_ssl.data.stream import ImageStream
    from gpu_ssl.fitted.model import FittedModel
    from gpu_ssl.fitted.records import ModelRecord

NAMED = 100
"""Names that are listed of each kind of problem."""

LABELS = click.option(
    "--labels",
    "label_files",
    type=GivenPath(),
    multiple=True,
    metavar="FILE",
    help="File of paths (below DATA, or positions in a file of many) and labels, for the few images that "
    "have one: CSV or TSV of any program, JSON, JSON lines, Parquet, or an export of Label Studio. May be "
    "given several times.  [default: folders name the classes of the images in them]",
)
_PAGES = click.option(
    "--pages",
    type=click.Choice(["first", "all"]),
    help="Of files of several pages or frames, take the first or all of them.  [default: first, or what the "
    "model was fitted with]",
)
_LARGE_IMAGES = click.option(
    "--large-images", is_flag=True, help="Read images, too, that take more than 1 GiB of memory each."
)
_FOR_A_MODEL = (
    _PAGES,
    _LARGE_IMAGES,
    click.option(
        "--path-column", metavar="NAME", help="Column of images in a Parquet file, or of their paths."
    ),
)
_READING = (
    LABELS,
    click.option(
        "--path-column",
        metavar="NAME",
        help="Column of paths in --labels, or of images in a Parquet file.  [default: found by its name, "
        "such as path, file_name, image or id]",
    ),
    click.option(
        "--label-column",
        metavar="NAME",
        help="Column of labels.  [default: found by its name, such as label, class, category or target]",
    ),
    click.option(
        "--group-column",
        metavar="NAME",
        help="Column of --labels that tells which images belong together, such as those of one patient or "
        "burst: the estimate of accuracy keeps them together.  [default: group, patient, scene or burst, "
        "where there is one]",
    ),
    click.option(
        "--folders-too",
        is_flag=True,
        help="With --labels, let folders name the classes of the images that it does not label.",
    ),
    click.option(
        "--image-size",
        type=int,
        metavar="PIXELS",
        help="Longest side that images are scaled to.  [default: their own, at most 64]",
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
    """Options of how to read images for a model that there is already, or to choose the first labels."""

    pages: str | None
    large_images: bool
    path_column: str | None


def image_options(command: Any) -> Any:
    """Add the options of `Asked` to a command."""
    for option in reversed(_FOR_A_MODEL):
        command = option(command)
    return command


def take_reading(options: dict[str, Any]) -> "Reading":
    """Take the settings of reading out of the options of a command, but for the image size."""
    from gpu_ssl.data.collection import Reading
    from gpu_ssl.data.label_file import Columns
    from gpu_ssl.data.preparation import Preparation

    columns = Columns(*(options.pop(name) for name in ("path_column", "label_column", "group_column")))
    how = Preparation(pages=options.pop("pages") or "first", large_images=options.pop("large_images"))
    return Reading(options.get("image_size"), how, columns, options.pop("folders_too"))


def open_stream(
    data: "Path | Iterable[str]", fitted: "FittedModel", record: "ModelRecord", asked: Asked
) -> "ImageStream":
    """Open images as those of a model were prepared, and report those that are left out."""
    from gpu_ssl.data.label_file import Columns
    from gpu_ssl.data.stream import ImageStream

    pages = {} if asked.pages is None else {"pages": asked.pages}
    how = record.preparation.model_copy(update={**pages, "large_images": asked.large_images})
    columns = Columns(path=asked.path_column)
    shape, others = record.image_shape, fitted.other_shapes
    stream = ImageStream(data, shape, how, columns, others, fitted.takes_embeddings)
    tell_problems(stream.problems)
    return stream


def described(images: "OwnImages") -> dict[str, Any]:
    """Return what there is to know of images, as JSON, worded for the command line."""
    from gpu_ssl.data.summary import summarize

    found = summarize(images)
    for problem in found["problems"]:
        problem["message"] = as_options(problem["message"])
    return found


def tell_problems(problems: "Sequence[Problem]", *, with_names: bool = False) -> None:
    """Tell on stderr what the user should know of the images, a line a kind, or with the names of all."""
    from gpu_ssl.data.problems import NAMED as EXAMPLES

    for problem in problems:
        tell(problem.message)
        if with_names and len(problem.paths) > EXAMPLES:
            for name in problem.paths[:NAMED]:
                tell_more(name)
            if len(problem.paths) > NAMED:
                tell_more(f"and {len(problem.paths) - NAMED:,} more, which --json lists")
