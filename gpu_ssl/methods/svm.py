"""An SVM on features that were made without a label: M1, and the baselines."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_ssl.config import SVMConfig
from gpu_ssl.methods.evaluation import Answer, Cell
from gpu_ssl.methods.features import Features
from gpu_ssl.models import checkpoint
from gpu_ssl.runtime.progress import Advance
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.svm.backend import SVMBackend
from gpu_ssl.svm.kernels import Array, Kernel, scale_gamma
from gpu_ssl.svm.model import OneVsOneModel
from gpu_ssl.svm.one_vs_one import fit_one_vs_one
from gpu_ssl.svm.pairs import Penalty

Keep = Callable[[str, Cell, OneVsOneModel], None]
"""Takes the name of the method, the cell and the fitted SVM."""


class SVMSolver:
    """Fits SVMs with the settings of a run.

    Parameters
    ----------
    config, backend
        What SVM to fit, and who fits it.
    stopwatch : Stopwatch
        Its phases ``fit`` and ``score`` take the time.
    keep : callable, optional
        Called with each fitted SVM.
    """

    def __init__(
        self, config: SVMConfig, backend: SVMBackend, stopwatch: Stopwatch, keep: Keep | None = None
    ) -> None:
        self.config, self.backend, self.stopwatch, self.keep = config, backend, stopwatch, keep

    def fit(self, points: Array, classes: NDArray[np.int64]) -> OneVsOneModel:
        """Fit on labelled points (n, d). The classes must be 0 to their largest, each with a point."""
        with self.stopwatch.phase("fit"):
            gamma = scale_gamma(points) if self.config.gamma == "scale" else self.config.gamma
            penalty = Penalty(self.config.C, Kernel(gamma=gamma))
            return fit_one_vs_one(self.backend, points, classes, int(classes.max()) + 1, penalty)

    def fit_predict(self, points: Array, classes: NDArray[np.int64], new: Array) -> NDArray[np.int64]:
        """Fit on labelled points (n, d) and predict the classes of new ones (m, d); keep nothing."""
        return self.backend.to_host(self.fit(points, classes).predict(new))

    def predict(
        self, name: str, cell: Cell, points: Array, classes: NDArray[np.int64], test: Array
    ) -> NDArray[np.int64]:
        """Fit on the labelled points of a cell and predict the classes of the test points (m, d)."""
        model = self.fit(points, classes)
        with self.stopwatch.phase("score"):
            predicted = self.backend.to_host(model.predict(test))
        if self.keep is not None:
            self.keep(name, cell, model)
        return predicted


class SVMOnFeatures:
    """The method that fits an SVM on features which know no label."""

    def __init__(self, features: Features, solver: SVMSolver) -> None:
        self.name = features.method
        self.features, self.solver = features, solver

    def predict(
        self, cell: Cell, labelled: NDArray[np.int64], classes: NDArray[np.int64], advance: Advance
    ) -> Answer:
        """Fit the SVM of a cell and predict; see `methods.evaluation.Method`."""
        points = self.features.train(labelled)
        return Answer(self.solver.predict(self.name, cell, points, classes, self.features.test))


def save_svm(
    path: Path, model: OneVsOneModel, C: float, backend: SVMBackend, class_names: Sequence[str]
) -> None:
    """Write a model, whose arrays are of `backend`'s library, to `path` (``.json``) and a file beside it."""
    arrays = {
        name: torch.from_numpy(np.ascontiguousarray(backend.to_host(getattr(model, name))))
        for name in ("support", "support_vectors", "coefficients", "intercepts")
    }
    description = {
        "kind": "gpu-ssl one-vs-one SVM",
        "schema": 2,
        "kernel": dataclasses.asdict(model.kernel),
        "C": C,
        "n_classes": model.n_classes,
        "class_names": class_names,
    }
    checkpoint.save(path, arrays, description)
