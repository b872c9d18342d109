"""The network of `methods.consistency` on labelled images only: a baseline."""

from collections.abc import Sequence
from functools import partial

import torch

from gpu_ssl.methods.method import Classifier, Labelled, Options
from gpu_ssl.methods.network import MANY_LABELS, NetworkJob, fit_networks
from gpu_ssl.methods.svm import fit_on
from gpu_ssl.methods.svm import load as load
from gpu_ssl.methods.view import View
from gpu_ssl.training.consistency import SupervisedObjective

STEPS = 750
"""Steps with ten labels per class; see `methods.network.plan_joint`."""


def fit(view: View, labelled: Labelled, options: Options) -> Classifier:
    """Train a network on the labelled images; see `methods.method`."""
    return fit_side_by_side(view, [labelled], [options])[0]


def fit_side_by_side(view: View, choices: Sequence[Labelled], options: Sequence[Options]) -> list[Classifier]:
    """Train networks for several choices of labelled images at a time; see `methods.method`."""
    jobs = [
        NetworkJob(labelled, own, partial(_objective, view, labelled))
        for labelled, own in zip(choices, options, strict=True)
    ]
    return fit_networks(view, jobs, STEPS, fit_on)


def _objective(view: View, labelled: Labelled, generator: torch.Generator) -> SupervisedObjective:
    return SupervisedObjective(view.mirror, generator, labelled.per_class >= MANY_LABELS)
