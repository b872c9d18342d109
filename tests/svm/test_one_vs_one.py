"""Fitting pair by pair gives what scikit-learn's SVC gives, whichever way the pairs are gone through."""

import os
import signal
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import SVC

from gpu_ssl.errors import UsageError
from gpu_ssl.svm import _sklearn
from gpu_ssl.svm.kernels import Kernel
from gpu_ssl.svm.one_vs_one import _model
from gpu_ssl.svm.pairs import BinarySVM, Penalty, class_pairs, join_pairs, solve_concurrently
from tests.svm import clouds, fit, kernels


@pytest.fixture(params=[0, 10**9], ids=["pair by pair", "all by LIBSVM"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sklearn, "ALONE", request.param)


@settings(max_examples=30)
@given(kernel=kernels, n_classes=st.integers(2, 8), n=st.integers(10, 80), seed=st.integers(0, 10**6))
def test_both_ways_through_the_pairs_give_equal_models(
    kernel: Kernel, n_classes: int, n: int, seed: int
) -> None:
    points, labels = clouds(n, n_classes, 3, seed)
    weights = np.random.default_rng(seed).choice([0.5, 1.0, 3.0], len(labels))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_sklearn, "ALONE", 10**9)
        whole = fit(points, labels, kernel, weights=weights)
        patch.setattr(_sklearn, "ALONE", 0)
        apart = fit(points, labels, kernel, weights=weights)
    for name in ("support", "support_vectors", "duals", "intercepts"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(apart, name), err_msg=name)


@pytest.mark.usefixtures("either_way")
def test_the_support_vectors_are_listed_as_scikit_learn_lists_them() -> None:
    points, labels = clouds(200, 6, 4, seed=1)
    svc = SVC(gamma=0.3).fit(points, labels)
    model = fit(points, labels, Kernel(gamma=0.3))
    assert np.array_equal(model.support, svc.support_)
    assert np.array_equal(model.support_vectors, svc.support_vectors_)


@pytest.mark.usefixtures("either_way")
def test_weights_are_factors_of_the_penalty() -> None:
    points, labels = clouds(150, 4, 3, seed=2)
    weights = np.random.default_rng(0).choice([0.0, 0.3, 1.0, 4.0], len(labels))
    weights[:4] = 1  # whatever the draw, some of every class remain
    new = clouds(300, 4, 3, seed=3)[0]
    svc = SVC(gamma=0.3, decision_function_shape="ovo").fit(points, labels, weights)
    model = fit(points, labels, Kernel(gamma=0.3), weights=weights)
    np.testing.assert_allclose(model.decision_function(new, "ovo"), svc.decision_function(new), atol=1e-9)
    assert (weights[model.support] > 0).all()


@pytest.mark.parametrize("weights", [None, np.array([1.0, 1, 0, 0, 1])], ids=["missing", "of no weight"])
def test_a_class_without_a_point_is_named(weights: np.ndarray | None) -> None:  # type: ignore[type-arg]
    labels = np.array([0, 0, 2, 2, 3]) if weights is None else np.array([0, 0, 1, 1, 2])
    with pytest.raises(UsageError, match="class 1 has no labelled point"):
        fit(np.zeros((5, 2)), labels, Kernel(), weights=weights)


@pytest.mark.usefixtures("either_way")
def test_a_solver_that_stops_early_is_told_once() -> None:
    points, labels = clouds(200, 5, 3, seed=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(points, labels, Kernel(), C=100, max_iter=-1)
        assert caught == []
        fit(points, labels, Kernel(), C=100, max_iter=1)
    (warning,) = caught
    assert warning.category is ConvergenceWarning
    assert "of 10 pairs of classes (max_iter=1" in str(warning.message)


@pytest.mark.usefixtures("either_way")
def test_fits_side_by_side_leave_the_filters_of_warnings_alone() -> None:
    points, labels = clouds(60, 3, 2, seed=0)
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: fit(points, labels, Kernel()), range(40)))
    assert list(warnings.filters) == before


def test_a_pair_without_support_vectors_decides_by_its_constant() -> None:
    """cuML gives such a pair for degenerate data."""
    none = BinarySVM(np.zeros(0, np.int32), np.zeros(0), np.array([0.7]), 0)
    one = BinarySVM(np.array([0, 1], np.int32), np.array([-2.0, 2.0]), np.array([0.1]), 1)
    solved = join_pairs([none, one, none], [1, 1, 1])
    grouped = np.arange(3.0)[:, None]
    model = _model(solved, grouped, np.arange(3), [1, 1, 1], Penalty(1.0, Kernel("linear")))
    assert model.support.tolist() == [0, 2]
    assert model.n_support == (1, 0, 1)
    assert model.duals.tolist() == [[0, 0, 2], [2, 0, 0]]
    assert model.pair_decisions(np.array([[5.0]])).tolist() == [[0.7, 20.1, 0.7]]


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order_and_the_largest_pair_starts_first(workers: int) -> None:
    sizes = [1, 5, 2, 9]
    started = []

    def solve(i: int, j: int) -> tuple[int, int]:
        started.append((i, j))
        time.sleep(0.01 * (3 - i))
        return i, j

    assert solve_concurrently(solve, sizes, workers) == class_pairs(4)
    assert started[0] == (1, 3)


def test_pairs_are_solved_at_the_same_time() -> None:
    together = threading.Barrier(2, timeout=20)
    solve_concurrently(lambda i, j: together.wait(), [1, 1, 1, 1], workers=2)


def test_after_a_failure_no_further_pair_begins() -> None:
    begun = []

    def solve(i: int, j: int) -> None:
        begun.append((i, j))
        time.sleep(0.002)
        raise ValueError(f"pair {i}, {j}")

    with pytest.raises(ValueError, match="pair"):
        solve_concurrently(solve, [1] * 30, workers=1)
    assert len(begun) < 435


def test_fits_share_their_threads() -> None:
    seen: set[int] = set()

    def solve(i: int, j: int) -> None:
        seen.add(threading.get_ident())
        time.sleep(0.001)

    for _ in range(6):
        solve_concurrently(solve, [1] * 5, workers=3)
    assert len(seen) <= 3


def test_after_a_failure_the_threads_do_other_work() -> None:
    with pytest.raises(ZeroDivisionError):
        solve_concurrently(lambda i, j: 1 // 0, [1] * 4, workers=2)
    assert solve_concurrently(lambda i, j: i + j, [1] * 3, workers=2) == [1, 2, 3]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_has_threads_of_its_own() -> None:
    """It has a copy of its parent's pool, whose threads are gone."""
    solve_concurrently(lambda i, j: i, [1] * 3, workers=2)
    child = os.fork()
    if not child:
        signal.alarm(20)
        os._exit(0 if solve_concurrently(lambda i, j: i + j, [1] * 3, workers=2) == [1, 2, 3] else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0
