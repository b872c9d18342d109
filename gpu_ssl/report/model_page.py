"""The page of a model: its estimated accuracy, with the evidence."""

import json
from pathlib import Path
from typing import Any

from gpu_ssl import catalog
from gpu_ssl.errors import StorageError
from gpu_ssl.fitted.records import ModelRecord
from gpu_ssl.report.card import encoder_of
from gpu_ssl.report.command import command_of_fit, command_of_predict
from gpu_ssl.report.details import ModelDetails
from gpu_ssl.report.expectation import expectation, notes, warning
from gpu_ssl.report.html import chart_figure, confusion_table, worst_confusions, write_page
from gpu_ssl.report.plots import training_curves
from gpu_ssl.report.reliability import reliability_diagram
from gpu_ssl.report.run_page import MOST_CLASSES, environment_rows, settings_rows

FOUND = "data.json"
"""File in a model's folder: findings about images and labels, as printed by ``gpu-ssl check --json``."""


def write_model_page(path: Path, record: ModelRecord, details: ModelDetails, folder: Path) -> None:
    """Write the page of a model in `folder`.

    Raises
    ------
    StorageError
        If it cannot be written, or the findings are not readable.
    """
    write_page(path, "model.html", _context(record, details, _read_found(folder / FOUND)))


def _read_found(path: Path) -> dict[str, Any]:
    """Return the findings about the images; empty for a model not written by the command line."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} is damaged; delete it for a page without") from error
    return found


def _context(record: ModelRecord, details: ModelDetails, found: dict[str, Any]) -> dict[str, Any]:
    estimate, names = record.estimate, record.class_names
    return {
        "title": f"A classifier of images into {len(names)} classes",
        "record": record,
        "method": catalog.title(record.chosen.method),
        "encoder": encoder_of(record),
        "expectation": expectation(record),
        "warning": warning(estimate),
        "notes": notes(record),
        "estimate": estimate,
        "labelled": sum(record.n_labelled.values()),
        "charts": _charts(record),
        "rows": confusion_table(estimate.confusion, len(names))
        if estimate is not None and len(names) <= MOST_CLASSES
        else None,
        "worst": worst_confusions(estimate.confusion, names) if estimate is not None else [],
        "details": details,
        "skipped": found.get("skipped", []),
        "problems": found.get("problems", []),
        "settings": settings_rows(record.config.model_dump(mode="json")),
        "environment": environment_rows(record.environment),
        "command": command_of_fit(record.config),
        "use": command_of_predict("THIS_FOLDER", record.takes_embeddings),
        "encoded_shapes": ", ".join(" x ".join(map(str, shape)) for shape in record.encoded_shapes),
    }


def _holds_vae(record: ModelRecord) -> bool:
    """Return whether the model has the VAE that was trained; it may have been a candidate only."""
    names = [part["name"] for part in record.encoder["parts"]]
    ood = record.ood_encoder
    return "vae" in [*names, ood if isinstance(ood, str) else ood["name"]]


def _charts(record: ModelRecord) -> list[dict[str, Any]]:
    drawn = []
    if record.estimate is not None:
        drawn.append(("Confidence against accuracy", [reliability_diagram(record.estimate)]))
    if record.training is not None and _holds_vae(record):
        drawn.append(("Loss of the VAE", training_curves(record.training)))
    return [chart_figure(title, drawings) for title, drawings in drawn]
