"""Consistency regularization with the graph of neighbours as teacher; an SVM on the network's features."""

from typing import Final

from gpu_ssl.methods.method import Labelled, Options
from gpu_ssl.methods.network import fit_network, teacher_of
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
    encoder = view.encoder(options.teacher_name)
    return fit_network(
        view,
        labelled,
        options,
        STEPS,
        # Each network has its own teacher, which keeps running statistics.
        lambda generator: ConsistencyObjective(teacher_of(view, encoder, labelled), view.mirror, generator),
        NETWORKS[options.effort],
    )
