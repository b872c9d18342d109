"""``gpu-ssl report``: rewrites the page of a run or a model, or compares runs."""

from pathlib import Path

import click

from gpu_ssl.cli.messages import show
from gpu_ssl.cli.paths import GivenPath
from gpu_ssl.errors import UsageError


@click.command()
@click.argument("folders", nargs=-1, required=True, type=GivenPath(), metavar="FOLDER [FOLDER ...]")
@click.option(
    "--output",
    type=GivenPath(),
    metavar="FILE",
    help="File for the page.  [default: report.html in FOLDER; for several folders, comparison.html]",
)
def command(folders: tuple[Path, ...], output: Path | None) -> None:
    """Rewrite the page of a run or a model, or write one that compares several runs.

    run and fit write such a page, report.html, to their folders: a single file that loads nothing from
    elsewhere, to open in a browser or to send to others. Compared runs must be of the same data. Models are
    not compared: their accuracies are estimates on different labels.

    \b
      gpu-ssl report runs/first
      gpu-ssl report model
      gpu-ssl report runs/first runs/second --output both.html
    """
    from gpu_ssl.cli.answer_file import check_output
    from gpu_ssl.report.html import PAGE

    check_output(output)
    if output is not None and output.is_file() and output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--output {output} exists and is no .html file; name another file")
    if len(folders) == 1:
        path = output or folders[0] / PAGE
        _write_one(folders[0], path)
    else:
        path = output or Path("comparison.html")
        _compare(folders, path)
    show(f"Written to {path}")


def _write_one(folder: Path, path: Path) -> None:
    from gpu_ssl.fitted.storage import MODEL, load
    from gpu_ssl.report.details import OF_MODEL, OF_RUN, read_details
    from gpu_ssl.report.model_page import write_model_page
    from gpu_ssl.report.run_page import write_run_page
    from gpu_ssl.report.writing import read_report

    if (folder / MODEL).is_file():
        write_model_page(path, load(folder, "cpu")[1], read_details(folder, OF_MODEL), folder)
        return
    if (report := read_report(folder)) is None:
        raise UsageError(
            f"{folder} holds neither a finished run nor a model; give a folder written by "
            "gpu-ssl run or gpu-ssl fit"
        )
    write_run_page(path, report, read_details(folder, OF_RUN))


def _compare(folders: tuple[Path, ...], path: Path) -> None:
    from gpu_ssl.fitted.storage import MODEL
    from gpu_ssl.report.comparison import write_comparison
    from gpu_ssl.report.writing import read_report

    reports = {}
    for folder in folders:
        if (folder / MODEL).is_file():
            raise UsageError(
                f"{folder} holds a model, and only runs of gpu-ssl run are compared (accuracies of models "
                "are estimates on different labels); give one model at a time"
            )
        report = read_report(folder)
        if report is None:
            raise UsageError(f"{folder} holds no finished run; give folders written by gpu-ssl run")
        reports[str(folder)] = report
    if len(reports) < len(folders):
        raise UsageError("a folder is given twice; give different folders")
    write_comparison(path, reports)
