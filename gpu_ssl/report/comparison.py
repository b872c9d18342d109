"""A page that compares finished runs: accuracies side by side, and what differs between them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpu_ssl import catalog
from gpu_ssl.errors import UsageError
from gpu_ssl.records import Report
from gpu_ssl.report.html import write_page
from gpu_ssl.report.run_page import environment_rows, mean, settings_rows
from gpu_ssl.report.table import accuracy_cell


def write_comparison(path: Path, reports: Mapping[str, Report]) -> None:
    """Write a page on several runs.

    Parameters
    ----------
    path : Path
        The file.
    reports : mapping of str to Report
        Reports by the names of their folders.

    Raises
    ------
    UsageError
        If they are of different data, whose accuracies are not comparable.
    StorageError
        If the page cannot be written.
    """
    datasets = {report.dataset.sha256: f"{name} ({report.dataset.name})" for name, report in reports.items()}
    if len(datasets) > 1:
        raise UsageError(
            f"runs of different data cannot be compared: {' and '.join(datasets.values())}; give runs of one"
        )
    write_page(path, "comparison.html", _context(reports))


def _context(reports: Mapping[str, Report]) -> dict[str, Any]:
    first = next(iter(reports.values()))
    counts = sorted({own.labels for report in reports.values() for own in report.results})
    rows = [
        {
            "run": name,
            "method": catalog.title(method),
            "cells": [
                next(
                    (
                        {"text": accuracy_cell(own), "seconds": mean(own), "splits": own.splits}
                        for own in report.results
                        if (own.method, own.labels) == (method, count)
                    ),
                    None,
                )
                for count in counts
            ],
        }
        for name, report in reports.items()
        for method in dict.fromkeys(own.method for own in report.results)
    ]
    settings = {name: dict(settings_rows(report.config)) for name, report in reports.items()}
    machines = {name: dict(environment_rows(report.environment)) for name, report in reports.items()}
    return {
        "title": f"{len(reports)} runs on {first.dataset.name}",
        "dataset": first.dataset,
        "names": list(reports),
        "counts": counts,
        "rows": rows,
        "settings": _differing(settings),
        "machines": _differing(machines),
        "totals": [(name, report.timings.total, report.device.used) for name, report in reports.items()],
    }


def _differing(of_runs: Mapping[str, Mapping[str, str]]) -> list[tuple[str, list[str]]]:
    """Return what differs between the runs, with the value of each."""
    names = dict.fromkeys(name for own in of_runs.values() for name in own)
    rows = [(name, [own.get(name, "") for own in of_runs.values()]) for name in names]
    return [row for row in rows if len(set(row[1])) > 1]
