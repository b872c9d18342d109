"""Self-contained pages: embedded style and script, and a policy that forbids loading anything else."""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gpu_ssl.report.shapes import Drawing, to_svg
from gpu_ssl.runtime.files import write_text

PAGE: Final = "report.html"
"""File next to a report or a model."""

FILES: Final = Path(__file__).parent / "page"


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share in percent; an empty text for None."""
    return "" if share is None else f"{100 * share:.{digits}f}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("gpu_ssl.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    return environment


def render_page(template: str, context: dict[str, Any]) -> str:
    """Return a page; values of the context are escaped, except `Markup`.

    Parameters
    ----------
    template : str
        Name of a file in ``page/``.
    context : dict
        Values for the template.
    """
    style, script = ((FILES / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .get_template(template)
        .render(
            **context,
            style=Markup(style),
            script=Markup(script),
            policy=policy,
        )
    )


def write_page(path: Path, template: str, context: dict[str, Any]) -> None:
    """Write a page; see `render_page`.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    write_text(path, render_page(template, context))


def chart_figure(title: str, drawings: Sequence[Drawing]) -> dict[str, Any]:
    """Return a chart for the templates: a title, and drawings, side by side where there is room."""
    alone = len(drawings) == 1
    names = [title] if alone else [f"{title}, {i} of {len(drawings)}" for i in range(1, len(drawings) + 1)]
    return {
        "title": title,
        "parts": [to_svg(drawing, name) for drawing, name in zip(drawings, names, strict=True)],
    }


def _hash(text: str) -> str:
    """Return the hash of a text for a Content-Security-Policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def confusion_table(cells: Sequence[tuple[int, int, int]], n_classes: int) -> list[list[dict[str, Any]]]:
    """Return a confusion matrix as cells: a number, its share of the true class, and a shade, 0 to 10."""
    matrix = [[0] * n_classes for _ in range(n_classes)]
    for true, named, count in cells:
        matrix[true][named] = count
    return [
        [
            {"count": count, "share": count / (sum(row) or 1), "shade": round(10 * count / (sum(row) or 1))}
            for count in row
        ]
        for row in matrix
    ]


def class_figures(cells: Sequence[tuple[int, int, int]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return support, recall, precision and F1 of each class."""
    support, named, hits = ([0] * len(names) for _ in range(3))
    for true, said, count in cells:
        support[true] += count
        named[said] += count
        hits[true] += count if true == said else 0
    return [
        {
            "name": name,
            "support": support[i],
            "recall": hits[i] / support[i] if support[i] else None,
            "precision": hits[i] / named[i] if named[i] else None,
            "f1": 2 * hits[i] / (support[i] + named[i]) if support[i] + named[i] else None,
        }
        for i, name in enumerate(names)
    ]


def worst_confusions(
    cells: Sequence[tuple[int, int, int]], names: Sequence[str], most: int = 10
) -> list[dict[str, Any]]:
    """Return the most frequent confusions of two classes."""
    wrong = sorted((cell for cell in cells if cell[0] != cell[1]), key=lambda cell: -cell[2])[:most]
    totals = [sum(count for true, _, count in cells if true == i) for i in range(len(names))]
    return [
        {"true": names[true], "named": names[named], "count": count, "share": count / totals[true]}
        for true, named, count in wrong
    ]
