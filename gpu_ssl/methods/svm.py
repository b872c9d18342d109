"""An SVM on the features of an encoder: M1 of Kingma et al. 2014 with a VAE, and the baselines."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gpu_ssl.config import SVMConfig
from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.errors import UsageError
from gpu_ssl.methods.method import Classifier, Labelled, Options, Saved
from gpu_ssl.methods.view import View
from gpu_ssl.runtime.arrays import Array
from gpu_ssl.svm import one_vs_one
from gpu_ssl.svm.backend import SVMBackend
from gpu_ssl.svm.kernels import KERNEL_NAMES, Kernel, scale_gamma
from gpu_ssl.svm.many_classes import ClassScores
from gpu_ssl.svm.model import OneVsOneModel
from gpu_ssl.svm.one_vs_one import Task
from gpu_ssl.svm.pairs import Penalty

ARRAYS = ("support", "support_vectors", "duals", "intercepts")

MOST_CLASSES = 4000
"""Maximum number of classes. More have over eight million pairs: a minute of work, and gigabytes."""

COUPLED = 50
"""Maximum number of classes whose pairs are coupled; for more, see `svm.many_classes`."""


class SVMClassifier(Classifier):
    """A one-vs-one SVM on the features of an encoder, with pairwise decisions for up to `COUPLED` classes.

    Parameters
    ----------
    method, encoder, curve
        See `Classifier`.
    model : OneVsOneModel
        The SVM, in arrays of `backend`'s library.
    backend : SVMBackend
        Backend for these arrays.
    """

    def __init__(
        self,
        method: str,
        encoder: Encoder,
        model: OneVsOneModel,
        backend: SVMBackend,
        curve: tuple[float, ...] = (),
    ) -> None:
        super().__init__(method, encoder, model.n_classes, curve)
        self.model, self.backend = model, backend
        self.pairwise = model.n_classes <= COUPLED

    def decisions(self, view: View) -> NDArray[np.float32]:
        """See `Classifier.decisions`."""
        points = view.points(self.encoder)
        with view.stopwatch.phase("score"):
            decide = self.model.pair_decisions if self.pairwise else ClassScores(self.model)
            return self.backend.to_host(decide(points))

    def predict(self, view: View) -> NDArray[np.int64]:
        """See `Classifier.predict`."""
        points = view.points(self.encoder)
        with view.stopwatch.phase("score"):
            if self.pairwise:
                return self.backend.to_host(self.model.predict(points))
            return self.backend.to_host(self.winners(ClassScores(self.model)(points)))

    def tensors(self) -> dict[str, Tensor]:
        """See `Classifier.tensors`."""
        return {
            name: torch.from_numpy(np.ascontiguousarray(self.backend.to_host(getattr(self.model, name))))
            for name in ARRAYS
        }

    def settings(self) -> dict[str, Any]:
        """See `Classifier.settings`."""
        return {"kernel": dataclasses.asdict(self.model.kernel), "n_support": list(self.model.n_support)}

    def module(self) -> nn.Module:
        """See `Classifier.module`."""
        arrays: dict[str, Any] = dict(self.tensors())
        model = OneVsOneModel(**arrays, kernel=self.model.kernel, n_support=self.model.n_support)
        return _Decisions(model, model.pair_rule() if self.pairwise else ClassScores(model).rule)


class _Decisions(nn.Module):
    def __init__(self, model: OneVsOneModel, rule: Callable[[Array], Array]) -> None:
        super().__init__()
        self.kernel, self.rule = model.kernel.against(model.support_vectors), rule

    def forward(self, features: Tensor) -> Tensor:
        decisions: Tensor = self.rule(self.kernel(features))
        return decisions


def fit_svm(
    config: SVMConfig, backend: SVMBackend, points: Array, classes: NDArray[np.int64]
) -> OneVsOneModel:
    """Fit an SVM to labelled points (n, d). Classes must run from 0 to the largest, each with a point.

    Raises
    ------
    UsageError
        If there are more than `MOST_CLASSES` classes.
    """
    return fit_svms(config, backend, [points], [classes])[0]


def fit_svms(
    config: SVMConfig, backend: SVMBackend, points: Sequence[Array], classes: Sequence[NDArray[np.int64]]
) -> list[OneVsOneModel]:
    """Fit several SVMs, at once if the backend supports it; see `fit_svm`."""
    tasks = []
    for own, labels in zip(points, classes, strict=True):
        n_classes = _checked_count(labels)
        gamma = scale_gamma(own) if config.gamma == "scale" else config.gamma
        weights = balanced_weights(labels) if config.class_weight == "balanced" else None
        tasks.append(Task(own, labels, n_classes, Penalty(config.C, Kernel(gamma=gamma)), weights))
    return one_vs_one.fit_all(backend, tasks)


def _checked_count(classes: NDArray[np.int64]) -> int:
    n_classes = int(classes.max()) + 1
    if n_classes > MOST_CLASSES:
        raise UsageError(
            f"an SVM of {n_classes:,} classes would have {n_classes * (n_classes - 1) // 2:,} pairs, and "
            f"at most {MOST_CLASSES:,} classes are supported; use `method=graph`, which has no pairs"
        )
    return n_classes


def balanced_weights(classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the weights n / (k n_c) of n points (n,), where n_c have the same class, one of k."""
    counts = np.bincount(classes)
    weights: NDArray[np.float64] = len(classes) / (len(counts) * counts[classes])
    return weights


def fit_on(
    encoder: Encoder, view: View, labelled: Labelled, options: Options, curve: tuple[float, ...] = ()
) -> SVMClassifier:
    """Fit an SVM to an encoder's features of the labelled images."""
    points = view.points(encoder, labelled.rows)
    with view.stopwatch.phase("fit"):
        model = fit_svm(options.svm, view.backend, points, labelled.classes)
    return SVMClassifier(options.method, encoder, model, view.backend, curve)


def fit_all(view: View, choices: Sequence[Labelled], options: Sequence[Options]) -> list[SVMClassifier]:
    """Fit SVMs to several choices of labelled images; see `methods.method`."""
    own = options[0]
    encoder = view.encoder(own.encoder_name)
    points = [view.points(encoder, labelled.rows) for labelled in choices]
    with view.stopwatch.phase("fit"):
        models = fit_svms(own.svm, view.backend, points, [labelled.classes for labelled in choices])
    return [SVMClassifier(own.method, encoder, model, view.backend) for model in models]


def fit(view: View, labelled: Labelled, options: Options) -> SVMClassifier:
    """Fit an SVM to the features of the requested encoder; see `methods.method`."""
    return fit_on(view.encoder(options.encoder_name), view, labelled, options)


def load(saved: Saved) -> SVMClassifier:
    """Rebuild the classifier; see `methods.method`.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the parts do not fit together.
    """
    arrays = {name: saved.backend.from_host(saved.tensors[name].numpy()) for name in ARRAYS}
    settings = saved.settings
    n_support = tuple(map(int, settings["n_support"]))
    model = OneVsOneModel(**arrays, kernel=Kernel(**settings["kernel"]), n_support=n_support)
    k, n = model.n_classes, sum(n_support)
    if k < 2 or model.intercepts.shape != (k * (k - 1) // 2,):
        raise ValueError(f"{k} classes, and {model.intercepts.shape[0]} binary SVMs")
    if min(n_support) < 0 or model.duals.shape != (n, k) or model.support_vectors.shape[0] != n:
        raise ValueError(f"{n} support vectors, with coefficients {tuple(model.duals.shape)}")
    if model.support_vectors.shape[1] != saved.encoder.width:
        raise ValueError(f"support vectors of {model.support_vectors.shape[1]} features")
    if model.kernel.name not in KERNEL_NAMES or not 0 < model.kernel.gamma < math.inf:
        raise ValueError(f"unknown kernel {model.kernel}")
    return SVMClassifier(settings["method"], saved.encoder, model, saved.backend)
