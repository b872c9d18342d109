"""Classifiers and their encoders as tensors and JSON."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpu_ssl import catalog
from gpu_ssl.encoders.saving import EncoderRecord, build_encoder, describe_encoder
from gpu_ssl.methods.method import Classifier, Saved
from gpu_ssl.records import Record
from gpu_ssl.runtime import state
from gpu_ssl.svm.backend import SVMBackend


class ClassifierRecord(Record):
    """What `describe_classifier` returns in addition to tensors."""

    encoder: EncoderRecord
    classifier: dict[str, Any]


CLASSIFIER = state.Kind("gpu-ssl classifier", 3, ClassifierRecord, "run again to create it")


def describe_classifier(classifier: Classifier) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return what a classifier can be rebuilt from: tensors, and JSON."""
    encoder = classifier.encoder
    tensors = {
        **state.under("encoder", dict(encoder.state_dict())),
        **state.under("classifier", classifier.tensors()),
    }
    settings = {"method": classifier.method, **classifier.settings()}
    return tensors, {"encoder": describe_encoder(encoder), "classifier": settings}


def build_classifier(
    tensors: dict[str, Tensor], description: dict[str, Any], backend: SVMBackend, device: torch.device
) -> Classifier:
    """Rebuild a classifier from what `describe_classifier` returned.

    Raises
    ------
    AttributeError, KeyError, TypeError, ValueError, RuntimeError
        If the parts do not fit together.
    """
    encoder = build_encoder(description["encoder"], state.below("encoder", tensors)).to(device)
    settings = description["classifier"]
    module = catalog.load_module(catalog.method(settings["method"]))
    saved = Saved(encoder, state.below("classifier", tensors), settings, backend, device)
    classifier: Classifier = module.load(saved)
    return classifier


def save_classifier(path: Path, classifier: Classifier) -> None:
    """Write a classifier to `path` (``.json``) and a file next to it."""
    prepare_classifier(path, classifier).write()


def prepare_classifier(path: Path, classifier: Classifier) -> state.Writing:
    """Return what writes a classifier as `save_classifier` does, in any thread."""
    tensors, description = describe_classifier(classifier)
    return state.prepare(path, CLASSIFIER, ClassifierRecord.model_validate(description), tensors)


def load_classifier(path: Path, backend: SVMBackend, device: torch.device) -> Classifier:
    """Read back what `save_classifier` wrote.

    Raises
    ------
    StorageError
        If a file is missing, damaged, or not of this kind.
    """
    record, tensors = state.load(path, CLASSIFIER)
    with state.built(path, CLASSIFIER):
        return build_classifier(tensors, record.model_dump(), backend, device)
