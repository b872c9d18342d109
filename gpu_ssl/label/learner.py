"""Fits models in the background as labels arrive, and suggests images to label next."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from threading import Condition, Thread
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_ssl.config import FitConfig
from gpu_ssl.data.own import UNLABELLED, OwnImages, with_labels
from gpu_ssl.encoders.feature_cache import features_of
from gpu_ssl.encoders.fitting import Training, TrainingImages, fit_encoders
from gpu_ssl.encoders.pretrained import usual_at_hand
from gpu_ssl.errors import GpuSslError, StorageError
from gpu_ssl.fitted.fitting import Fit, fit
from gpu_ssl.fitted.kept_encoders import keep, load_kept
from gpu_ssl.fitted.model import FittedModel
from gpu_ssl.fitted.pretrained_candidate import are_photographs
from gpu_ssl.fitted.suggestion import suggest, suggest_first
from gpu_ssl.label.answers import ByNumber, by_number
from gpu_ssl.label.status import Point, Status, StoppedError, Watched
from gpu_ssl.runtime import state
from gpu_ssl.runtime.cache import cache_folder, forget_old
from gpu_ssl.runtime.device import memory_errors, resolve_device

logger = logging.getLogger(__name__)

KIND: Final = "labelling"
"""Folder in the cache for checkpoints of the VAE that trains in the background."""

SUGGESTED: Final = 72
"""Number of images suggested at a time: several pages, so that no page waits for a fit."""

LOOKED_AT: Final = 5000
"""Number of random unlabelled images among which suggestions are chosen."""

PATIENCE: Final = 1.0
"""Seconds without a new label after which a model is fitted even to a few new ones."""

AUTO_UP_TO: Final = 20_000
"""Number of images up to which the final method, which may use all of them, is fitted in seconds."""

ENOUGH: Final = 10
"""Number of new labels after which a model is fitted without waiting."""


class Learner:
    """Models of the labels so far, fitted in background threads.

    Until the encoder of the final model (the VAE, or a pretrained network) is ready, an SVM on HOG, which
    needs no training, takes its place.

    Parameters
    ----------
    images : OwnImages
        The images.
    config : FitConfig
        Settings of the saved model; intermediate models are quicker to fit.
    labels : callable
        Returns the current labels by image name, without those that stand for no class.
    suggested : callable
        Receives the rows to label next.
    write : callable
        Writes a model from a fit and the labelled images; returns its folder.
    model : FittedModel, optional
        An initial model.
    """

    def __init__(
        self,
        images: OwnImages,
        config: FitConfig,
        labels: Callable[[], dict[str, str]],
        suggested: Callable[[list[int]], None],
        write: Callable[[Fit, OwnImages], Path],
        model: FittedModel | None = None,
    ) -> None:
        self.status = Status()
        self._images, self._config = images, config
        self._labels, self._suggested, self._write = labels, suggested, write
        self._model = model
        self._device = torch.device(resolve_device(config.device).used)
        self._wake = Condition()
        self._stopped = self._wanted = self._writing = self._better = False
        self._changes, self._changed_at = 0, 0.0
        self._photographs = usual_at_hand() if are_photographs(images) else ()
        self._features: dict[str, Tensor] = {}
        self._threads = [
            Thread(target=self._guarded, args=(work,), name=work.__name__, daemon=True)
            for work in (self._learn, self._prepare)
        ]

    def start(self) -> None:
        """Start; existing labels count as new."""
        self.changed(ENOUGH)
        self.status.beginning = True
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop as soon as possible; training of the encoder resumes from its checkpoint next time."""
        with self._wake:
            self._stopped = True
            self._wake.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(20)

    def changed(self, count: int = 1) -> None:
        """Report `count` new labels."""
        with self._wake:
            self._changes += count
            self._changed_at = time.monotonic()
            self._wake.notify_all()

    def write(self) -> None:
        """Fit and write a model of the current labels as soon as the background is idle.

        Raises
        ------
        StorageError
            If the background work has failed.
        """
        if not self._threads[0].is_alive():
            raise StorageError("the background work has failed; start gpu-ssl label again to save a model")
        with self._wake:
            self._wanted = True
            self.status.written = self.status.problem = ""
            self._wake.notify_all()

    @property
    def writing(self) -> bool:
        """Whether a model is being written, or waits to be."""
        return self._wanted or self._writing

    def predictions(self, rows: NDArray[np.int64]) -> list[tuple[str, float]]:
        """Return the most likely class of each image, and its probability; empty without a model."""
        model = self._model
        if model is None or not self._can_answer(model) or not len(rows):
            return []
        return ByNumber(model, self._features).predictions(self._images, rows)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except StoppedError:
            return
        except Exception as error:
            logger.exception("gpu-ssl label: background work failed")
            self.status.problem = f"background work failed; labels are still saved: {error}"
        finally:
            if work == self._learn:
                self.status.beginning = self._wanted = self._writing = False

    def _learn(self) -> None:
        """Refit as new labels arrive."""
        with self.status.telling():
            self._begin()
        self.status.beginning = False
        while True:
            with self._wake:
                while not (self._stopped or self._wanted or self._due()):
                    self._wake.wait(PATIENCE / 4 if self._changes else None)
                if self._stopped:
                    return
                wanted, self._wanted, self._changes = self._wanted, False, 0
                self._writing = wanted
            self._attempt(self._final if wanted else self._quick)
            self._writing = False

    def _due(self) -> bool:
        quiet = time.monotonic() - self._changed_at
        return self._changes >= ENOUGH or (self._changes > 0 and quiet > PATIENCE)

    def _begin(self) -> None:
        """Suggest typical images, or those about which an existing model is uncertain."""
        with self.status.doing("Choosing the first images"):
            if self._model is not None and self._can_answer(self._model):
                self._suggest(self._model, self._labelled())
            elif not self._labelled().class_names:
                with memory_errors(self._device, "give `device=cpu`"):
                    rows = suggest_first(self._images, SUGGESTED, self._device, self._config.seed)
                self._suggested(np.random.default_rng(self._config.seed).permutation(rows).tolist())

    def _prepare(self) -> None:
        """Train the encoder that replaces HOG, or load it from the cache."""
        learn_from = self._learn_from()
        progress = Watched(self.status, self._check, "training", "trained")
        try:
            with memory_errors(self._device, "give `device=cpu`"):
                if self._photographs:
                    fit_encoders(self._photographs, learn_from, Training(self._config, Path(), progress))
                    self._features |= {own.name: features for own, features in learn_from.known.items()}
                elif not load_kept(["vae"], learn_from, self._config):
                    folder = cache_folder(KIND)
                    forget_old(folder)
                    checkpoint = folder / f"{self._images.sha256[:32]}.json"
                    trained = fit_encoders(["vae"], learn_from, Training(self._config, checkpoint, progress))
                    keep(trained, learn_from, self._config)
                    state.remove(checkpoint)
                    if not load_kept(["vae"], learn_from, self._config):
                        return  # without a cache each fit would train it again
        except GpuSslError as error:
            self.status.problem = f"training of the encoder failed, HOG is used instead: {error}"
            return
        finally:
            self.status.training = ""
        self._better = True
        self.changed(ENOUGH)

    def _learn_from(self) -> TrainingImages:
        images, mirror = self._images, self._config.mirror
        return TrainingImages(images.images, self._device, mirror, images.sha256, originals=images.originals)

    def _attempt(self, work: Callable[[OwnImages], None]) -> None:
        with self.status.telling():
            labelled = self._labelled()
            if len(labelled.class_names) >= 2:
                work(labelled)
            elif self._model is not None and self._can_answer(self._model):
                self._suggest(self._model, labelled)

    def _quick(self, labelled: OwnImages) -> None:
        """Fit a model that takes seconds, and suggest images with it."""
        config = self._config
        if self._better and self._photographs:
            config = config.model_copy(update={"method": "svm", "encoder": self._photographs[0]})
        elif self._better and len(self._images) > AUTO_UP_TO:
            config = config.model_copy(update={"method": "hybrid"})
        elif not self._better:
            config = config.model_copy(update={"method": "svm", "encoder": "hog"})
        with self.status.doing("Fitting a model"):
            self._suggest(self._fit(labelled, config).model, labelled)

    def _final(self, labelled: OwnImages) -> None:
        """Fit as ``gpu-ssl fit`` does, and write the model."""
        with self.status.doing("Fitting the final model"):
            fitted = self._fit(labelled, self._config)
            self.status.written = str(self._write(fitted, labelled))

    def _fit(self, labelled: OwnImages, config: FitConfig) -> Fit:
        started = time.monotonic()
        folder = cache_folder(KIND)
        checkpoint = folder / f"{self._images.sha256[:32]}-fit.json"
        progress = Watched(self.status, self._check, "working", "done")
        fitted = fit(labelled, config, checkpoint, progress, keep_encoders=True)
        state.remove(checkpoint)
        for own in fitted.model.encoders:
            if own.own_shape and own.name not in self._features:  # the fit has cached them
                self._features[own.name] = features_of(own, self._learn_from(), progress)
        self._take(fitted, int((labelled.labels != UNLABELLED).sum()), time.monotonic() - started)
        return fitted

    def _take(self, fitted: Fit, labels: int, seconds: float) -> None:
        status, estimate = self.status, fitted.record.estimate
        self._model = fitted.model
        status.method, status.encoder = fitted.record.chosen.method, fitted.record.encoder["name"]
        status.seconds, status.labels = seconds, labels
        status.estimate, status.suspects, status.problem = estimate, fitted.suspects, ""
        if estimate is not None:
            point = Point(labels, estimate.accuracy, estimate.low, estimate.high)
            status.points = [own for own in status.points if own.labels != labels] + [point]
            status.points.sort()
        status.version += 1

    def _suggest(self, model: FittedModel, labelled: OwnImages) -> None:
        """Suggest images with a model, among random unlabelled ones."""
        free = np.flatnonzero(labelled.labels == UNLABELLED)
        if len(free) > LOOKED_AT:
            rng = np.random.default_rng([self._config.seed, self.status.version])
            free = np.sort(rng.choice(free, LOOKED_AT, replace=False))
        known = labelled.labelled_keys
        with memory_errors(self._device, "give `device=cpu`"):
            answering = ByNumber(model, self._features)
            chosen = suggest(
                answering, by_number(self._images, free, self._check), SUGGESTED, known, self._config.seed
            )
        if chosen is not None:
            self._suggested([int(name) for name in chosen.names])

    def _can_answer(self, model: FittedModel) -> bool:
        """Whether the features of images at other sizes have been computed."""
        return all(own.name in self._features for own in model.encoders if own.own_shape)

    def _labelled(self) -> OwnImages:
        return with_labels(self._images, self._labels())

    def _check(self) -> None:
        if self._stopped:
            raise StoppedError
