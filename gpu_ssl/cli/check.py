"""``gpu-ssl check``: findings about images and labels; nothing is trained."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpu_ssl.cli.options import CACHE_DIR, QUIET
from gpu_ssl.cli.own_options import described, reading_options, take_reading, tell_problems
from gpu_ssl.cli.paths import GivenPath

if TYPE_CHECKING:
    from gpu_ssl.data.own import OwnImages


@click.command()
@click.argument("data", type=GivenPath())
@reading_options
@CACHE_DIR
@click.option("--json", "as_json", is_flag=True, help="Print all findings as JSON, including whole lists.")
@QUIET
def command(data: Path, label_files: tuple[Path, ...], as_json: bool, quiet: bool, **options: Any) -> None:
    """Check images and labels before fitting a model to them: takes seconds and trains nothing.

    DATA is what gpu-ssl fit takes: a folder of images, an .npy, .npz or .parquet file, or embeddings.
    Reports the images and classes that fit would use, at the size for all but pretrained networks, and, on
    stderr, what is skipped and problems of these kinds:

    \b
      unreadable          damaged files
      unsupported-format  files of unsupported formats, by ending
      blank               images of a single colour
      extreme-shape       very long or wide images, which are distorted
      pages               files of several pages or frames
      value-range         images of more than 8 bits, and their black and white point
      unused-names        names of embeddings that are not one for each row
      constant-columns    columns of embeddings with a single value
      scales              columns of embeddings: one deviates 100 times as much as another
      duplicate           identical images; near-duplicate: nearly identical images
      conflicting-labels  an image, or its copies, under different labels
      suspicious-class    both 1 and 1.0, both Cat and cat, -1, "unlabelled"
      split-folders       train/ and val/ above the classes
      empty-folder        class folders without an image
      folder-overruled    labels that differ from the name of the folder
      folder-names        images in class folders that --labels does not name
      other-folders       names in --labels with another folder than the image has
      label-file          tables among the images that --labels could name
      columns             several possible label columns; unused-arrays: arrays not used
      few-labels          classes with fewer than 5 labels
      lost-label          labels of images that cannot be read
      lost-class          classes that lose all their labels that way

    \b
      gpu-ssl check photos --labels labels.csv
      gpu-ssl check photos --json | jq '.problems[].message'
    """
    from gpu_ssl.cli.display import make_progress
    from gpu_ssl.config import FitConfig
    from gpu_ssl.data.own import load_own

    FitConfig.of(image_size=options["image_size"])  # refuses an invalid size
    images = load_own(data, label_files, take_reading(options), make_progress(quiet))
    tell_problems(images.problems, with_names=True)
    if as_json:
        click.echo(json.dumps(described(images), indent=2))
    else:
        _tell(images)


def _tell(images: "OwnImages") -> None:
    from rich.text import Text

    from gpu_ssl.cli.display import make_console
    from gpu_ssl.data.findings import FEW
    from gpu_ssl.data.problems import counted, printable
    from gpu_ssl.data.summary import sizes
    from gpu_ssl.report.terminal import WARN, new_table

    found = described(images)
    console = make_console()
    what = sizes(len(images), [images.image_shape], images.are_embeddings)
    line = f"{what}; {found['labelled']:,} labelled, {counted(len(images.class_names), 'class', 'classes')}"
    console.print(Text(line), soft_wrap=not console.is_terminal)
    if images.originals is not None:
        line = "A pretrained network takes them at its own size instead, such as 224 x 224"
        console.print(Text(line), soft_wrap=not console.is_terminal)
    if not images.class_names:
        return
    table = new_table()
    table.add_column("class", overflow="fold")
    table.add_column("labels", justify="right", no_wrap=True)
    for name, count in found["classes"].items():
        table.add_row(Text(printable(name)), Text(f"{count:,}", WARN if count < FEW else ""))
    console.print(table)
