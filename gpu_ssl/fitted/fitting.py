"""Fits a model to images of the user's own, and tells how far to trust it."""

import dataclasses
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from array_api_compat import array_namespace
from array_api_compat import device as device_of
from numpy.typing import NDArray

import gpu_ssl
from gpu_ssl.config import FitConfig
from gpu_ssl.data.own import UNLABELLED, OwnImages
from gpu_ssl.data.splits import labelling_order, stratified_folds
from gpu_ssl.errors import DataError
from gpu_ssl.fitted.calibration import (
    Coupling,
    expected_calibration_error,
    fit_coupling,
    most_likely_first,
    reliability,
)
from gpu_ssl.fitted.model import FittedModel
from gpu_ssl.fitted.ood import ood_score_of
from gpu_ssl.fitted.records import Estimate, ModelRecord
from gpu_ssl.methods import m1
from gpu_ssl.methods.baselines import intensities
from gpu_ssl.methods.svm import SVMSolver
from gpu_ssl.models.batches import place
from gpu_ssl.models.encoding import encode_rows
from gpu_ssl.report.records import TrainingRecord
from gpu_ssl.runtime.device import memory_errors, resolve_device
from gpu_ssl.runtime.environment import describe_environment
from gpu_ssl.runtime.progress import Progress
from gpu_ssl.runtime.ranks import ALONE, Ranks
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.svm.backend import resolve_backend
from gpu_ssl.svm.kernels import Array
from gpu_ssl.svm.pairs import class_pairs

FEWEST = 8
"""Images: fewer make no VAE."""

BASELINE_WORK = 7e9
"""Squared number of images, times their size, that the SVM on raw pixels may see: some seconds. Of 28 x 28
pixels these are 3,000 images."""


@dataclass(frozen=True)
class Fit:
    """A fitted model, and all that is told of it."""

    model: FittedModel
    record: ModelRecord


def fit(images: OwnImages, config: FitConfig, checkpoint: Path, progress: Progress) -> Fit:
    """Do what `fit_together` does, on one rank."""
    fitted = fit_together(images, config, checkpoint, progress, ALONE)
    assert fitted is not None
    return fitted


def fit_together(
    images: OwnImages, config: FitConfig, checkpoint: Path, progress: Progress, ranks: Ranks
) -> Fit | None:
    """Train a VAE on all images, and fit an SVM to the latents of those with a label.

    Parameters
    ----------
    images : OwnImages
        The images; at least one of each class carries a label.
    config : FitConfig
        All settings.
    checkpoint : Path
        Description file of the VAE's checkpoint, written after each epoch; training goes on from there.
    progress : Progress
        Shows how far it is.
    ranks : Ranks
        Who trains the VAE together. Rank 0 does all the rest.

    Returns
    -------
    Fit or None
        None on the other ranks.

    Raises
    ------
    GpuSslError
        With one line for the user.
    """
    if len(images) < FEWEST:
        raise DataError(f"{len(images)} images are too few to learn from; give at least {FEWEST}")
    device_choice = ranks.device(config.device)
    backend, _ = resolve_backend(config.svm_backend, device_choice)
    device = torch.device(device_choice.used)
    with memory_errors(device, "lower --image-size or --batch-size, or give --device cpu"):
        pixels = place(images.images, device, ranks.shard(len(images)))
        sha256 = ranks.share(images.sha256 if ranks.leads else "")
        ranks.meet()
        to_learn = m1.TrainingImages(pixels, config.mirror, sha256)
        vae, training, _ = m1.train(config, to_learn, checkpoint, progress, ranks)
        ranks.part()
        if not ranks.leads:
            return None
        labelled = np.flatnonzero(images.labels != UNLABELLED)
        classes = images.labels[labelled]
        points = backend.receive(encode_rows(vae, images.images, labelled, torch.float32))
        solver = SVMSolver(config.svm, backend, Stopwatch(device))
        svm = solver.fit(points, classes)
        once = _without_copies(images)
        coupling, estimate = cross_validate(solver, _rows(points, once), classes[once], config.seed)
        if estimate is not None:
            estimate = _beside_baselines(estimate, images, labelled[once], config)
        ood = ood_score_of(vae, images.images, training.augment, config.seed)
    model = FittedModel(vae, svm, coupling, ood, images.class_names, backend, training.augment)
    return Fit(model, _record(images, config, model, training, estimate))


def _beside_baselines(
    estimate: Estimate, images: OwnImages, rows: NDArray[np.int64], config: FitConfig
) -> Estimate:
    """Tell what an SVM on the pixels themselves reaches on the same folds, and naming one class always."""
    most = int((BASELINE_WORK / math.prod(images.image_shape)) ** 0.5)
    classes = images.labels[rows]
    some = labelling_order(classes, config.seed, 0)[:most]
    host, _ = resolve_backend("sklearn", resolve_device("cpu"))
    solver = SVMSolver(config.svm, host, Stopwatch(torch.device("cpu")))
    points, known = intensities(images.images[rows[some]]), classes[some]
    right = [
        solver.fit_predict(points[learn], known[learn], points[check]) == known[check]
        for learn, check in stratified_folds(known, config.seed)
    ]
    return estimate.model_copy(
        update={
            "raw_pixels": float(np.concatenate(right).mean()) if right else None,
            "most_frequent": float(np.bincount(classes).max() / len(classes)),
        }
    )


def _without_copies(images: OwnImages) -> NDArray[np.int64]:
    """Return the positions among the labelled of one of each, in order: a copy tells nothing of another."""
    first: NDArray[np.int64] = np.sort(np.unique(images.labelled_keys, return_index=True)[1])
    return first


def _record(
    images: OwnImages,
    config: FitConfig,
    model: FittedModel,
    training: TrainingRecord,
    estimate: Estimate | None,
) -> ModelRecord:
    labelled = np.flatnonzero(images.labels != UNLABELLED)
    counts = np.bincount(images.labels[labelled]).tolist()
    return ModelRecord(
        gpu_ssl=gpu_ssl.__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        environment=describe_environment(),
        config=config,
        class_names=images.class_names,
        image_shape=images.image_shape,
        white=images.white,
        n_images=len(images),
        n_labelled=dict(zip(images.class_names, counts, strict=True)),
        images_sha256=images.sha256,
        labelled_keys=tuple(sorted(set(images.labelled_keys))),
        training=training,
        estimate=estimate,
        kernel=dataclasses.asdict(model.svm.kernel),
        coupling=dataclasses.asdict(model.coupling),
        ood={"reach": model.ood.reach, "usual_error": model.ood.usual_error},
    )


def cross_validate(
    solver: SVMSolver, points: Array, classes: NDArray[np.int64], seed: int
) -> tuple[Coupling, Estimate | None]:
    """Judge each labelled point (n, d) by the others, and make probabilities of what the SVM says of it.

    The VAE that made the points has seen them all, but no label. Where a class has a single point there is
    no estimate, and the coupling is that which many points of other data came near to.
    """
    folds = stratified_folds(classes, seed)
    if not folds:
        return Coupling(), None
    n_classes = int(classes.max()) + 1
    decisions = np.empty((len(classes), len(class_pairs(n_classes))), np.float32)
    winners = np.empty(len(classes), np.int64)
    for learn, check in folds:
        model = solver.fit(_rows(points, learn), classes[learn])
        found = model.pair_decisions(_rows(points, check))
        decisions[check], winners[check] = (
            solver.backend.to_host(part) for part in (found, model.winners(found))
        )
    coupling = fit_coupling(decisions, classes, n_classes)
    probabilities = most_likely_first(coupling.probabilities(decisions, n_classes), winners)
    return coupling, _estimate(probabilities, classes)


def _estimate(probabilities: NDArray[np.float64], classes: NDArray[np.int64]) -> Estimate:
    from scipy.stats import binomtest

    confidences, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == classes
    interval = binomtest(int(right.sum()), len(right)).proportion_ci(0.95, method="wilson")
    return Estimate(
        right=int(right.sum()),
        of=len(right),
        low=float(interval.low),
        high=float(interval.high),
        calibration_error=expected_calibration_error(confidences, right),
        bins=tuple(reliability(confidences, right)),
    )


def _rows(points: Array, rows: NDArray[np.int64]) -> Array:
    xp = array_namespace(points)
    return xp.take(points, xp.asarray(rows, device=device_of(points)), axis=0)
