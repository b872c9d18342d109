"""Fits a model to images of the user's own, and estimates how far to trust it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import gpu_ssl
from gpu_ssl import catalog
from gpu_ssl.config import FitConfig
from gpu_ssl.data.own import UNLABELLED, OwnImages
from gpu_ssl.encoders import given
from gpu_ssl.encoders.averaged import plain
from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.encoders.fitting import Training, TrainingImages, fit_encoders
from gpu_ssl.encoders.given import not_given
from gpu_ssl.encoders.vae import VAEEncoder
from gpu_ssl.errors import DataError, UsageError
from gpu_ssl.fitted.estimate import Suspect, judge, with_baseline
from gpu_ssl.fitted.kept_encoders import keep, load_kept
from gpu_ssl.fitted.model import FittedModel
from gpu_ssl.fitted.near_copies import find_groups
from gpu_ssl.fitted.ood import fit_ood_score
from gpu_ssl.fitted.pretrained_candidate import network_to_try
from gpu_ssl.fitted.records import ChoiceOfMethod, ModelRecord, SuspectLabel
from gpu_ssl.fitted.storage import describe_model
from gpu_ssl.methods.method import (
    Labelled,
    chooses,
    encoders_of,
    fit_method,
    fixed_encoder,
    options_of,
    resolve,
)
from gpu_ssl.methods.validation import folds_of
from gpu_ssl.methods.view import View
from gpu_ssl.runtime.device import memory_errors, require_precision, resolve_precision
from gpu_ssl.runtime.environment import describe_environment
from gpu_ssl.runtime.progress import Progress
from gpu_ssl.runtime.ranks import ALONE, Ranks
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.svm.backend import resolve_backend

FEWEST = 8
"""Images: fewer make no VAE."""


@dataclass(frozen=True)
class Fit:
    """A fitted model, all that is recorded of it, labels that look wrong, and encoders of an earlier fit."""

    model: FittedModel
    record: ModelRecord
    suspects: tuple[SuspectLabel, ...] = ()
    reused: tuple[str, ...] = ()


def fit(
    images: OwnImages,
    config: FitConfig,
    checkpoint: Path,
    progress: Progress,
    ranks: Ranks = ALONE,
    base: tuple[FittedModel, ModelRecord] | None = None,
    *,
    keep_encoders: bool = False,
    placed: Tensor | None = None,
) -> Fit:
    """Fit encoders to all images, and a method to those with a label.

    Parameters
    ----------
    images : OwnImages
        The images; at least one of each class carries a label.
    config : FitConfig
        All settings.
    checkpoint : Path
        Description file of the VAE's checkpoint, written between epochs; training resumes from there.
    progress : Progress
        Shows how far it is.
    ranks : Ranks
        Who trains the VAE together. Rank 0 does all the rest; the other processes end before it.
    base : tuple of (FittedModel, ModelRecord), optional
        A model of the same images, whose encoders are taken over.
    keep_encoders : bool
        Whether trained encoders are kept in the cache, and taken from there when they were fitted to the same
        images before. Several ranks do neither.
    placed : Tensor, optional
        The images, where they lie on the device already.

    Raises
    ------
    GpuSslError
        With one line for the user.
    """
    if len(images) < FEWEST:
        raise DataError(f"{len(images)} images are too few to learn from; give at least {FEWEST}")
    config = _settled(config, images.are_embeddings)
    device_choice = ranks.device(config.device)
    backend, _ = resolve_backend(config.svm_backend, device_choice, ranks.leads)
    device = torch.device(device_choice.used)
    require_precision(config.train.precision, device)
    with memory_errors(device, "lower `image_size` or `batch_size`, or give `device=cpu`"):
        sha256 = ranks.share(images.sha256 if ranks.leads else "")
        shard = ranks.shard(len(images))
        to_learn = TrainingImages(images.images, device, config.mirror, sha256, shard, images.originals)
        ranks.meet()
        training = Training(config, checkpoint, progress, ranks)
        tries = chooses(catalog.method(config.method)) and not config.encoder and ranks.leads
        networks = network_to_try(images, config, training, device, backend) if tries else ()
        encoders, reused = _fit_encoders(config, to_learn, training, base, keep_encoders, networks)
        precision = resolve_precision(config.train.precision, device)
        here = None if placed is None else placed.to(device)
        view = View(images.images, encoders, backend, Stopwatch(device), config.mirror, precision, here)
        for encoder, features in to_learn.known.items():
            view.keep(encoder, features)
        fitted = _fit_method(view, images, config, progress)
    return replace(fitted, reused=reused)


def _settled(config: FitConfig, are_embeddings: bool) -> FitConfig:
    """Return the settings with the one encoder that embeddings have, and refuse it for images."""
    asked = config.encoder
    if not are_embeddings:
        if asked is not None and catalog.takes_embeddings(asked):
            raise not_given()
        return config
    methods = [spec.name for spec in catalog.METHODS if spec.free and not spec.trains]
    if config.method not in methods or asked not in (None, given.NAME):
        raise UsageError(
            "these are embeddings, and features already: leave `encoder` out; the methods that work on them "
            f"are {', '.join(methods)}"
        )
    # No network is trained on them, whatever the effort.
    return config.model_copy(update={"encoder": given.NAME, "effort": "quick"})


def _fit_encoders(
    config: FitConfig,
    images: TrainingImages,
    training: Training,
    base: tuple[FittedModel, ModelRecord] | None,
    keep_encoders: bool,
    networks: tuple[str, ...],
) -> tuple[dict[str, Encoder], tuple[str, ...]]:
    """Fit the encoders that the method needs: those that ranks share on all of them, the others on rank 0.

    Those of pretrained `networks` come on top. Also return the names of those that need not be trained.
    """
    method = catalog.method(config.method)
    if config.encoder and not method.free:
        raise fixed_encoder(method, config.encoder)
    names = (*encoders_of(method, config.encoder), *networks)
    if images.image_shape[1] == 1:
        names = _for_embeddings(names, free=method.free and not config.encoder)
    parts = dict.fromkeys(part for name in names for part in catalog.encoder_parts(name))
    fitted = [] if base is None else _taken_over(config, images, *base)
    shared = [part for part in parts if catalog.encoder(part).shared]
    known = {encoder.name for encoder in fitted}
    keep_encoders = keep_encoders and training.ranks is ALONE
    if keep_encoders:
        fitted += load_kept([part for part in shared if part not in known], images, config)
    encoders = fit_encoders(shared, images, training, fitted)
    reused = tuple(encoder.name for encoder in fitted if encoder.name in shared)
    if keep_encoders:
        keep({name: encoders[name] for name in shared if name not in reused}, images, config)
    training.ranks.part()
    for encoder in encoders.values():
        if not encoder.own_shape:
            encoder.precision = torch.float32  # See `FittedModel`; the scales in a sum follow from it, too.
    return fit_encoders([*parts, *names], images, training, encoders.values()), reused


def _for_embeddings(names: tuple[str, ...], free: bool) -> tuple[str, ...]:
    """Return encoders for embeddings: those of a method that is free to choose lose what is for images."""
    supported = tuple(dict.fromkeys(map(catalog.without_image_only, names)))
    if supported != names and not (free and all(supported)):
        part = next(p for name in names for p in catalog.encoder_parts(name) if catalog.encoder(p).image_only)
        raise UsageError(
            f"the encoder {part} is for images, and these are embeddings; take a "
            "method or an encoder without it, such as `method=m1`"
        )
    return supported


def _taken_over(
    config: FitConfig, images: TrainingImages, model: FittedModel, record: ModelRecord
) -> list[Encoder]:
    """Return the encoders of a model that knows no label, if it was fitted on the same images."""
    if record.images_sha256 != images.sha256:
        raise UsageError(
            "`from` names a model of other images (other files, another `image_size`, or others skipped); "
            "leave it out, and the encoders are fitted again"
        )
    for name in ("model", "train", "mirror"):
        if getattr(config, name) != (found := getattr(record.config, name)):
            raise UsageError(
                f"`from` names a model whose VAE has other settings ({name}: {found}); give the same, or "
                "leave it out"
            )
    parts = map(plain, [*model.classifier.encoder.parts, model.ood.encoder])
    known = [part for part in parts if not catalog.encoder(part.name).internal]
    return [encoder.to(images.device) for encoder in known]


def _fit_method(view: View, images: OwnImages, config: FitConfig, progress: Progress) -> Fit:
    """Fit the method, calibrate it, and estimate its accuracy, all on the labelled images."""
    asked = options_of(config, config.method, view.device)
    rows = np.flatnonzero(images.labels != UNLABELLED)
    keys = np.unique(images.labelled_keys, return_inverse=True)[1]
    groups = find_groups(view, rows, keys, None if images.groups is None else images.groups[rows])
    labelled = Labelled(rows, images.labels[rows], groups.of_images)
    # An identical image with the same label adds no information.
    first = np.sort(np.unique(np.stack([keys, labelled.classes]), axis=1, return_index=True)[1])
    once = labelled.take(first)
    if not folds_of(once, asked):
        # A class whose images all look alike may be one burst, or simple: it is judged, and this is reported.
        once = once._replace(groups=groups.given[first])
    options, chosen = resolve(view, once, asked)
    trainings = 1 + len(folds_of(once, options))
    with progress.task(options.spec.title, trainings) as advance:
        options = replace(options, advance=advance)
        judgement = judge(view, once, options, images.class_names, groups.of_images[first])
        classifier = fit_method(view, labelled, options)
    estimate = judgement.estimate and with_baseline(judgement.estimate, images, once, config).model_copy(
        update={"copies": len(rows) - len(first)}
    )
    ood = fit_ood_score(view, _ood_encoder(view, classifier.encoder), config.seed)
    calibration = judgement.calibration
    names, shape = images.class_names, images.image_shape
    model = FittedModel(classifier, calibration, ood, names, view.backend, view.device, shape)
    choice = ChoiceOfMethod(method=options.method) if chosen is None else ChoiceOfMethod(**chosen._asdict())
    record = _record(images, config, model, view.encoders, choice).model_copy(
        update={
            "estimate": estimate,
            "near_copies": groups.n_near_copies,
            "suspects": len(judgement.suspects),
        }
    )
    return Fit(model, record, tuple(_in_words(own, images) for own in judgement.suspects))


def _in_words(suspect: Suspect, images: OwnImages) -> SuspectLabel:
    classes = images.class_names
    return SuspectLabel(
        images.names[suspect.row], classes[suspect.given], classes[suspect.suggested], suspect.confidence
    )


def _ood_encoder(view: View, encoder: Encoder) -> Encoder:
    """Return what is not trained for these images but works for them, else the VAE, else the first part."""
    frozen = [part for part in encoder.parts if part.own_shape]
    if frozen:
        return frozen[0]
    vaes = [own for own in view.encoders.values() if isinstance(own, VAEEncoder)]
    return vaes[0] if vaes else plain(encoder.parts[0])


def _record(
    images: OwnImages,
    config: FitConfig,
    model: FittedModel,
    encoders: Mapping[str, Encoder],
    chosen: ChoiceOfMethod,
) -> ModelRecord:
    labelled = np.flatnonzero(images.labels != UNLABELLED)
    counts = np.bincount(images.labels[labelled]).tolist()
    vaes = [encoder for encoder in encoders.values() if isinstance(encoder, VAEEncoder)]
    return ModelRecord(
        gpu_ssl=gpu_ssl.__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        environment=describe_environment(),
        config=config,
        chosen=chosen,
        class_names=images.class_names,
        image_shape=images.image_shape,
        preparation=images.how,
        n_images=len(images),
        n_labelled=dict(zip(images.class_names, counts, strict=True)),
        images_sha256=images.sha256,
        labelled_keys=tuple(sorted(set(images.labelled_keys))),
        training=vaes[0].training_record if vaes else None,
        estimate=None,
        calibration={"slope": model.calibration.slope, "power": model.calibration.power},
        **describe_model(model.classifier, model.ood),
    )
