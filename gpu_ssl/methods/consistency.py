"""Consistency regularization with the graph of neighbours as teacher; an SVM on the network's features."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import torch

from gpu_ssl.methods.method import Labelled, Options
from gpu_ssl.methods.network import NetworkJob, fit_networks, teacher_of
from gpu_ssl.methods.svm import SVMClassifier
from gpu_ssl.methods.svm import load as load
from gpu_ssl.methods.view import View
from gpu_ssl.training.consistency import ConsistencyObjective

STEPS = 750
"""Steps with ten labels per class; see `methods.network.plan_joint`."""

NETWORKS: Final = {"quick": 1, "normal": 1, "best": 3}
"""Number of networks by effort."""


def fit(view: View, labelled: Labelled, options: Options) -> SVMClassifier:
    """Train networks on their own and their teacher's pseudo-labels; see `methods.method`."""
    return fit_side_by_side(view, [labelled], [options])[0]


def fit_side_by_side(
    view: View, choices: Sequence[Labelled], options: Sequence[Options]
) -> list[SVMClassifier]:
    """Train networks for several choices of labelled images at a time; see `methods.method`."""
    jobs = [
        NetworkJob(labelled, own, partial(_objective, view, labelled, own))
        for labelled, own in zip(choices, options, strict=True)
    ]
    return fit_networks(view, jobs, STEPS, NETWORKS[options[0].effort])


def _objective(
    view: View, labelled: Labelled, options: Options, generator: torch.Generator
) -> ConsistencyObjective:
    # Each network has its own teacher, which keeps running statistics.
    teacher = teacher_of(view, view.encoder(options.teacher_name), labelled)
    return ConsistencyObjective(teacher, view.mirror, generator)
