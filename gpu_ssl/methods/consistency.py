"""Consistency regularization with the graph of neighbours as teacher; an SVM on the network's features."""

from gpu_ssl.methods.method import Labelled, Options
from gpu_ssl.methods.network import fit_network, teacher_of
from gpu_ssl.methods.svm import SVMClassifier
from gpu_ssl.methods.svm import load as load
from gpu_ssl.methods.view import View
from gpu_ssl.training.consistency import ConsistencyObjective

STEPS = 750
"""With ten labels a class; see `methods.network.plan_joint`."""


def fit(view: View, labelled: Labelled, options: Options) -> SVMClassifier:
    """Train a network on pseudo-labels, its own and its teacher's; see `methods.method`."""
    teacher = teacher_of(view, view.encoder(options.teacher_name), labelled)
    return fit_network(
        view,
        labelled,
        options,
        STEPS,
        lambda generator: ConsistencyObjective(teacher, view.mirror, generator),
    )
