"""The gain of unlabelled images: every method on the same splits, with times and differences.

    python -m benchmarks.methods                      # all cases: about seven hours on 2 cores
    python -m benchmarks.methods --case fashion-mnist

Each case is one ``gpu-ssl run``, whose folder is kept under ``runs/benchmarks``, so that an interrupted
benchmark is resumed. Prints the tables and whether the target accuracies are reached, and writes
``benchmarks/results/methods.json`` (a case that is not run keeps its record)."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from gpu_ssl.records import Report
from gpu_ssl.report.table import render

ROOT = Path(__file__).parent.parent
RESULT = Path(__file__).parent / "results" / "methods.json"
FOLDER = ROOT / "runs" / "benchmarks"

CASES: dict[str, tuple[str, ...]] = {
    "fashion-mnist-latents": ("--method", "m1,hybrid,graph", "--labels", "all"),
    "fashion-mnist": ("--method", "m1,graph,consistency", "--labels", "all"),
    "fashion-mnist-best": (
        *("--method", "consistency", "--effort", "best"),
        *("--labels", "all", "--no-baselines"),
    ),
    "fashion-mnist-few": ("--method", "m1,hybrid,graph,consistency", "--labels", "10,20,40,250"),
    "fashion-mnist-m2": ("--method", "m1,m2,m1m2,auto", "--labels", "100", "--no-baselines"),
    "digits": (
        *("--dataset", "digits", "--method", "m1,graph,consistency,m2,m1m2,auto"),
        *("--labels", "20,50,100", "--splits", "10"),
    ),
    "digits-paper": (
        *("--dataset", "digits", "--preset", "paper", "--method", "m1,m2,m1m2"),
        *("--labels", "100", "--splits", "10", "--no-baselines"),
    ),
    "fashion-mnist-paper": (
        *("--preset", "paper", "--method", "m1,m2,m1m2"),
        *("--labels", "100", "--splits", "10", "--no-baselines"),
    ),
}

M1_WANTED = {100: 77.5, 600: 83.3, 1000: 84.6, 3000: 86.7}

WANTED: dict[str, dict[str, dict[int, float]]] = {
    "fashion-mnist-latents": {
        "m1": M1_WANTED,
        "hybrid": {100: 78.6, 600: 85.2, 1000: 86.5, 3000: 88.6},
    },
    "fashion-mnist": {
        "m1": M1_WANTED,
        "consistency": {100: 82.0, 600: 87.0, 1000: 88.2, 3000: 90.3},
    },
    "fashion-mnist-best": {"consistency": {100: 83.0, 600: 87.5, 1000: 89.0, 3000: 91.5}},
}
"""Target mean accuracies in %, set before the measurement."""


def run_case(name: str, folder: Path, jobs: int | None = None) -> Report:
    """Run a case, or resume it if its folder exists, and return its report."""
    options = ("--resume", str(folder)) if folder.exists() else (*CASES[name], "--output", str(folder))
    options += () if jobs is None else ("--jobs", str(jobs))
    command = [sys.executable, "-m", "gpu_ssl", "run", *options, "--json"]
    click.echo(f"== {name}: gpu-ssl {' '.join(command[3:])}", err=True)
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise click.exceptions.Exit(done.returncode)
    return Report.model_validate_json(done.stdout)


def shortfalls(name: str, report: Report) -> list[str]:
    """Return a line for each accuracy of a case below its target."""
    means = {(r.method, r.labels): 100 * r.accuracy_mean for r in report.results}
    return [
        f"{name}: {method} at {labels} labels reaches {means[method, labels]:.2f} %, wanted are {wanted} %"
        for method, by_count in WANTED.get(name, {}).items()
        for labels, wanted in by_count.items()
        if means[method, labels] < wanted
    ]


def write(name: str, report: Report, path: Path) -> None:
    """Add the report of a case to the record at `path`."""
    cases: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    kept = report.model_dump(mode="json", by_alias=True)
    # Paths of data are private.
    kept["config"].get("data", {}).pop("data_dir", None)
    cases[name] = kept
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(sorted(cases.items())), indent=1) + "\n", encoding="utf-8")


@click.command()
@click.option(
    "--case",
    "names",
    multiple=True,
    type=click.Choice(list(CASES)),
    help="Several may be given.  [default: all]",
)
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="See gpu-ssl run --help.")
@click.option("--folder", type=click.Path(path_type=Path), default=FOLDER, help="Where the runs are kept.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULT, help="Where the record goes.")
def main(names: tuple[str, ...], jobs: int | None, folder: Path, output: Path) -> None:
    """Run the cases in turn, print their tables and write the record; fail where an accuracy falls short."""
    missed = []
    for name in names or CASES:
        report = run_case(name, folder / name, jobs)
        write(name, report, output)
        Console().print(render(report))
        missed += shortfalls(name, report)
    click.echo(f"Written to {output}")
    for line in missed:
        click.echo(line, err=True)
    if missed:
        raise click.exceptions.Exit(1)


if __name__ == "__main__":
    main()
