"""A run from top to bottom: load, encode, fit and predict by each method, score, report."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import gpu_ssl
from gpu_ssl import catalog
from gpu_ssl.catalog import MethodSpec
from gpu_ssl.config import STANDARD_LABEL_COUNTS, RunConfig
from gpu_ssl.data.catalog import find_spec
from gpu_ssl.data.image_set import Dataset, ImageSet
from gpu_ssl.data.loading import load_dataset
from gpu_ssl.data.splits import labelled_indices, resolve_label_counts
from gpu_ssl.encoders import vae
from gpu_ssl.encoders.encoder import Exhibit
from gpu_ssl.errors import UsageError, either
from gpu_ssl.methods.evaluation import (
    Cell,
    CellTask,
    Predictions,
    Store,
    cells_of_run,
    do_in_turn,
    predict_cells,
)
from gpu_ssl.methods.method import Classifier, Options, encoders_of, options_of
from gpu_ssl.methods.representation import represent
from gpu_ssl.methods.saving import load_classifier, prepare_classifier
from gpu_ssl.methods.view import View
from gpu_ssl.methods.workers import Workers
from gpu_ssl.published import PUBLISHED
from gpu_ssl.records import DatasetRecord, Report, Result, Timings, TrainingRecord
from gpu_ssl.runtime.device import memory_errors, require_precision
from gpu_ssl.runtime.environment import describe_environment, release
from gpu_ssl.runtime.progress import Progress
from gpu_ssl.runtime.ranks import ALONE, Ranks
from gpu_ssl.runtime.state import Writing
from gpu_ssl.runtime.threads import n_threads
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.statistics import paired_differences
from gpu_ssl.svm.backend import resolve_backend

logger = logging.getLogger(__name__)

MOST_STREAMS = 16
"""Maximum number of networks that are trained at a time on a GPU; torch has 32 streams."""


@dataclass(frozen=True)
class Outcome:
    """A report, and the arrays that plots need in addition.

    Parameters
    ----------
    report : Report
        The content of ``report.json``.
    test : ImageSet
        The test images and their classes.
    test_features : ndarray of shape (n_test, width), float32
        Features of the test images that the first method works on; pixels if it makes its own.
    predictions : dict of str to Predictions
        The predictions of each method.
    exhibits : callable
        Returns figures of what encoders and classifiers have learned, made from the folder when first called.
    """

    report: Report
    test: ImageSet
    test_features: NDArray[np.float32]
    predictions: dict[str, Predictions]
    exhibits: Callable[[], list[Exhibit]]


def methods_of(config: RunConfig) -> list[MethodSpec]:
    """Return the methods of a run, and the baselines next to them."""
    asked = [catalog.method(name) for name in config.methods]
    kinds = ("always", "networks") if any(spec.trains for spec in asked) else ("always",)
    with_them = [spec for spec in catalog.METHODS if config.baselines and spec.baseline in kinds]
    return list(dict.fromkeys([*asked, *with_them]))


def check(config: RunConfig, ranks: Ranks = ALONE, jobs: int | None = 1) -> None:
    """Check the settings before the data are loaded, and log what ``--labels all`` leaves out.

    Raises
    ------
    UsageError, DeviceError
        If the data set, a number of labels, the encoder, the device, the SVM backend or the number of jobs
        is invalid; or if several processes cannot share the work.
    """
    for method in methods_of(config):
        encoders_of(method, config.encoder)
    _check_shared(config, ranks)
    spec = find_spec(config.data.dataset)
    counts = resolve_label_counts(config.labels, spec.n_train, len(spec.class_names))
    if config.labels == "all" and counts != STANDARD_LABEL_COUNTS:
        left_out = ", ".join(str(n) for n in STANDARD_LABEL_COUNTS if n not in counts)
        logger.warning("%s has %d training images: %s labels left out", spec.name, spec.n_train, left_out)
    device = ranks.device(config.device)
    require_precision(config.train.precision, torch.device(device.used))
    resolve_backend(config.svm_backend, device, ranks.leads)
    _resolve_jobs(jobs, torch.device(device.used))


def _resolve_jobs(jobs: int | None, device: torch.device) -> int:
    """Return the number of splits processed in parallel; for None it depends on the device."""
    if jobs is None:
        return n_threads() if device.type == "cpu" else 1
    if device.type == "cuda" and jobs > MOST_STREAMS:
        raise UsageError(f"`jobs={jobs}`: a GPU trains at most {MOST_STREAMS} networks at a time; give fewer")
    return jobs


def _check_shared(config: RunConfig, ranks: Ranks) -> None:
    """Refuse what several processes cannot share."""
    unshared = [name for name in config.methods if not catalog.method(name).shared]
    if unshared and ranks.size > 1:
        shared = [spec.name for spec in catalog.METHODS if spec.shared and not spec.baseline]
        raise UsageError(
            f"`method={unshared[0]}` needs more than the VAE and its latents, which several "
            f"processes share; `method` may then be {either(shared)}; or run gpu-ssl sweep on several GPUs"
        )


def run(
    config: RunConfig, folder: Path, progress: Progress, ranks: Ranks = ALONE, jobs: int | None = 1
) -> Outcome:
    """Run the methods and baselines of `config`, and score them on the test images.

    Parameters
    ----------
    config : RunConfig
        All settings.
    folder : Path
        Folder of the checkpoint, encoders, classifiers and predictions. What it contains already for the
        same settings is not computed again.
    progress : Progress
        Reports the progress of long work.
    ranks : Ranks
        The processes that train and encode together. Only rank 0 does the rest; the others end before it.
    jobs : int, optional
        Number of splits to process in parallel for methods that train networks, each in its own process;
        None for one per core on a CPU, where the results are bitwise identical.

    Raises
    ------
    GpuSslError
        With one line for the user: see `gpu_ssl.errors`.
    """
    _check_shared(config, ranks)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    device_choice = ranks.device(config.device)
    backend, svm_choice = resolve_backend(config.svm_backend, device_choice, ranks.leads)
    device = torch.device(device_choice.used)
    stopwatch = Stopwatch(device)
    with stopwatch.phase("load"):
        dataset = load_dataset(config.data, progress)
        ranks.meet()
    counts = resolve_label_counts(config.labels, len(dataset.train), len(dataset.train.class_names))
    cells = cells_of_run(counts, len(dataset.train), config.splits)
    methods = methods_of(config)
    trains = any(options_of(config, method.name, device).trains for method in methods)
    jobs = min(_resolve_jobs(jobs, device), len(cells)) if trains else 1

    with memory_errors(device, "lower `batch_size`, take a smaller `dataset`, or give `device=cpu`"):
        train, test = represent(config, dataset, methods, backend, folder, stopwatch, progress, ranks)

    # Splits of one seed share labelled images, and so do methods: their features are computed once.
    labelled = {
        cell: labelled_indices(dataset.train.labels, cell.labels, config.seed, cell.split) for cell in cells
    }
    train.remember(np.unique(np.concatenate(list(labelled.values()))))
    keep_in = folder / "classifiers"
    predictions: dict[str, Predictions] = {}
    with memory_errors(device, "take fewer `labels`, or give `svm=sklearn`"), Workers(jobs) as workers:
        for method in methods:
            options = options_of(config, method.name, device)
            if device.type == "cuda":
                options = replace(options, side_by_side=jobs)
            task = CellTask(
                train,
                dataset.train.labels,
                test,
                options,
                _store(config, options, dataset, device, folder),
                partial(_keep, keep_in, method.name, method.name in config.methods),
            )
            with progress.task(method.title, len(cells)) as advance:
                predictions[method.name] = predict_cells(
                    task, cells, advance, workers if jobs > 1 else do_in_turn
                )

    results = score(predictions, dataset.test.labels)
    first = encoders_of(methods[0], config.encoder, config.preset)
    return Outcome(
        report=Report(
            gpu_ssl=gpu_ssl.__version__,
            started=started,
            config=config.model_dump(mode="json"),
            environment=describe_environment(),
            dataset=_describe(dataset),
            device=device_choice,
            svm=svm_choice,
            training=_training_record(train),
            results=results,
            differences=paired_differences(results, config.methods),
            published=tuple(p for p in PUBLISHED.get(dataset.name, ()) if p.labels in counts),
            timings=Timings.of(stopwatch.seconds, stopwatch.total()),
            jobs=jobs,
        ),
        test=dataset.test,
        test_features=(
            test.features(test.encoders[first[0]]).cpu().numpy()
            if first
            else test.pixels.reshape(len(test), -1).astype(np.float32)
        ),
        predictions=predictions,
        exhibits=cache(partial(_exhibits, config, keep_in, max(counts), test)),
    )


def _store(
    config: RunConfig, options: Options, dataset: Dataset, device: torch.device, folder: Path
) -> Store:
    """Return the store of a method's finished cells, with all that determines their predictions."""
    origin = {
        "gpu_ssl": release(),
        "dataset": dataset.sha256,
        "config": config.model_dump_json(include={"model", "train", "svm", "seed", "preset", "encoder"}),
        "options": [options.effort, options.steps],
        "device": device.type,
        "torch": torch.__version__,
    }
    return Store(folder / "predictions", json.dumps(origin))


def _keep(folder: Path, name: str, asked: bool, cell: Cell, classifier: Classifier) -> list[Writing]:
    """Return what writes the classifier of the first split of a requested method, not of a baseline."""
    if cell.split or not asked:
        return []
    return [prepare_classifier(folder / f"{name}-{cell.labels}-labels.json", classifier)]


def _training_record(train: View) -> TrainingRecord | None:
    vaes = [encoder for encoder in train.encoders.values() if isinstance(encoder, vae.VAEEncoder)]
    return vaes[0].training_record if vaes else None


def _describe(dataset: Dataset) -> DatasetRecord:
    return DatasetRecord(
        name=dataset.name,
        sha256=dataset.sha256,
        n_train=len(dataset.train),
        n_test=len(dataset.test),
        image_shape=dataset.train.image_shape,
        classes=dataset.train.class_names,
    )


def _exhibits(config: RunConfig, folder: Path, count: int, test: View) -> list[Exhibit]:
    """Return figures of what encoders, and the classifiers with most labels, have learned."""
    some = torch.from_numpy(test.pixels[: vae.DRAWN]).to(test.device)
    found = [exhibit for encoder in test.encoders.values() for exhibit in encoder.exhibits(some)]
    for name in config.methods:
        path = folder / f"{name}-{count}-labels.json"
        if path.is_file():
            found += load_classifier(path, test.backend, test.device).exhibits(test)
    return found


def score(predictions: Mapping[str, Predictions], test_labels: NDArray[np.int64]) -> tuple[Result, ...]:
    """Compare predictions with the test labels. Nothing reads them before; plots do afterwards."""
    results = []
    for method, by_count in predictions.items():
        for count, by_split in by_count.items():
            accuracies = [float(np.mean(predicted.classes == test_labels)) for predicted in by_split]
            results.append(
                Result(
                    method=method,
                    labels=count,
                    splits=len(accuracies),
                    accuracy_mean=float(np.mean(accuracies)),
                    accuracy_std=float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
                    accuracies=tuple(accuracies),
                    seconds=tuple(predicted.seconds for predicted in by_split),
                    reasons=tuple(p.chosen for p in by_split if p.chosen),
                    curves=tuple(p.curve for p in by_split if p.curve),
                )
            )
    return tuple(results)
