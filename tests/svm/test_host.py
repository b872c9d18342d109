"""Few points are fitted without scikit-learn: to the same solutions, independent of each other."""

import itertools
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import SVC

from gpu_ssl.svm import _host
from gpu_ssl.svm._host import FEW, HostBackend
from gpu_ssl.svm._sklearn import SklearnBackend
from gpu_ssl.svm.kernels import Kernel
from gpu_ssl.svm.model import OneVsOneModel
from gpu_ssl.svm.one_vs_one import Task, fit_all
from gpu_ssl.svm.pairs import PairSolutions, Penalty
from tests.svm import clouds, fit, kernels


def have_unique_constants(
    model: OneVsOneModel, labels: NDArray[np.int64], bounds: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether each pair has a support vector with a dual variable between its bounds."""
    of, most = labels[model.support], bounds[model.support]
    found = []
    for a, b in itertools.combinations(range(model.n_classes), 2):
        alphas = np.concatenate(
            [model.duals[of == a, b] / most[of == a], model.duals[of == b, a] / most[of == b]]
        )
        found.append(bool(((alphas > 1e-6) & (alphas < 1 - 1e-6)).any()))
    return np.array(found)


@settings(max_examples=30)
@given(
    n=st.integers(4, 60),
    n_classes=st.integers(2, 4),
    kernel=kernels.filter(lambda kernel: kernel.name != "sigmoid"),
    C=st.sampled_from([0.5, 10.0]),
    weighted=st.booleans(),
    seed=st.integers(0, 999),
)
def test_decisions_are_those_of_scikit_learn(
    n: int, n_classes: int, kernel: Kernel, C: float, weighted: bool, seed: int
) -> None:
    """But for constants of pairs without a dual variable between its bounds: an interval of them is optimal.

    A sigmoid kernel need not be positive definite; such a problem may have several solutions.
    """
    points, labels = clouds(n, n_classes, 3, seed)
    points = points.astype(np.float32)
    weights = np.random.default_rng(seed).uniform(0.5, 2, len(labels)) if weighted else None
    penalty = Penalty(C, kernel, tol=1e-4)
    (own,) = fit_all(HostBackend(), [Task(points, labels, n_classes, penalty, weights)])
    theirs = fit(points, labels, kernel, C, weights, tol=1e-4)
    found, expected = own.pair_decisions(points), theirs.pair_decisions(points)
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float32
    size = 1 + np.abs(expected).max()
    unique = have_unique_constants(own, labels, C * (np.ones(len(labels)) if weights is None else weights))
    assert (np.ptp(found - expected, axis=0) < 0.01 * size).all()
    assert (np.abs(found - expected) < 0.01 * size)[:, unique].all()


@pytest.mark.parametrize("most", [-1, 100_000, 50])
def test_many_iterations_are_left_to_libsvm(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """With a large C and contradictory labels; a requested number of iterations still counts."""
    rng = np.random.default_rng(0)
    points, labels = rng.normal(size=(100, 2)).astype(np.float32), rng.integers(0, 2, 100)
    by_libsvm = []
    solve = SklearnBackend.solve_pairs

    def spy(*arguments: Any) -> PairSolutions:
        by_libsvm.append(arguments)
        return solve(*arguments)

    monkeypatch.setattr(SklearnBackend, "solve_pairs", spy)
    kernel = Kernel(gamma=0.5)
    with pytest.warns(ConvergenceWarning) if most == 50 else nullcontext():
        (hard,) = fit_all(HostBackend(), [Task(points, labels, 2, Penalty(1e3, kernel, max_iter=most))])
    assert len(by_libsvm) == (0 if most == 50 else 1)
    if most != 50:
        expected = SVC(C=1e3, gamma=0.5).fit(points, labels).predict(points)
        assert (hard.predict(points) == expected).mean() > 0.98
    fit_all(HostBackend(), [Task(points, labels, 2, Penalty(5.0, kernel))])
    assert len(by_libsvm) == (0 if most == 50 else 1)


def test_a_solution_does_not_depend_on_what_is_solved_with_it() -> None:
    penalty = Penalty(10.0, Kernel(gamma=0.1))
    tasks = [Task(*clouds(60, 5, 4, seed), 5, penalty) for seed in range(4)]
    tasks = [own._replace(points=own.points.astype(np.float32)) for own in tasks]
    together = fit_all(HostBackend(), tasks)
    for model, task in zip(together, tasks, strict=True):
        (alone,) = fit_all(HostBackend(), [task])
        for name in ("support", "duals", "intercepts"):
            assert np.array_equal(getattr(model, name), getattr(alone, name))


def test_many_points_are_fitted_by_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = HostBackend()
    assert backend.at_once(FEW)
    assert not backend.at_once(FEW + 1)
    monkeypatch.setattr(_host, "FEW", 20)
    points, labels = clouds(40, 3, 4, seed=0)
    penalty = Penalty(1.0, Kernel(gamma=0.1))
    (own,) = fit_all(backend, [Task(points, labels, 3, penalty)])
    theirs = fit(points, labels, Kernel(gamma=0.1))
    assert np.array_equal(own.duals, theirs.duals), "to the bit"
