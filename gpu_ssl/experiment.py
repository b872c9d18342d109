"""The whole story of a run on one page: load, train, encode, hand over, fit, predict, score."""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import gpu_ssl
from gpu_ssl.config import STANDARD_LABEL_COUNTS, MethodName, RunConfig
from gpu_ssl.data.catalog import find_spec
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.loading import load_dataset
from gpu_ssl.data.splits import resolve_label_counts
from gpu_ssl.errors import UsageError
from gpu_ssl.methods import baselines, consistency, m1
from gpu_ssl.methods.choice import make_method
from gpu_ssl.methods.evaluation import Cell, Method, Predictions, Store, cells_of, predict_cells
from gpu_ssl.methods.learned import Learned, learn
from gpu_ssl.methods.m2 import load_m2, m2_path, save_m2
from gpu_ssl.methods.svm import SVMOnFeatures, SVMSolver, save_svm
from gpu_ssl.models.m2 import M2
from gpu_ssl.models.vae import VAE
from gpu_ssl.report.differences import paired_differences
from gpu_ssl.report.records import METHOD_TITLES, DatasetRecord, Published, Report, Result, Timings
from gpu_ssl.runtime.device import memory_errors, resolve_device
from gpu_ssl.runtime.environment import describe_environment
from gpu_ssl.runtime.progress import Progress
from gpu_ssl.runtime.ranks import ALONE, Ranks
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.svm.backend import SVMBackend, resolve_backend
from gpu_ssl.svm.model import OneVsOneModel

logger = logging.getLogger(__name__)

TRAINED: frozenset[MethodName] = frozenset({"m2", "m1m2", "consistency", "auto"})
"""Methods whose table shows what a network makes of the labelled images alone."""

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
    method: MethodName
    """The one that was asked for first."""
    predictions: dict[str, Predictions]
    generators: dict[str, M2]
    """The networks of ``m2`` and ``m1m2`` at the largest number of labels, first split."""


SHARED: frozenset[MethodName] = frozenset({"m1", "graph"})
"""Methods whose work several ranks share: all that is long in them is the VAE."""


def check(config: RunConfig, ranks: Ranks = ALONE) -> None:
    """Check all that can be told before the data are loaded, and log what ``--labels all`` leaves out.

    Raises
    ------
    UsageError, DeviceError
        If the data set, a number of labels, the device or the SVM backend cannot be; or if several ranks
        would not share the work.
    """
    _check_shared(config, ranks)
    spec = find_spec(config.data.dataset)
    counts = resolve_label_counts(config.labels, spec.n_train, len(spec.class_names))
    if config.labels == "all" and counts != STANDARD_LABEL_COUNTS:
        left_out = ", ".join(str(n) for n in STANDARD_LABEL_COUNTS if n not in counts)
        logger.warning("%s has %d training images: %s labels left out", spec.name, spec.n_train, left_out)
    resolve_backend(config.svm_backend, ranks.device(config.device))


def _check_shared(config: RunConfig, ranks: Ranks) -> None:
    """Refuse what several ranks would not share."""
    more = [f"--method {name}" for name in config.methods if name not in SHARED]
    more += ["--features both"] if config.features == "both" else []
    if more and ranks.size > 1:
        raise UsageError(
            f"{more[0]} takes more than the VAE and its latents, which is what several ranks share; "
            f"give --method {' or '.join(sorted(SHARED))}, or spread runs over GPUs with gpu-ssl sweep"
        )


def run(config: RunConfig, folder: Path, progress: Progress) -> Outcome:
    """Do what `run_together` does, on one rank."""
    outcome = run_together(config, folder, progress, ALONE)
    assert outcome is not None
    return outcome


def run_together(config: RunConfig, folder: Path, progress: Progress, ranks: Ranks) -> Outcome | None:
    """Run the methods and baselines that `config` asks for, and score them on the test images.

    Parameters
    ----------
    config : RunConfig
        All settings.
    folder : Path
        Takes the checkpoint, the VAE, the SVMs and the predictions. What is there already of the same
        settings is not done again.
    progress : Progress
        Shows how far long work is.
    ranks : Ranks
        Who trains and encodes together. Rank 0 does all the rest.

    Returns
    -------
    Outcome or None
        None on the other ranks.

    Raises
    ------
    GpuSslError
        With one line for the user: see `gpu_ssl.errors`.
    """
    _check_shared(config, ranks)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    device_choice = ranks.device(config.device)
    backend, svm_choice = resolve_backend(config.svm_backend, device_choice)
    device = torch.device(device_choice.used)
    stopwatch = Stopwatch(device)
    with stopwatch.phase("load"):
        dataset = load_dataset(config.data, progress)
        ranks.meet()
    counts = resolve_label_counts(config.labels, len(dataset.train), len(dataset.train.class_names))
    cells = cells_of(counts, len(dataset.train), config.splits)
    with memory_errors(device, "lower --batch-size, take a smaller --dataset, or give --device cpu"):
        learned = learn(config, dataset, device, backend, svm_choice, folder, stopwatch, progress, ranks)
    if learned is None:
        return None
    with memory_errors(device, "take fewer --labels, or give --svm sklearn"):
        predictions = _predict(config, dataset, learned, cells, backend, folder, stopwatch, progress)
    generators = _generators(config, folder, Cell(max(counts), 0), device)
    results = score(predictions, dataset.test.labels)
    phases = [name for name in Timings.model_fields if name != "total"]
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
        training=learned.training,
        results=results,
        differences=paired_differences(results, config.methods),
        published=tuple(p for p in PUBLISHED.get(dataset.name, ()) if p.labels in counts),
        timings=Timings(**{name: stopwatch.seconds[name] for name in phases}, total=stopwatch.total()),
    )
    return Outcome(
        report=report,
        dataset=dataset,
        vae=learned.vae,
        test_latents=learned.test_latents.cpu().numpy(),
        method=config.methods[0],
        predictions=predictions,
        generators=generators,
    )


def _predict(
    config: RunConfig,
    dataset: Dataset,
    learned: Learned,
    cells: Sequence[Cell],
    backend: SVMBackend,
    folder: Path,
    stopwatch: Stopwatch,
    progress: Progress,
) -> dict[str, Predictions]:
    """Predict the test images by every method and baseline, on the same splits."""

    def keep(method: str, cell: Cell, model: OneVsOneModel) -> None:
        name = f"{method}-{cell.labels}-labels-split-{cell.split}.json"
        save_svm(folder / "svm" / name, model, config.svm.C, backend, dataset.train.class_names)

    def keep_m2(method: str, cell: Cell, network: M2) -> None:
        save_m2(m2_path(folder, method, cell), network)

    origin = {
        "gpu_ssl": gpu_ssl.__version__,
        "dataset": dataset.sha256,
        "config": config.model_dump_json(include={"model", "train", "svm", "seed", "preset", "features"}),
        "device": learned.train_images.device.type,
        "torch": torch.__version__,
    }
    store = Store(folder / "predictions", json.dumps(origin))
    names: list[MethodName] = list(config.methods)
    if config.baselines and TRAINED & set(names) and consistency.BASELINE not in names:
        names.append(consistency.BASELINE)
    predictions = {}

    def add(method: Method, store: Store | None = None) -> None:
        with progress.task(METHOD_TITLES[method.name], len(cells)) as advance:
            predictions[method.name] = predict_cells(
                method, dataset.train.labels, cells, config.seed, advance, store
            )

    for name in names:
        own = stopwatch if name == m1.METHOD else Stopwatch(stopwatch.device)
        solver = SVMSolver(config.svm, backend, own, keep)
        method = make_method(name, learned, solver, config.preset, config.seed, keep_m2)
        with nullcontext() if name == m1.METHOD else stopwatch.phase("methods"):
            add(method, store)
    if config.baselines:
        with stopwatch.phase("baselines"):
            host, _ = resolve_backend("sklearn", resolve_device("cpu"))
            solver = SVMSolver(config.svm, host, Stopwatch(torch.device("cpu")))
            for make in baselines.ALL:
                add(SVMOnFeatures(make(dataset), solver))
    return predictions


def _generators(config: RunConfig, folder: Path, cell: Cell, device: torch.device) -> dict[str, M2]:
    """Read the generative models of a cell back; a run that went on did not train those of finished cells."""
    names = [name for name in config.methods if name in ("m2", "m1m2")]
    return {name: load_m2(m2_path(folder, name, cell)).to(device) for name in names}


def score(predictions: Mapping[str, Predictions], test_labels: NDArray[np.int64]) -> tuple[Result, ...]:
    """Compare predictions with the test labels: before this, nothing reads them (plots do afterwards)."""
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
                    reasons=tuple(p.answer.reason for p in by_split if p.answer.reason),
                    curves=tuple(p.answer.curve for p in by_split if p.answer.curve),
                )
            )
    return tuple(results)
