"""All cells of a sweep as one table, one file and one plot."""

from collections import defaultdict
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field
from rich.console import Group, RenderableType
from rich.text import Text

from gpu_ssl import catalog
from gpu_ssl.records import Record, Report
from gpu_ssl.report.table import by_labels
from gpu_ssl.report.terminal import FAINT
from gpu_ssl.runtime.figures import new_figure
from gpu_ssl.runtime.files import atomic_path
from gpu_ssl.sweep.spec import SweepCell


class Row(Record):
    """Accuracies of a method at a number of labels, over all seeds and splits, as fractions."""

    dataset: str
    settings: str
    method: str
    labels: int
    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over seeds and splits."""
        return float(np.mean(self.accuracies))

    @property
    def std(self) -> float | None:
        """Sample standard deviation (ddof = 1), or None for a single one."""
        return float(np.std(self.accuracies, ddof=1)) if len(self.accuracies) > 1 else None


class SweepRecord(Record):
    """The content of ``sweep.json``: all rows, and the cells that failed, with the reason."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    rows: tuple[Row, ...]
    failed: dict[str, str]


def summarize(found: Mapping[SweepCell, Report], failed: dict[str, str]) -> SweepRecord:
    """Combine the reports of cells.

    A baseline that is also one of the methods is in two cells of a seed, and counts once.
    """
    accuracies: dict[tuple[str, str, str, int], dict[int, tuple[float, ...]]] = defaultdict(dict)
    for cell, report in found.items():
        for result in report.results:
            key = (report.dataset.name, cell.variant, result.method, result.labels)
            accuracies[key][cell.config.seed] = result.accuracies
    rows = (
        Row(
            dataset=dataset,
            settings=settings,
            method=method,
            labels=labels,
            accuracies=tuple(chain.from_iterable(of_seeds.values())),
        )
        for (dataset, settings, method, labels), of_seeds in accuracies.items()
    )
    return SweepRecord(rows=tuple(rows), failed=failed)


def table(record: SweepRecord) -> RenderableType:
    """Return a table for each data set and settings: a row a method, a column a number of labels."""
    tables = []
    for dataset, settings in dict.fromkeys((row.dataset, row.settings) for row in record.rows):
        found = [row for row in record.rows if (row.dataset, row.settings) == (dataset, settings)]
        cells: dict[str, dict[int, Text]] = defaultdict(dict)
        for row in found:
            cells[catalog.title(row.method)][row.labels] = Text(_cell(row))
        counts = sorted({row.labels for row in found})
        title = f"{dataset}, {settings}: accuracy on the test images, %"
        tables.append(by_labels(cells, counts, title=title))
    return Group(*tables, Text("mean ± standard deviation over seeds and splits", FAINT))


def _cell(row: Row) -> str:
    mean = f"{100 * row.mean:.2f}"
    return mean if row.std is None else f"{mean} ± {100 * row.std:.2f}"


def plot(record: SweepRecord, path: Path) -> None:
    """Plot accuracy against labels, a panel for each data set.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    datasets = list(dict.fromkeys(row.dataset for row in record.rows))
    figure = new_figure(6.5 * len(datasets), 4.5)
    for axes, dataset in zip(figure.subplots(1, len(datasets), squeeze=False)[0], datasets, strict=True):
        rows = [row for row in record.rows if row.dataset == dataset]
        for settings, method in dict.fromkeys((r.settings, r.method) for r in rows):
            line = sorted(
                (r for r in rows if (r.settings, r.method) == (settings, method)), key=lambda r: r.labels
            )
            axes.errorbar(
                [r.labels for r in line],
                [100 * r.mean for r in line],
                [100 * (r.std or 0.0) for r in line],
                marker="o",
                capsize=3,
                label=f"{method}, {settings}",
            )
        axes.set_xscale("log")
        axes.set_xlabel("labels")
        axes.set_ylabel("accuracy on the test images, %")
        axes.set_title(dataset)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
