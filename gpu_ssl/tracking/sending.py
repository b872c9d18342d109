"""Sends finished runs and models to trackers, from their records and folders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gpu_ssl.fitted.records import ModelRecord
from gpu_ssl.fitted.storage import MODEL
from gpu_ssl.records import CURVE_STEPS, Report, TrainingRecord
from gpu_ssl.report.card import CARD
from gpu_ssl.report.html import PAGE
from gpu_ssl.report.writing import REPORT
from gpu_ssl.tracking.tracker import Value
from gpu_ssl.tracking.trackers import Trackers

SETTINGS_OF_RUN: Final = ("gpu_ssl", "config", "environment", "dataset", "device", "svm", "jobs")
SETTINGS_OF_MODEL: Final = ("gpu_ssl", "config", "environment", "chosen", "n_images", "images_sha256")


def send_run(trackers: Trackers, report: Report, folder: Path) -> None:
    """Send the report of a run, with the plots and the page in its folder.

    Parameters
    ----------
    trackers : Trackers
        Trackers started for the run.
    report : Report
        Its report.
    folder : Path
        Its folder.
    """
    told = report.model_dump(mode="json", include=set(SETTINGS_OF_RUN))
    told["dataset"].pop("classes")
    send_settings(trackers, told)
    found = {"seconds/total": report.timings.total}
    for result in report.results:
        place = f"{result.method}/{result.labels}-labels"
        found[f"accuracy/{place}"] = result.accuracy_mean
        if result.accuracy_std is not None:
            found[f"accuracy_std/{place}"] = result.accuracy_std
        found[f"seconds/{place}"] = sum(result.seconds) / len(result.seconds)
    trackers.each(lambda tracker: tracker.metrics(found))
    _send_training(trackers, report.training)
    for result in report.results:
        for split, losses in enumerate(result.curves, start=1):
            name = f"loss/{result.method}/{result.labels}-labels/split-{split}"
            points = [(CURVE_STEPS * (i + 1), loss) for i, loss in enumerate(losses)]
            _send_curve(trackers, name, "step", points)
    send_files(trackers, folder, "plots/*.png", PAGE, REPORT)


def send_model(trackers: Trackers, record: ModelRecord, folder: Path) -> None:
    """Send the record of a model, with its figures, page and card, but not its weights.

    Parameters
    ----------
    trackers : Trackers
        Trackers started for the model.
    record : ModelRecord
        Its record.
    folder : Path
        Its folder.
    """
    told = record.model_dump(mode="json", include=set(SETTINGS_OF_MODEL))
    send_settings(trackers, {**told, "encoder": record.encoder["name"]})
    found: dict[str, float] = {"labelled": sum(record.n_labelled.values()), "suspects": record.suspects}
    if (estimate := record.estimate) is not None:
        found |= {
            "accuracy": estimate.accuracy,
            "accuracy_low": estimate.low,
            "accuracy_high": estimate.high,
            "macro_f1": estimate.macro_f1,
            "calibration_error": estimate.calibration_error,
        }
        if estimate.raw_pixels is not None:
            found["accuracy_raw_pixels"] = estimate.raw_pixels
    trackers.each(lambda tracker: tracker.metrics(found))
    _send_training(trackers, record.training)
    send_files(trackers, folder, "*.png", PAGE, MODEL, CARD)


def send_settings(trackers: Trackers, settings: Mapping[str, Any]) -> None:
    """Send settings; nested ones are named by their path."""
    values = _flat(settings)
    trackers.each(lambda tracker: tracker.settings(values))


def send_files(trackers: Trackers, folder: Path, *patterns: str) -> None:
    """Send the files of a folder that match one of the patterns."""
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            trackers.each(lambda tracker, path=path: tracker.file(path))  # type: ignore[misc]


def _send_training(trackers: Trackers, training: TrainingRecord | None) -> None:
    if training is None:
        return
    points = [(round(step), loss) for step, loss in training.loss_by_step()]
    _send_curve(trackers, "loss/vae", "step", points)
    for name in ("reconstruction", "kl"):
        losses = [(own.epoch, getattr(own, name)) for own in training.history]
        _send_curve(trackers, f"{name}/vae", "epoch", losses)


def _send_curve(trackers: Trackers, name: str, axis: str, points: list[tuple[int, float]]) -> None:
    trackers.each(lambda tracker: tracker.curve(name, axis, points))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    """Return nested settings by their paths; values of other types become strings."""
    values: dict[str, Value] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            values |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            values[f"{prefix}{name}"] = ", ".join(map(str, value))
        else:
            values[f"{prefix}{name}"] = value if isinstance(value, Value) else str(value)
    return values
