"""The network of `methods.consistency` on labelled images only: a baseline."""

from gpu_ssl.methods.method import Labelled, Options
from gpu_ssl.methods.network import fit_network
from gpu_ssl.methods.svm import SVMClassifier
from gpu_ssl.methods.svm import load as load
from gpu_ssl.methods.view import View
from gpu_ssl.training.consistency import SupervisedObjective

STEPS = 750
"""Steps with ten labels per class; see `methods.network.plan_joint`."""


def fit(view: View, labelled: Labelled, options: Options) -> SVMClassifier:
    """Train a network on the labelled images; see `methods.method`."""
    return fit_network(
        view, labelled, options, STEPS, lambda generator: SupervisedObjective(view.mirror, generator)
    )
