"""The tables of the documentation, made from the records in ``benchmarks/results``.

    python -m benchmarks.tables            # updates README.md and docs/
    python -m benchmarks.tables --check    # fails if a table differs from its record

A comment ``<!-- table: NAME -->`` stands above each table; NAME is a key of `TABLES`.
"""

import json
import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click
import numpy as np

from benchmarks import __main__ as speed
from gpu_ssl import published
from gpu_ssl.runtime.files import write_text

ROOT: Final = Path(__file__).parent.parent
RESULTS: Final = Path(__file__).parent / "results"
MARKED: Final = re.compile(r"(<!-- table: (\S+) -->\n)((?:\|.*\n)+)")


def record(name: str) -> Any:
    """Return the content of a record."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n".replace("|  |", "| |") for cells in lines)


def only_table(text: str, first: str) -> str:
    """Return the table of a text whose header begins with the column `first`."""
    _, found, rest = text.partition(f"| {first} |")
    if not found:
        raise click.ClickException(f"there is no table with the column {first!r}")
    return "".join(f"{line}\n" for line in (found + rest).split("\n\n")[0].splitlines() if line[:1] == "|")


METHODS: Final = (
    ("fashion-mnist-best", "consistency", "**consistency**, `--effort best`"),
    ("fashion-mnist", "consistency", "**consistency**"),
    ("fashion-mnist-latents", "hybrid", "**hybrid**"),
    ("fashion-mnist-latents", "graph", "**graph**"),
    ("fashion-mnist-latents", "m1", "m1"),
    ("fashion-mnist", "cnn", "cnn"),
    ("fashion-mnist-latents", "raw-svc", "SVM on raw pixels"),
    ("fashion-mnist-latents", "pca-svc", "SVM on 50 principal components"),
    ("fashion-mnist-latents", "rank-svc", "SVM on ranks of pixels"),
)
"""Rows of the README's table: case of ``methods.json``, method, and what the row is called."""

COUNTS: Final = (100, 600, 1000, 3000)

METHODS_FEW: Final = tuple(
    ("fashion-mnist-few", name, name) for name in ("consistency", "graph", "hybrid", "m1", "cnn", "raw-svc")
)


def accuracies(wanted: Sequence[tuple[str, str, str]], counts: Sequence[int]) -> list[list[str]]:
    """Return a row per case and method: mean ± standard deviation of the accuracy by number of labels."""
    cases = record("methods")
    rows = []
    for case, name, title in wanted:
        found = cases.get(case, {"results": []})["results"]
        results = {(own["method"], own["labels"]): own for own in found}
        cells = []
        for count in counts:
            own = results.get((name, count))
            if own is None:
                cells.append("not measured")
                continue
            cell = f"{100 * own['accuracy_mean']:.2f} ± {100 * own['accuracy_std']:.2f}"
            cells.append(f"**{cell}**" if title.startswith("**") else cell)
        rows.append([title, *cells])
    return rows


def methods() -> str:
    """Return accuracies on Fashion-MNIST by method and number of labels."""
    recipe = {own.labels: own.accuracy for own in published.PUBLISHED["fashion-mnist"]}
    title = "MLP VAE and SVM by others, as published"
    by_others = [title, *(f"{100 * recipe[count]:.2f}" for count in COUNTS)]
    header = ["`--method`", f"{COUNTS[0]} labels", *map(str, COUNTS[1:])]
    return table(header, [*accuracies(METHODS, COUNTS), by_others])


def methods_few() -> str:
    """Return accuracies on Fashion-MNIST with fewer labels, and with 250."""
    counts = (10, 20, 40, 250)
    return table(["`--method`", "10 labels", "20", "40", "250"], accuracies(METHODS_FEW, counts))


def photographs() -> str:
    """Return accuracies on drawings by method and labels a class; the best of each column is bold."""
    by_labels = record("photographs")["by_labels"]
    means = {
        count: {name: float(np.mean(own["accuracies"])) for name, own in found.items()}
        for count, found in by_labels.items()
    }
    rows = []
    for name in by_labels["5"]:
        cells = [name]
        for count, found in by_labels.items():
            mean, deviation = means[count][name], float(np.std(found[name]["accuracies"]))
            cell = f"{100 * mean:.1f} ± {100 * deviation:.1f}"
            cells.append(f"**{cell}**" if mean == max(means[count].values()) else cell)
        rows.append(cells)
    return table(["labels a class", *by_labels], rows)


def phases(name: str) -> str:
    """Return the seconds of each phase of a record of ``gpu-ssl bench``."""
    rows = [
        [own["phase"], f"{own['size']:,}", _seconds(own["seconds"]), _percent(own["accuracy"])]
        for own in record(name)["measurements"]
    ]
    return table(["phase", "size", "seconds", "accuracy"], rows)


def _seconds(measured: list[float]) -> str:
    return f"{statistics.median(measured):.2g}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f} %"


TABLES: Final[dict[str, Callable[[], str]]] = {
    "methods": methods,
    "methods-few": methods_few,
    "photographs": photographs,
    "speed-intel": lambda: only_table(speed.render(record("2x-intel-r-xeon-r-processor")), "work"),
    "roofline-intel": lambda: only_table(speed.render(record("2x-intel-r-xeon-r-processor")), "phase"),
    "speed-amd": lambda: only_table(speed.render(record("2x-amd-epyc")), "work"),
    "roofline-amd": lambda: only_table(speed.render(record("2x-amd-epyc")), "phase"),
    "phases-h200": lambda: phases("gpu-nvidia-h200-phases"),
}
"""Tables by the name that the comment above them gives."""


def up_to_date(text: str) -> str:
    """Return a page with its tables regenerated."""
    return MARKED.sub(lambda found: found[1] + TABLES[found[2]](), text)


def pages() -> list[Path]:
    """Return the pages that may hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; fail where a table is not that of its record.")
def main(check: bool) -> None:
    """Regenerate the tables of the documentation."""
    stale = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if (new := up_to_date(text)) != text:
            stale.append(str(page.relative_to(ROOT)))
            if not check:
                write_text(page, new)
    if check and stale:
        raise click.ClickException(
            f"tables are out of date in {', '.join(stale)}: python -m benchmarks.tables"
        )
    click.echo(f"changed: {', '.join(stale) or 'none'}")


if __name__ == "__main__":
    main()
