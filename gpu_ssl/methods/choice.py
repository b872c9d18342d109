"""From the name of a method to the method."""

from gpu_ssl.config import MethodName, Preset
from gpu_ssl.methods import auto, graph, m1
from gpu_ssl.methods.consistency import TrainedClassifier
from gpu_ssl.methods.evaluation import Method
from gpu_ssl.methods.learned import Learned
from gpu_ssl.methods.m2 import KeepM2, TrainedM2
from gpu_ssl.methods.svm import SVMOnFeatures, SVMSolver


def make_method(
    name: MethodName, learned: Learned, solver: SVMSolver, preset: Preset, seed: int, keep: KeepM2
) -> Method:
    """Return the method of this name, ready to predict from any choice of labels."""
    if name == m1.METHOD:
        return SVMOnFeatures(learned.features, solver)
    if name == graph.METHOD:
        return learned.graph
    if name == auto.METHOD:
        return auto.Auto(learned, solver, seed)
    if name in ("m2", "m1m2"):
        return TrainedM2(name, learned, preset, seed, keep)
    return TrainedClassifier(name, learned, solver, seed)
