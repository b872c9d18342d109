"""A model as a folder: tensors, and a JSON file with all that is recorded of them.

``model.json`` is written last: a folder without it holds no model, one with it no unfinished fit.
"""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpu_ssl.encoders.averaged import plain
from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.encoders.saving import build_encoder, describe_encoder
from gpu_ssl.encoders.vae import VAEEncoder
from gpu_ssl.errors import UsageError
from gpu_ssl.fitted.calibration import Calibration
from gpu_ssl.fitted.model import FittedModel
from gpu_ssl.fitted.ood import OODScore
from gpu_ssl.fitted.records import KIND, SCHEMA, ModelRecord
from gpu_ssl.methods.method import Classifier
from gpu_ssl.methods.saving import build_classifier, describe_classifier
from gpu_ssl.runtime import state
from gpu_ssl.runtime.device import resolve_device, resolve_precision
from gpu_ssl.svm.backend import resolve_backend

MODEL = "model.json"
MODEL_KIND = state.Kind(KIND, SCHEMA, ModelRecord, "fit the model again")
UNFINISHED = "checkpoint.json"
"""Description file of the VAE's checkpoint while a model is being fitted."""


def describe_model(classifier: Classifier, ood: OODScore) -> dict[str, Any]:
    """Return those fields of a `ModelRecord` that describe encoders, classifier and OOD score."""
    _, description = describe_classifier(classifier)
    part = ood.encoder in map(plain, classifier.encoder.parts)
    return {
        **description,
        "ood": {"reach": ood.reach, "usual_error": ood.usual_error},
        "ood_encoder": ood.encoder.name if part else describe_encoder(ood.encoder),
    }


def save(folder: Path, model: FittedModel, record: ModelRecord) -> None:
    """Write a model into `folder`, and delete the checkpoint that its training has left there.

    Raises
    ------
    StorageError
        If a file cannot be written.
    """
    tensors, _ = describe_classifier(model.classifier)
    tensors["references"] = model.ood.references
    if not isinstance(record.ood_encoder, str):
        tensors |= state.under("ood", dict(model.ood.encoder.state_dict()))
    tensor_file = state.save_tensors(folder / MODEL, tensors)
    # Stopped here, a fit trains again. Stopped after the model it has nothing left to do.
    state.remove(folder / UNFINISHED)
    state.save(folder / MODEL, MODEL_KIND, record, tensor_file)


def load(folder: Path, device: str = "auto", svm_backend: str = "auto") -> tuple[FittedModel, ModelRecord]:
    """Read a model back, onto any device.

    Raises
    ------
    UsageError
        If there is no model in `folder`.
    StorageError
        If a file is damaged, or of a version that this one does not know.
    """
    path = folder / MODEL
    if (folder / UNFINISHED).is_file() and not path.is_file():
        raise UsageError(
            f"{folder} holds an unfinished fit; give its gpu-ssl fit command again, and it resumes"
        )
    if not path.is_file():
        is_new = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
        advice = f"; make one with: gpu-ssl fit DATA --output {folder}" if is_new else ""
        raise UsageError(f"{folder} holds no model{advice}")
    record, tensors = state.load(path, MODEL_KIND)
    choice = resolve_device(device)
    backend, _ = resolve_backend(svm_backend, choice)
    place = torch.device(choice.used)
    with state.built(path, MODEL_KIND):
        described = {"encoder": record.encoder, "classifier": record.classifier}
        classifier = build_classifier(tensors, described, backend, place)
        encoder = _ood_encoder(record, tensors, classifier).to(place)
        numbers = {name: record.ood[name] for name in ("reach", "usual_error")}
        ood = OODScore(
            encoder, tensors["references"].to(place), numbers["reach"] or 0.0, numbers["usual_error"]
        )
        calibration = Calibration(**record.calibration)
        _check(record, classifier, calibration, ood)
    for own in (*map(plain, classifier.encoder.parts), encoder):
        if isinstance(own, VAEEncoder):
            own.training_record = record.training
        if own.own_shape:
            own.precision = resolve_precision(record.config.train.precision, place)
    names, shape = record.class_names, record.image_shape
    return FittedModel(classifier, calibration, ood, names, backend, place, shape), record


def _ood_encoder(record: ModelRecord, tensors: dict[str, Tensor], classifier: Classifier) -> Encoder:
    if not isinstance(record.ood_encoder, str):
        return build_encoder(record.ood_encoder, state.below("ood", tensors))
    # Of several networks, which have the same name, the first was taken.
    named = [part for part in classifier.encoder.parts if part.name == record.ood_encoder]
    if not named:
        raise KeyError(record.ood_encoder)
    return plain(named[0])


def _check(record: ModelRecord, classifier: Classifier, calibration: Calibration, ood: OODScore) -> None:
    """Check what would otherwise show in the answers only."""
    if classifier.n_classes != len(record.class_names):
        raise ValueError(f"{len(record.class_names)} classes, and a classifier of {classifier.n_classes}")
    encoders = [*classifier.encoder.parts, ood.encoder]
    if {own.image_shape for own in encoders if not own.own_shape} - {record.image_shape}:
        raise ValueError(f"images of shape {record.image_shape}, and encoders for others")
    if ood.references.ndim != 2 or ood.references.shape[1] != ood.encoder.width:
        raise ValueError(f"references of {ood.references.shape} for {ood.encoder.width} features")
    numbers = (
        calibration.slope,
        calibration.power,
        ood.reach,
        1.0 if ood.usual_error is None else ood.usual_error,
    )
    if not all(0 < number < math.inf for number in numbers):
        raise ValueError(f"calibration and scores need positive numbers, not {numbers}")
