"""The run directory. Its report is written last: a directory with a report is a finished run."""

from contextlib import suppress
from pathlib import Path

from gpu_ssl.config import RunConfig
from gpu_ssl.errors import StorageError, UsageError
from gpu_ssl.experiment import Outcome
from gpu_ssl.methods.representation import CHECKPOINT
from gpu_ssl.records import Report
from gpu_ssl.report.plots import write_plots
from gpu_ssl.runtime import tensor_file
from gpu_ssl.runtime.files import write_text

CONFIG = "config.json"
REPORT = "report.json"

DEFAULT_PARENT = Path("runs")
"""Where the folders of runs go that were given no name."""


def claim_folder(folder: Path, config: RunConfig) -> None:
    """Make `folder` for a new run and write its settings; of several runs that try, one succeeds.

    Raises
    ------
    UsageError
        If there is something in it already.
    StorageError
        If it cannot be made or written to.
    """
    path = folder / CONFIG
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise FileExistsError
        with path.open("x", encoding="utf-8") as file:
            file.write(config.model_dump_json(indent=2) + "\n")
    except FileExistsError:
        raise UsageError(
            f"`output={folder}` exists and is not an empty folder; name another, "
            "or resume an unfinished run by `resume`"
        ) from None
    except OSError as error:
        release_folder(folder)
        raise StorageError(f"cannot write {path}: {error.strerror}") from error


def release_folder(folder: Path) -> None:
    """Undo `claim_folder` where nothing was added since."""
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
        If `folder` is not that of a run.
    """
    path = folder / CONFIG
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UsageError(
            f"`resume={folder}`: there is no readable {CONFIG} in it, so it is not the folder of a run"
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
    # Only an unfinished run needs it.
    tensor_file.remove(folder / CHECKPOINT)
