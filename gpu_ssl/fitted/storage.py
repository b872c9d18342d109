"""A model as a folder: tensors, a JSON file that tells all about them, a card and a picture for people.

Nothing is pickled. ``model.json`` is written last: a folder without it holds no model.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from gpu_ssl.errors import StorageError, UsageError
from gpu_ssl.fitted.calibration import Coupling
from gpu_ssl.fitted.model import FittedModel
from gpu_ssl.fitted.ood import OODScore
from gpu_ssl.fitted.records import KIND, SCHEMA, ModelRecord
from gpu_ssl.models import checkpoint
from gpu_ssl.models.vae import VAE
from gpu_ssl.runtime.device import resolve_device
from gpu_ssl.svm.backend import resolve_backend
from gpu_ssl.svm.kernels import KERNEL_NAMES, Kernel
from gpu_ssl.svm.model import OneVsOneModel
from gpu_ssl.svm.pairs import class_pairs

MODEL = "model.json"
UNFINISHED = "checkpoint.json"
"""Description of the VAE's checkpoint while a model is being fitted."""

SVM_ARRAYS = ("support", "support_vectors", "coefficients", "intercepts")


def save(folder: Path, model: FittedModel, record: ModelRecord) -> None:
    """Write a model into `folder`.

    Raises
    ------
    StorageError
        If a file cannot be written.
    """
    tensors = {f"vae.{name}": value for name, value in model.vae.state_dict().items()}
    for name in SVM_ARRAYS:
        array = np.ascontiguousarray(model.backend.to_host(getattr(model.svm, name)))
        tensors[f"svm.{name}"] = torch.from_numpy(array)
    tensors["references"] = model.ood.references
    content = record.model_dump(mode="json", by_alias=True)
    checkpoint.save(folder / MODEL, tensors, {**content, "sha256": _digest(content)})


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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
            f"{folder} holds an unfinished fit; give its gpu-ssl fit command again, and it goes on"
        )
    if not path.is_file():
        raise UsageError(f"{folder} holds no model; make one with: gpu-ssl fit DATA --output {folder}")
    tensors, description = checkpoint.load(path)
    record = _record(path, description)
    choice = resolve_device(device)
    backend, _ = resolve_backend(svm_backend, choice)
    place = torch.device(choice.used)
    try:
        vae = VAE(record.config.model, record.image_shape)
        vae.load_state_dict({n.removeprefix("vae."): t for n, t in tensors.items() if n.startswith("vae.")})
        arrays = {name: backend.from_host(tensors[f"svm.{name}"].numpy()) for name in SVM_ARRAYS}
        svm = OneVsOneModel(**arrays, kernel=Kernel(**record.kernel), n_classes=len(record.class_names))
        coupling = Coupling(**record.coupling)
        ood = OODScore(tensors["references"].to(place), **record.ood)
        _check(svm, coupling, ood)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise StorageError(f"{path} and its tensors do not fit together: {error}") from error
    vae = vae.to(place).to(memory_format=torch.channels_last).eval()
    augmented = record.training.augment
    return FittedModel(vae, svm, coupling, ood, record.class_names, backend, augmented), record


def _check(svm: OneVsOneModel, coupling: Coupling, ood: OODScore) -> None:
    """Check what would otherwise show in the answers alone."""
    n_pairs = len(class_pairs(svm.n_classes))
    if n_pairs < 1 or svm.intercepts.shape != (n_pairs,) or svm.coefficients.shape[1] != n_pairs:
        raise ValueError(f"{svm.n_classes} classes, and {svm.intercepts.shape[0]} binary SVMs")
    if svm.kernel.name not in KERNEL_NAMES:
        raise ValueError(f"there is no kernel {svm.kernel.name!r}")
    numbers = (svm.kernel.gamma, coupling.slope, coupling.power, ood.reach, ood.usual_error)
    if not all(0 < number < math.inf for number in numbers):
        raise ValueError(f"kernel, coupling and scores need positive numbers, not {numbers}")


def _record(path: Path, description: dict[str, Any]) -> ModelRecord:
    if description.get("kind") != KIND:
        raise StorageError(f"{path} does not describe a model of gpu-ssl fit")
    schema = description.get("schema")
    if not isinstance(schema, int) or schema > SCHEMA:
        raise StorageError(
            f"{path} is of schema {schema!r}, and this gpu-ssl knows those up to {SCHEMA}: upgrade gpu-ssl"
        )
    content = {name: value for name, value in description.items() if name not in ("tensors", "sha256")}
    if _digest(content) != description.get("sha256"):
        raise StorageError(f"{path} is damaged or was changed: its SHA-256 is not the one that it names")
    try:
        return ModelRecord.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise StorageError(f"{path} is damaged: {where}: {first['msg']}") from error
