"""The page of a run: what was done, the results, and how to repeat it."""

from pathlib import Path
from typing import Any

from gpu_ssl import catalog
from gpu_ssl.records import Report, Result
from gpu_ssl.report import plots
from gpu_ssl.report.command import command_of_run
from gpu_ssl.report.details import FeatureMap, RunDetails
from gpu_ssl.report.html import chart_figure, class_figures, confusion_table, worst_confusions, write_page
from gpu_ssl.report.table import FEWEST, accuracy_cell, with_intervals

MOST_CLASSES = 20
"""Classes up to which a confusion matrix is shown as a table."""

WIDTH, HEIGHT = 760, 520
"""Size of the map, in units of its image."""


def write_run_page(path: Path, report: Report, details: RunDetails) -> None:
    """Write the page of a run.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    write_page(path, "run.html", _context(report, details))


def _context(report: Report, details: RunDetails) -> dict[str, Any]:
    names = report.dataset.classes
    return {
        "title": f"{report.dataset.name}: {', '.join(_asked(report))}",
        "report": report,
        "sentences": _sentences(report),
        "table": _table(report),
        "differences": report.differences,
        "enough": with_intervals(report),
        "fewest": FEWEST,
        "title_of": catalog.title,
        "charts": _charts(report),
        "confusions": [
            {
                "title": catalog.title(own.method),
                "labels": own.labels,
                "rows": confusion_table(own.cells, len(names)) if len(names) <= MOST_CLASSES else None,
                "classes": class_figures(own.cells, names),
                "worst": worst_confusions(own.cells, names),
            }
            for own in details.confusions
        ],
        "mistakes": details.mistakes,
        "exhibits": details.exhibits,
        "map": None if details.map is None else map_context(details.map),
        "settings": settings_rows(report.config),
        "environment": environment_rows(report.environment),
        "timings_rows": [
            (name, f"{seconds:.2f}") for name, seconds in report.timings.model_dump().items() if seconds
        ],
        "command": command_of_run(report.config),
    }


def _asked(report: Report) -> list[str]:
    return list(report.config.get("methods") or dict.fromkeys(own.method for own in report.results))


def _sentences(report: Report) -> list[str]:
    """Return a summary in three parts: what was done, the results, and the time."""
    data, counts = report.dataset, sorted({own.labels for own in report.results})
    splits = max(own.splits for own in report.results)
    choices = f"{splits} random choices" if splits > 1 else "one random choice"
    some = [count for count in counts if count < data.n_train]
    listed = ", ".join(f"{count:,}" for count in some)
    labelled = [f"{listed} labelled ones, in {choices} of each number"] if some else []
    labelled += ["all of them with labels"] if data.n_train in counts else []
    given = "The VAE was trained on them without labels; methods" if report.training else "Methods"
    has_svms = any(catalog.method(own.method).svm for own in report.results)
    svms = f"; SVMs by {report.svm.used} ({report.svm.reason})" if has_svms else ""
    best = max((own for own in report.results if own.labels == counts[-1]), key=lambda own: own.accuracy_mean)
    return [
        f"There are {data.n_train:,} training images of {data.name}. {given} were fitted to "
        f"{' and to '.join(labelled)}.",
        f"With {counts[-1]:,} labels the best is {catalog.title(best.method)}: {accuracy_cell(best)} % of "
        f"{data.n_test:,} test images are classified correctly; their labels were used only to score and, "
        "afterwards, to show errors.",
        f"It took {report.timings.total:.0f} seconds on {report.device.used} ({report.device.reason}){svms}.",
    ]


def _table(report: Report) -> dict[str, Any]:
    counts = list(dict.fromkeys(own.labels for own in report.results))
    cells = {(own.method, own.labels): own for own in report.results}
    best = {n: max(own.accuracy_mean for own in report.results if own.labels == n) for n in counts}
    rows = [
        {
            "title": catalog.title(method),
            "cells": [
                {"text": accuracy_cell(own), "best": own.accuracy_mean == best[n], "seconds": mean(own)}
                for n, own in ((n, cells[method, n]) for n in counts)
            ],
        }
        for method in dict.fromkeys(own.method for own in report.results)
    ]
    figures = {(own.name, own.labels): f"{100 * own.accuracy:.2f}" for own in report.published}
    published = [
        {"title": name, "cells": [figures.get((name, n), "") for n in counts]}
        for name in dict.fromkeys(own.name for own in report.published)
    ]
    return {"counts": counts, "rows": rows, "published": published}


def mean(result: Result) -> float:
    """Return the mean seconds of a split."""
    return sum(result.seconds) / len(result.seconds)


def _charts(report: Report) -> list[dict[str, Any]]:
    drawn = [
        ("Accuracy against labels", [plots.accuracy_against_labels(report)]),
        ("Accuracy against seconds", [plots.accuracy_against_seconds(report)]),
    ]
    if report.training is not None:
        drawn.append(("Loss of the VAE", plots.training_curves(report.training)))
    if any(own.curves for own in report.results):
        drawn.append(("Loss of the methods' networks", plots.learning_curves(report)))
    return [chart_figure(title, drawings) for title, drawings in drawn]


def map_context(drawn: FeatureMap) -> dict[str, Any]:
    """Return a map for the template, with points in units of its image."""
    margin = 8
    points = [
        {
            "x": round(margin + x * (WIDTH - 2 * margin), 1),
            "y": round(HEIGHT - margin - y * (HEIGHT - 2 * margin), 1),
            "class": own,
            "colour": own % 20,
            "i": i,
        }
        for i, ((x, y), own) in enumerate(zip(drawn.points, drawn.classes, strict=True))
    ]
    return {
        "how": drawn.how,
        "points": points,
        "sheet": drawn.sheet,
        "columns": drawn.columns,
        "tile": drawn.tile,
        "width": WIDTH,
        "height": HEIGHT,
        "shown": sorted(set(drawn.classes)),
    }


def _settings(config: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Return settings by their full names."""
    rows: list[tuple[str, str]] = []
    for name, value in config.items():
        rows += (
            _settings(value, f"{prefix}{name}.")
            if isinstance(value, dict)
            else [(f"{prefix}{name}", "default" if value is None else str(value))]
        )
    return rows


def settings_rows(config: dict[str, Any]) -> list[tuple[str, str]]:
    """Return settings by their full names, sorted."""
    return sorted(_settings(config))


def environment_rows(environment: dict[str, Any]) -> list[tuple[str, str]]:
    """Return hardware and versions, one row each."""
    rows = []
    for name, value in environment.items():
        if isinstance(value, dict):
            rows += [(str(own), str(version)) for own, version in value.items()]
        elif isinstance(value, list):
            names = [str(own.get("name", own) if isinstance(own, dict) else own) for own in value]
            rows.append((name, "; ".join(names) or "none"))
        else:
            rows.append((name, "none" if value is None else str(value)))
    return rows
