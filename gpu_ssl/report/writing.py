"""The folder of a run. Its report is written last: a folder with a report is a finished run."""

import re
from contextlib import suppress
from pathlib import Path

from gpu_ssl.config import RunConfig
from gpu_ssl.errors import StorageError, UsageError
from gpu_ssl.experiment import Outcome
from gpu_ssl.methods.representation import CHECKPOINT
from gpu_ssl.records import SCHEMA_VERSION, Report
from gpu_ssl.runtime import state

CONFIG = "config.json"
REPORT = "report.json"

SETTINGS_KIND = state.Kind(
    "gpu-ssl settings of a run", 1, RunConfig, "delete the folder, and repeat the command"
)
REPORT_KIND = state.Kind("gpu-ssl report", SCHEMA_VERSION, Report, "delete it to run again")

_HALF_WRITTEN = re.compile(r"\.config-[0-9a-f]{12}\.json")

DEFAULT_PARENT = Path("runs")
"""Parent folder of runs without a given folder."""


def claim_folder(folder: Path, config: RunConfig) -> None:
    """Create `folder` for a new run, which the caller has locked, and write its settings.

    Raises
    ------
    UsageError
        If it is not empty.
    StorageError
        If it cannot be created or written to.
    """
    refuse_taken(folder)
    try:
        write_config(folder, config)
    except StorageError:
        release_folder(folder)
        raise


def refuse_taken(folder: Path) -> None:
    """Refuse a folder for a new run that is not empty, or a file.

    Raises
    ------
    UsageError
        If it does.
    """
    try:
        # A process that was killed while writing the settings has left nothing useful.
        taken = any(not _HALF_WRITTEN.fullmatch(path.name) for path in folder.iterdir())
    except FileNotFoundError:
        return
    except NotADirectoryError:
        taken = True
    except OSError as error:
        raise StorageError(f"cannot write to {folder}: {error.strerror}") from error
    if taken:
        raise UsageError(
            f"`output={folder}` exists and is not an empty folder; name another, "
            "or resume an unfinished run with `resume`"
        )


def release_folder(folder: Path) -> None:
    """Undo `claim_folder` if nothing was added since."""
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == [CONFIG]:
            (folder / CONFIG).unlink()
        folder.rmdir()
        if folder.parent == DEFAULT_PARENT:
            folder.parent.rmdir()


def read_config(folder: Path) -> RunConfig:
    """Read the settings of the run in `folder`.

    Raises
    ------
    UsageError
        If `folder` is not that of a run, or its settings are damaged or of another version.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise UsageError(f"`resume={folder}`: there is no {CONFIG} in it, so it is not the folder of a run")
    try:
        return state.load(path, SETTINGS_KIND)[0]
    except StorageError as error:
        raise UsageError(f"`resume={folder}`: {error}") from error


def write_config(folder: Path, config: RunConfig) -> None:
    """Write the settings of a run.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    state.save(folder / CONFIG, SETTINGS_KIND, config)


def read_report(folder: Path) -> Report | None:
    """Return the report of the run in `folder`, or None if it is not finished.

    Raises
    ------
    StorageError
        If there is a report and it is not readable.
    """
    path = folder / REPORT
    if not path.exists():
        return None
    report = state.load(path, REPORT_KIND)[0]
    # If a run was stopped after its report, only this was left to do.
    with suppress(OSError):
        state.remove(folder / CHECKPOINT)
    return report


def report_text(report: Report) -> str:
    """Return the content of the file of a report."""
    return state.text_of(REPORT_KIND, report)


def finish_folder(folder: Path, outcome: Outcome, plots: bool = True) -> None:
    """Write the plots and the page, then the report.

    Raises
    ------
    StorageError
        If a file cannot be written.
    """
    if plots:  # imports what draws them
        from gpu_ssl.report.details import OF_RUN, write_details
        from gpu_ssl.report.html import PAGE
        from gpu_ssl.report.plots import write_plots
        from gpu_ssl.report.run_details import details_of_run
        from gpu_ssl.report.run_page import write_run_page

        write_plots(outcome, folder / "plots")
        details = details_of_run(outcome)
        write_details(folder, OF_RUN, details)
        write_run_page(folder / PAGE, outcome.report, details)
    state.save(folder / REPORT, REPORT_KIND, outcome.report)
    # Needed only by unfinished runs.
    state.remove(folder / CHECKPOINT)
