"""The interface of all methods: their inputs, and the classifier that they return.

The module of a method defines two functions::

    fit(view: View, labelled: Labelled, options: Options) -> Classifier
    load(saved: Saved) -> Classifier

The first learns from the labelled images of a view, and may use all others. The second rebuilds the
classifier from what `Classifier.tensors` and `Classifier.settings` returned. A method that chooses among
others defines ``choose(view, labelled, options) -> tuple[Options, Chosen]`` and no ``load``. A method that
can fit several choices of labelled images at once also defines ``fit_all``, and one that can train their
networks side by side ``fit_side_by_side``; see `fit_each`.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gpu_ssl import catalog
from gpu_ssl.catalog import MethodSpec
from gpu_ssl.config import Effort, MethodConfig, Preset, SVMConfig
from gpu_ssl.encoders.encoder import Encoder, Exhibit
from gpu_ssl.errors import UsageError
from gpu_ssl.methods.view import View
from gpu_ssl.runtime.arrays import Array, array_namespace
from gpu_ssl.runtime.progress import Advance
from gpu_ssl.svm.backend import SVMBackend
from gpu_ssl.svm.model import winners


class Labelled(NamedTuple):
    """The labelled images of a view.

    `rows` (n,), int64, are ascending; `classes` (n,), int64, run from 0 to the largest, each with an image.
    `groups` (n,), int64, number images that belong together: a group is never split by a fold, and counts as
    one trial. By default each image is its own group.
    """

    rows: NDArray[np.int64]
    classes: NDArray[np.int64]
    groups: NDArray[np.int64] | None = None

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(self.classes.max()) + 1

    @property
    def per_class(self) -> float:
        """Mean number of labelled images of a class."""
        return len(self.rows) / self.n_classes

    def take(self, positions: NDArray[np.int64]) -> "Labelled":
        """Return a subset."""
        groups = None if self.groups is None else self.groups[positions]
        return Labelled(self.rows[positions], self.classes[positions], groups)


def _ignore(note: str, steps: float = 1) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Options:
    """Options of fitting a method.

    Parameters
    ----------
    method : str
        Name of the method.
    encoder : str
        Name of the encoder whose features it works on; "" for the default of the method.
    svm : SVMConfig
        Settings of the SVM.
    preset, effort : str
        See `config`; `effort` is never ``auto`` here.
    steps : int, optional
        Number of steps of each network that it trains; None for the default of the method.
    seed : int
        Seed of all random numbers.
    side_by_side : int
        Number of networks to train at a time on a GPU.
    advance : callable
        May be called with fractions of 1 during long work.
    """

    method: str
    encoder: str = ""
    svm: SVMConfig = field(default_factory=SVMConfig)
    preset: Preset = "modern"
    effort: Effort = "quick"
    steps: int | None = None
    seed: int = 0
    side_by_side: int = 1
    advance: Advance = _ignore

    @property
    def spec(self) -> MethodSpec:
        """The method's entry in the catalog."""
        return catalog.method(self.method)

    @property
    def trains(self) -> bool:
        """Whether the method trains a network per choice of labels, or may choose one that does."""
        return self.spec.trains or (self.effort != "quick" and chooses(self.spec))

    @property
    def encoder_name(self) -> str:
        """Name of the encoder whose features the method works on."""
        return self.encoder if self.encoder and self.spec.free else self.spec.encoder

    @property
    def teacher_name(self) -> str:
        """Name of the encoder whose graph teaches the method's networks; "" for none."""
        return self.encoder if self.encoder and self.spec.free else self.spec.teacher_with(self.preset)


def options_of(config: MethodConfig, method: str, device: torch.device) -> Options:
    """Return the options of a method from settings; the effort ``auto`` depends on the device."""
    effort = config.effort
    if effort == "auto":
        effort = "normal" if device.type == "cuda" else "quick"
    return Options(method, config.encoder or "", config.svm, config.preset, effort, config.steps, config.seed)


class Chosen(NamedTuple):
    """The chosen method, the reason, and the accuracy of each candidate on held-out labelled images."""

    method: str
    reason: str
    shares: dict[str, float]


class Saved(NamedTuple):
    """What a classifier is rebuilt from: its encoder, what it saved, and the backend for its arrays."""

    encoder: Encoder
    tensors: dict[str, Tensor]
    settings: dict[str, Any]
    backend: SVMBackend
    device: torch.device


class Classifier(ABC):
    """A fitted method: maps features of images to decisions.

    Attributes
    ----------
    method : str
        Name of the method; for a method that chooses, the chosen one.
    encoder : Encoder
        Computes the features.
    n_classes : int
        Number of classes.
    pairwise : bool
        Whether decisions are of pairs of classes (n, n_pairs), as an SVM's are: positive for the second class
        of a pair. Otherwise they are log-probabilities of the classes, (n, n_classes).
    chosen : Chosen or None
        The choice, for a method that chooses.
    curve : tuple of float
        Mean loss of every 100 steps, for a method that trains a network.
    """

    pairwise: bool

    def __init__(self, method: str, encoder: Encoder, n_classes: int, curve: tuple[float, ...] = ()) -> None:
        self.method, self.encoder, self.n_classes, self.curve = method, encoder, n_classes, curve
        self.chosen: Chosen | None = None

    @abstractmethod
    def decisions(self, view: View) -> NDArray[np.float32]:
        """Return the decisions for all images of a view, on the host."""

    @abstractmethod
    def predict(self, view: View) -> NDArray[np.int64]:
        """Return the class of each image of a view, (n,), on the host."""

    def winners(self, decisions: Array) -> Array:
        """Return the classes (n,) that decisions, an array of any library, stand for."""
        if self.pairwise:
            return winners(decisions, self.n_classes)
        return array_namespace(decisions).argmax(decisions, axis=1)

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return the state without the encoder, to be saved."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return what `load` needs in addition, as JSON; the name of the method is added as ``method``."""

    @abstractmethod
    def module(self) -> nn.Module:
        """Return a module on the CPU that maps features (n, width) to decisions, for export."""

    def exhibits(self, view: View) -> list[Exhibit]:
        """Return figures of what it has learned, with some images of a view."""
        return []


def fit_method(view: View, labelled: Labelled, options: Options) -> Classifier:
    """Fit the method of `options` to the labelled images of a view."""
    classifier: Classifier = catalog.load_module(options.spec).fit(view, labelled, options)
    return classifier


def fit_each(
    view: View, choices: Sequence[Labelled], options: Sequence[Options]
) -> Iterator[tuple[Classifier, float]]:
    """Fit a method to several choices of labelled images of a view, at once if it and the SVMs support that.

    Yields
    ------
    tuple of (Classifier, float)
        Each classifier with its time in seconds: an equal share if all are fitted at once.
    """
    module = catalog.load_module(options[0].spec)
    most = max(len(labelled.rows) for labelled in choices)
    if view.backend.at_once(most) and hasattr(module, "fit_all"):
        yield from _timed(module.fit_all, view, choices, options)
        return
    at_a_time = options[0].side_by_side
    if at_a_time > 1 and hasattr(module, "fit_side_by_side"):
        for first in range(0, len(choices), at_a_time):
            some = slice(first, first + at_a_time)
            yield from _timed(module.fit_side_by_side, view, choices[some], options[some])
        return
    for labelled, own in zip(choices, options, strict=True):
        start = time.perf_counter()
        classifier = fit_method(view, labelled, own)
        yield classifier, time.perf_counter() - start


def _timed(
    fit: Callable[[View, Sequence[Labelled], Sequence[Options]], Sequence[Classifier]],
    view: View,
    choices: Sequence[Labelled],
    options: Sequence[Options],
) -> Iterator[tuple[Classifier, float]]:
    """Fit several classifiers, and yield each with an equal share of the seconds."""
    start = time.perf_counter()
    classifiers = fit(view, choices, options)
    share = (time.perf_counter() - start) / len(choices)
    yield from ((classifier, share) for classifier in classifiers)


def chooses(method: MethodSpec) -> bool:
    """Return whether a method chooses among others."""
    return hasattr(catalog.load_module(method), "choose")


def resolve(view: View, labelled: Labelled, options: Options) -> tuple[Options, Chosen | None]:
    """Return the options of the method to fit; for a method that chooses, its choice and the reason."""
    if not chooses(options.spec):
        return options, None
    chosen: tuple[Options, Chosen] = catalog.load_module(options.spec).choose(view, labelled, options)
    return chosen


def encoders_of(method: MethodSpec, asked: str | None, preset: Preset = "modern") -> tuple[str, ...]:
    """Return the encoders that a method needs with a preset: its own, or the requested one.

    Raises
    ------
    UsageError
        If an encoder is requested that the method does not support; baselines ignore the request.
    """
    own = tuple(dict.fromkeys(name for name in (method.encoder, method.teacher_with(preset)) if name))
    if asked and not method.free and not method.baseline:
        raise fixed_encoder(method, asked)
    return (asked,) if asked and method.free else own


def fixed_encoder(method: MethodSpec, asked: str) -> UsageError:
    """Return the error for a method that does not support the requested encoder."""
    own = " and ".join(name for name in (method.encoder, method.teacher) if name) or "images"
    free = ", ".join(spec.name for spec in catalog.METHODS if spec.free)
    return UsageError(
        f"the method {method.name} works on {own}, not on `encoder={asked}`; the methods that take an "
        f"encoder are {free}"
    )
