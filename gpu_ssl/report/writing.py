"""The run directory. Its report is written last: a directory with a report is a finished run."""

from pathlib import Path

from gpu_ssl.config import RunConfig
from gpu_ssl.errors import StorageError, UsageError
from gpu_ssl.experiment import CONFIG, Outcome
from gpu_ssl.report.plots import write_plots
from gpu_ssl.report.records import Report
from gpu_ssl.runtime.files import write_text

REPORT = "report.json"


def check_new_folder(folder: Path) -> None:
    """Check that a new run may go into `folder`.

    Raises
    ------
    UsageError
        If there is something in it already.
    StorageError
        If it cannot be looked into.
    """
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise StorageError(f"cannot look into {folder}: {error.strerror}") from error
    if taken:
        raise UsageError(
            f"--output {folder} exists and is not an empty folder; name another, "
            "or go on with an unfinished run by --resume"
        )


def read_config(folder: Path) -> RunConfig:
    """Read the settings of the run in `folder`.

    Raises
    ------
    UsageError
        If `folder` is not that of a run.
    """
    path = folder / CONFIG
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UsageError(
            f"--resume {folder}: there is no readable {CONFIG} in it, so it is not the folder of a run"
        ) from None
    return RunConfig.from_json(text, path)


def read_report(folder: Path) -> Report | None:
    """Return the report of the run in `folder`, or None where it is not finished.

    Raises
    ------
    StorageError
        If there is a report and it cannot be read.
    """
    path = folder / REPORT
    if not path.exists():
        return None
    try:
        return Report.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} is damaged or of another version; delete it to run again") from error


def finish_folder(folder: Path, outcome: Outcome, plots: bool = True) -> None:
    """Write the plots, then the report.

    Raises
    ------
    StorageError
        If a file cannot be written.
    """
    if plots:
        write_plots(outcome, folder / "plots")
    write_text(folder / REPORT, outcome.report.to_json())
