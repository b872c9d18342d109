"""Consistency regularization with the graph of neighbours as teacher.

In the end labels are spread over the graph of the network's features, which answers together with the
network's head if labels are not few; if they are many, an SVM is fitted to the features.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

import torch

from gpu_ssl.config import Effort
from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.methods import graph, graph_and_head, svm
from gpu_ssl.methods.method import Classifier, Labelled, Options, Saved
from gpu_ssl.methods.network import GROWTH, NetworkJob, fit_networks, teacher_of
from gpu_ssl.methods.view import View
from gpu_ssl.training.consistency import ConsistencyObjective

STEPS = 750
"""Steps with ten labels per class; see `methods.network.plan_joint`."""

SOME, MANY = 300, 1000
"""Labels per class from which the networks' heads join the graph, and from which an SVM replaces both.

On held-out images of Fashion-MNIST the graph is better than the SVM by 0.7 to 1.5 percentage points at 10 and
100, where the heads cost 0.1 to 0.2; at 300 they gain 0.3. Nothing between these and from 1000 on was tried
(docs/experiments/accuracy.md).
"""

NETWORKS: Final = {"quick": 1, "normal": 1, "best": 3}
"""Number of networks by effort."""

LONGER: Final = 0.5
"""The power of the labels per class, from ten on, with which the steps grow with effort ``best``.

On held-out images of Fashion-MNIST more steps than usual gain with 300 labels per class
(docs/experiments/accuracy.md); this many still fit in a quarter of an hour a split on two cores.
"""


def fit(view: View, labelled: Labelled, options: Options) -> Classifier:
    """Train networks on their own and their teacher's pseudo-labels; see `methods.method`."""
    return fit_side_by_side(view, [labelled], [options])[0]


def fit_side_by_side(view: View, choices: Sequence[Labelled], options: Sequence[Options]) -> list[Classifier]:
    """Train networks for several choices of labelled images at a time; see `methods.method`."""
    jobs = [
        NetworkJob(labelled, own, partial(_objective, view, labelled, own))
        for labelled, own in zip(choices, options, strict=True)
    ]
    effort = options[0].effort
    growth = growth_of(effort, choices[0].per_class)
    return fit_networks(view, jobs, STEPS, _finish, NETWORKS[effort], growth)


def growth_of(effort: Effort, labels_per_class: float) -> float:
    """Return the power of the labels per class with which steps grow; see `methods.network.plan_joint`."""
    return LONGER if effort == "best" and labels_per_class > 10 else GROWTH


def _finish(
    encoder: Encoder, view: View, labelled: Labelled, options: Options, curve: tuple[float, ...]
) -> Classifier:
    if labelled.per_class >= MANY or graph.is_too_large(view):
        return svm.fit_on(encoder, view, labelled, options, curve)
    if labelled.per_class >= SOME:
        return graph_and_head.fit_on(encoder, view, labelled, options, curve)
    return graph.fit_on(encoder, view, labelled, options, curve)


def load(saved: Saved) -> Classifier:
    """Rebuild the classifier; see `methods.method`."""
    if "head_weight" in saved.tensors:
        return graph_and_head.load(saved)
    return (graph.load if "k" in saved.settings else svm.load)(saved)


def _objective(
    view: View, labelled: Labelled, options: Options, generator: torch.Generator
) -> ConsistencyObjective:
    # Each network has its own teacher, which keeps running statistics.
    teacher = teacher_of(view, view.encoder(options.teacher_name), labelled)
    return ConsistencyObjective(teacher, view.mirror, generator)
