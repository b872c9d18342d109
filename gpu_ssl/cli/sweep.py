"""``gpu-ssl sweep``: many runs on the workers of a cluster, one table."""

from pathlib import Path

import click

from gpu_ssl.cli.messages import line_of
from gpu_ssl.cli.paths import GivenPath
from gpu_ssl.cli.tracking import TRACK, send_cells, send_sweep, tracking
from gpu_ssl.errors import GpuSslError, UsageError


@click.command()
@click.argument("spec", type=GivenPath())
@click.option(
    "--output",
    type=GivenPath(),
    metavar="FOLDER",
    help="Folder of the sweep; finished cells in it are kept.  [default: runs/<name of SPEC>]",
)
@click.option(
    "--cluster",
    default="local",
    show_default=True,
    metavar="CLUSTER",
    help="local (one worker process per CPU), cuda (one per GPU), or tcp://HOST:PORT of a Dask scheduler.",
)
@click.option("--workers", type=click.IntRange(1, 1024), help="Number of processes of --cluster local.")
@click.option(
    "--device", default="auto", show_default=True, help="Device of each cell: auto, cpu, cuda or cuda:N."
)
@TRACK
@click.option("--json", "as_json", is_flag=True, help="Print only the content of sweep.json.")
@click.option("-q", "--quiet", is_flag=True, help="Hide progress.")
def command(
    spec: Path,
    output: Path | None,
    cluster: str,
    workers: int | None,
    device: str,
    trackers: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Run every data set with every method, number of labels, seed and settings of SPEC, a TOML file.

    Each combination is a cell. Cells run in parallel, and each result is kept: the same command resumes
    after Ctrl-C or a crash of a worker or the machine. The VAE of a data set, seed and settings is trained
    once for all its cells.

    \b
      datasets = ["digits", "fashion-mnist"]
      methods = ["m1", "graph"]
      labels = [100, 1000]
      seeds = [0, 1, 2]
      splits = 5
      [[settings]]
      name = "default"
      [[settings]]
      name = "narrow"
      model.latent_dim = 16
    """
    from gpu_ssl import experiment
    from gpu_ssl.cli.display import make_console, make_progress
    from gpu_ssl.data.loading import load_dataset
    from gpu_ssl.report import writing
    from gpu_ssl.runtime.files import alone_in, write_text
    from gpu_ssl.sweep import cluster as clusters
    from gpu_ssl.sweep.spec import SweepSpec, sweep_cells
    from gpu_ssl.sweep.summary import plot, summarize, table

    settings = SweepSpec.read(spec)
    cells = sweep_cells(settings, device)
    for cell in cells:
        experiment.check(cell.config)
    folder = (output or writing.DEFAULT_PARENT / spec.stem).absolute()
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"`output={folder}` is a file; name a folder")
    progress = make_progress(quiet)
    failed: dict[str, str] = {}
    with alone_in(folder), tracking(trackers, folder) as started:
        for data in {cell.config.data for cell in cells}:
            load_dataset(data, progress)  # fetched once, not by every worker
        if len(clusters.reports(cells, folder)) < len(cells):
            with clusters.connected(cluster, workers) as client:
                if not quiet:
                    link = client.dashboard_link
                    click.echo(f"gpu-ssl: {len(cells)} cells; watch them at {link}", err=True)
                failed = clusters.run(client, cells, folder, progress)
        record = summarize(clusters.reports(cells, folder), failed)
        write_text(folder / "sweep.json", record.model_dump_json(by_alias=True, indent=2) + "\n")
        if record.rows:
            plot(record, folder / "sweep.png")
        send_sweep(started, settings, record, folder)
    finished = clusters.reports(cells, folder)
    reports = {folder / "cells" / cell.name: report for cell, report in finished.items()}
    send_cells(started.names, reports, folder.name)
    try:
        if as_json:
            click.echo(record.model_dump_json(by_alias=True, indent=2))
        else:
            console = make_console()
            console.print(table(record))
            console.print(line_of(f"Written to {folder}"), soft_wrap=True, markup=False)
    finally:  # even if stdout has been closed
        if failed:
            name, reason = next(iter(failed.items()))
            raise GpuSslError(f"{len(failed)} of {len(cells)} cells failed, such as {name}: {reason}")
