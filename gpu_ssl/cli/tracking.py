"""The option ``--track``, and its trackers."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gpu_ssl import catalog
from gpu_ssl.cli.messages import print_message
from gpu_ssl.errors import UsageError

if TYPE_CHECKING:
    from gpu_ssl.records import Report
    from gpu_ssl.sweep.spec import SweepSpec
    from gpu_ssl.sweep.summary import SweepRecord
    from gpu_ssl.tracking.trackers import Trackers

TRACK = click.option(
    "--track",
    "trackers",
    multiple=True,
    type=click.Choice([spec.name for spec in catalog.TRACKERS]),
    help="Also send settings, metrics, loss curves, plots and the report to an experiment tracker: "
    + ", ".join(f"{spec.name} ({spec.help})" for spec in catalog.TRACKERS)
    + ". May be given several times. Each needs the extra of its name; if it is missing, the message says "
    "how to install it.",
)


def tracking(names: Sequence[str], folder: Path) -> "AbstractContextManager[Trackers]":
    """Start a run, named like its folder, with each tracker, and end it with the block.

    Raises
    ------
    UsageError
        If one is not installed or fails to start.
    """
    from gpu_ssl.tracking.tracker import TrackedRun
    from gpu_ssl.tracking.trackers import tracked

    return tracked(TrackedRun(folder.absolute().name, folder), names, print_message)


def send_sweep(trackers: "Trackers", settings: "SweepSpec", record: "SweepRecord", folder: Path) -> None:
    """Send the settings of a sweep, its accuracies, its plot and its record."""
    from gpu_ssl.tracking import sending

    sending.send_settings(trackers, settings.model_dump(mode="json"))
    found = {
        f"accuracy/{row.dataset}/{row.settings}/{row.method}/{row.labels}-labels": row.mean
        for row in record.rows
    }
    trackers.each(lambda tracker: tracker.metrics(found))
    sending.send_files(trackers, folder, "*.png", "sweep.json")


def send_cells(names: Sequence[str], reports: "Mapping[Path, Report]", group: str) -> None:
    """Send the finished cells of a sweep, each as a separate run.

    Parameters
    ----------
    names : sequence of str
        The trackers.
    reports : mapping of Path to Report
        Reports by the folders of the cells.
    group : str
        Name of the sweep.
    """
    from gpu_ssl.tracking.sending import send_run
    from gpu_ssl.tracking.tracker import TrackedRun
    from gpu_ssl.tracking.trackers import tracked

    for folder, report in reports.items() if names else ():
        try:
            with tracked(TrackedRun(folder.name, folder, group), names, _print_nothing) as trackers:
                send_run(trackers, report, folder)
        except UsageError as error:
            print_message(f"warning: {error}; the cells from {folder.name} on are not sent")
            return


def _print_nothing(line: str) -> None:
    """Print nothing: the line of the sweep is enough."""
