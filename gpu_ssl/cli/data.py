"""``gpu-ssl data``: the available data sets and the location of their files."""

from pathlib import Path

import click

from gpu_ssl.cli.messages import line_of
from gpu_ssl.cli.options import CACHE_DIR
from gpu_ssl.cli.paths import GivenPath

DATA_DIR = click.option(
    "--data-dir",
    type=GivenPath(),
    help="Folder searched first for data files, and used for downloads.  [default: the cache]",
)


@click.group()
def command() -> None:
    """List the data sets, or fetch one.

    Files are searched for in --data-dir, the cache and /usr/share/datasets; missing files are downloaded
    (Fashion-MNIST also from Debian's package archive). Every file is verified against its published
    checksum.
    """


@command.command("list")
@DATA_DIR
@CACHE_DIR
def list_command(data_dir: Path | None) -> None:
    """List the data sets, and say which are on this machine."""
    from rich.text import Text

    from gpu_ssl.cli.display import make_console
    from gpu_ssl.data.catalog import CATALOG
    from gpu_ssl.data.sources import find_files
    from gpu_ssl.errors import DataError
    from gpu_ssl.report.terminal import new_table

    problems = []
    table = new_table()
    for header in ("name", "what", "images", "size", "here"):
        table.add_column(header)
    for spec in CATALOG.values():
        try:
            complete = len(find_files(spec, data_dir)) == len(spec.files)
            here = "yes" if complete else "no"
        except DataError as error:
            here = "damaged"
            problems.append(str(error))
        size = "x".join(str(n) for n in spec.shape)
        table.add_row(spec.name, spec.title, f"{spec.n_train:,} + {spec.n_test:,}", size, Text(here))
    make_console().print(table)
    for problem in problems:
        click.echo(line_of(problem), err=True)


@command.command("fetch")
@click.argument("name")
@DATA_DIR
@CACHE_DIR
def fetch_command(name: str, data_dir: Path | None) -> None:
    """Download the data set NAME if it is missing, and verify it."""
    from gpu_ssl.cli.display import make_progress
    from gpu_ssl.config import DataConfig
    from gpu_ssl.data.catalog import find_spec
    from gpu_ssl.data.loading import load_dataset
    from gpu_ssl.data.sources import find_files

    config = DataConfig(dataset=name, data_dir=data_dir)
    dataset = load_dataset(config, make_progress(quiet=False))
    folders = sorted({str(path.parent) for path in find_files(find_spec(name), data_dir).values()})
    where = ", ".join(folders) or "inside scikit-learn"
    click.echo(f"{name}: {len(dataset.train):,} training and {len(dataset.test):,} test images, in {where}")
