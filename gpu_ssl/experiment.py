"""The whole story of a run on one page: load, train, encode, hand over, fit, predict, score."""

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import gpu_ssl
from gpu_ssl.config import STANDARD_LABEL_COUNTS, RunConfig
from gpu_ssl.data.catalog import find_spec
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.loading import load_dataset
from gpu_ssl.data.splits import resolve_label_counts
from gpu_ssl.methods import baselines, m1
from gpu_ssl.methods.evaluation import Predictions, n_splits_of, predict_splits
from gpu_ssl.methods.features import Features
from gpu_ssl.models import checkpoint
from gpu_ssl.models.vae import VAE
from gpu_ssl.report.records import DatasetRecord, Published, Report, Result, Timings, TrainingRecord
from gpu_ssl.runtime.device import memory_errors, resolve_device
from gpu_ssl.runtime.environment import describe_environment
from gpu_ssl.runtime.progress import Progress
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.svm.backend import SVMBackend, resolve_backend
from gpu_ssl.svm.model import OneVsOneModel

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.json"

PUBLISHED = {
    "fashion-mnist": tuple(
        Published(
            name="the recipe as published",
            labels=labels,
            accuracy=accuracy,
            source="MLP VAE and SVM, by the author of the recipe that this project started from",
        )
        for labels, accuracy in ((100, 0.7025), (600, 0.7590), (1000, 0.7903), (3000, 0.8138))
    )
}
"""Figures of others for the same task, in fractions of the test images."""


@dataclass(frozen=True)
class Outcome:
    """A report, and what plots are drawn from."""

    report: Report
    dataset: Dataset
    vae: VAE
    test_latents: NDArray[np.float32]
    predictions: Predictions


def check(config: RunConfig) -> None:
    """Check all that can be told before the data are loaded, and log what ``--labels all`` leaves out.

    Raises
    ------
    UsageError, DeviceError
        If the data set, a number of labels, the device or the SVM backend cannot be.
    """
    spec = find_spec(config.data.dataset)
    counts = resolve_label_counts(config.labels, spec.n_train, len(spec.class_names))
    if config.labels == "all" and counts != STANDARD_LABEL_COUNTS:
        left_out = ", ".join(str(n) for n in STANDARD_LABEL_COUNTS if n not in counts)
        logger.warning("%s has %d training images: %s labels left out", spec.name, spec.n_train, left_out)
    resolve_backend(config.svm_backend, resolve_device(config.device))


def run(config: RunConfig, folder: Path, progress: Progress) -> Outcome:
    """Run M1, and the baselines if `config` asks for them, and score them on the test images.

    Parameters
    ----------
    config : RunConfig
        All settings.
    folder : Path
        Takes the checkpoint, the VAE and the SVMs. A checkpoint of the same settings that is there
        already is gone on from.
    progress : Progress
        Shows how far long work is.

    Raises
    ------
    GpuSslError
        With one line for the user: see `gpu_ssl.errors`.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    device_choice = resolve_device(config.device)
    backend, svm_choice = resolve_backend(config.svm_backend, device_choice)
    device = torch.device(device_choice.used)
    stopwatch = Stopwatch(device)
    with stopwatch.phase("load"):
        dataset = load_dataset(config.data, progress)
    counts = resolve_label_counts(config.labels, len(dataset.train), len(dataset.train.class_names))
    with memory_errors(device, "lower --batch-size, take a smaller --dataset, or give --device cpu"):
        vae, training, latents = _learn(config, dataset, device, backend, folder, stopwatch, progress)
    with memory_errors(device, "take fewer --labels, or give --svm sklearn"):
        predictions = _predict(config, dataset, latents, counts, backend, folder, stopwatch, progress)
    results = score(predictions, dataset.test.labels)
    phases = ("load", "upload", "warm_up", "train", "encode", "handoff", "fit", "score", "baselines")
    report = Report(
        gpu_ssl=gpu_ssl.__version__,
        started=started,
        config=config.model_dump(mode="json"),
        environment=describe_environment(),
        dataset=DatasetRecord(
            name=dataset.name,
            sha256=dataset.sha256,
            n_train=len(dataset.train),
            n_test=len(dataset.test),
            image_shape=dataset.train.image_shape,
            classes=dataset.train.class_names,
        ),
        device=device_choice,
        svm=svm_choice,
        training=training,
        results=results,
        published=tuple(p for p in PUBLISHED.get(dataset.name, ()) if p.labels in counts),
        timings=Timings(**{name: stopwatch.seconds[name] for name in phases}, total=stopwatch.total()),
    )
    return Outcome(report, dataset, vae, backend.to_host(latents.test), predictions[m1.METHOD])


def _learn(
    config: RunConfig,
    dataset: Dataset,
    device: torch.device,
    backend: SVMBackend,
    folder: Path,
    stopwatch: Stopwatch,
    progress: Progress,
) -> tuple[VAE, TrainingRecord, Features]:
    """Train the VAE, write it to disk, and encode all images. No label comes near this."""
    with stopwatch.phase("upload"):
        train_images, test_images = (
            torch.from_numpy(part.images).to(device) for part in (dataset.train, dataset.test)
        )
    if device.type == "cuda":
        with stopwatch.phase("warm_up"):
            m1.warm_up(config, dataset, train_images)
    with stopwatch.phase("train"):
        vae, training, precision = m1.train(config, dataset, train_images, folder / CHECKPOINT, progress)
    description = {
        "kind": "gpu-ssl vae",
        "schema": 1,
        "model": config.model.model_dump(mode="json"),
        "image_shape": dataset.train.image_shape,
    }
    checkpoint.save(folder / "vae.json", vae.state_dict(), description)
    latents = m1.features(vae, train_images, test_images, precision, backend, stopwatch)
    return vae, training, latents


def _predict(
    config: RunConfig,
    dataset: Dataset,
    latents: Features,
    counts: tuple[int, ...],
    backend: SVMBackend,
    folder: Path,
    stopwatch: Stopwatch,
    progress: Progress,
) -> dict[str, Predictions]:
    """Predict the test images by the method and the baselines, on the same splits."""

    def keep(method: str, count: int, split: int, model: OneVsOneModel) -> None:
        arrays = {
            name: torch.from_numpy(np.ascontiguousarray(backend.to_host(getattr(model, name))))
            for name in ("support", "support_vectors", "coefficients", "intercepts")
        }
        description = {
            "kind": "gpu-ssl one-vs-one SVM",
            "schema": 2,
            "kernel": dataclasses.asdict(model.kernel),
            "C": config.svm.C,
            "n_classes": model.n_classes,
            "class_names": dataset.train.class_names,
        }
        checkpoint.save(folder / "svm" / f"{method}-{count}-labels-split-{split}.json", arrays, description)

    labels = dataset.train.labels
    fits = sum(n_splits_of(count, len(labels), config.splits) for count in counts)
    with progress.task(
        "Fitting the SVMs", fits * (1 + len(baselines.ALL) if config.baselines else 1)
    ) as advance:
        common = (labels, counts, config.splits, config.seed, config.svm)
        predictions = {latents.method: predict_splits(latents, *common, backend, stopwatch, advance, keep)}
        if config.baselines:
            with stopwatch.phase("baselines"):
                host, _ = resolve_backend("sklearn", resolve_device("cpu"))
                own = Stopwatch(torch.device("cpu"))
                for make in baselines.ALL:
                    features = make(dataset)
                    predictions[features.method] = predict_splits(features, *common, host, own, advance)
    return predictions


def score(predictions: Mapping[str, Predictions], test_labels: NDArray[np.int64]) -> tuple[Result, ...]:
    """Compare predictions with the test labels: before this, nothing reads them (plots do afterwards)."""
    results = []
    for method, by_count in predictions.items():
        for count, by_split in by_count.items():
            accuracies = [float(np.mean(predicted == test_labels)) for predicted in by_split]
            results.append(
                Result(
                    method=method,
                    labels=count,
                    splits=len(accuracies),
                    accuracy_mean=float(np.mean(accuracies)),
                    accuracy_std=float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
                    accuracies=tuple(accuracies),
                )
            )
    return tuple(results)
