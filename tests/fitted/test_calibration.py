"""Probabilities from decisions: what they are, that fitting finds them, and how they are judged."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize
from scipy.special import softmax

from gpu_ssl.fitted.calibration import (
    BINS,
    Calibration,
    expected_calibration_error,
    fit_calibration,
    minimum,
    most_likely_first,
    reliability,
)

K, PAIRS = 4, [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
KINDS = pytest.mark.parametrize("pairwise", [True, False], ids=["pairs", "logarithms"])
some_decisions = st.floats(-1e6, 1e6, width=32)
decisions_of_any_size = st.one_of(
    st.tuples(st.just(True), arrays(np.float32, (5, len(PAIRS)), elements=some_decisions)),
    st.tuples(st.just(False), arrays(np.float32, (5, K), elements=st.floats(-1e6, 0, width=32))),
)


def sigmoid(value: float) -> float:
    return 1 / (1 + np.exp(-value))


def draw(pairwise: bool, n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(scale=1.5, size=(n, len(PAIRS) if pairwise else K))


def test_of_pairs_they_are_products_over_the_other_classes() -> None:
    decisions = draw(True, 3)
    found = Calibration(1.7, 0.6).probabilities(decisions, K, True)
    for n in range(3):
        products = np.ones(K)
        for pair, (i, j) in enumerate(PAIRS):
            products[j] *= sigmoid(1.7 * decisions[n, pair]) ** 0.6
            products[i] *= sigmoid(-1.7 * decisions[n, pair]) ** 0.6
        np.testing.assert_allclose(found[n], products / products.sum())


def test_two_classes_are_a_logistic_function() -> None:
    found = Calibration(2.0, 1.0).probabilities(np.array([[0.0], [1.5], [-3.0]]), 2, True)
    np.testing.assert_allclose(found[:, 1], [0.5, sigmoid(3), sigmoid(-6)])


def test_of_logarithms_they_are_a_softmax_with_a_temperature() -> None:
    logarithms = np.log(np.array([[0.2, 0.3, 0.4, 0.1], [0.97, 0.01, 0.01, 0.01]]))
    np.testing.assert_allclose(Calibration(9.0, 1.0).probabilities(logarithms, K, False), np.exp(logarithms))
    np.testing.assert_allclose(
        Calibration(9.0, 0.25).probabilities(logarithms, K, False), softmax(logarithms / 4, axis=1)
    )


@given(decisions_of_any_size, st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_they_are_numbers_that_sum_to_one(
    decisions: tuple[bool, np.ndarray], slope: float, power: float
) -> None:
    found = Calibration(slope, power).probabilities(decisions[1], K, decisions[0])
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)


@given(decisions_of_any_size, st.lists(st.integers(0, K - 1), min_size=5, max_size=5))
def test_torch_does_as_numpy_does(decisions: tuple[bool, np.ndarray], winners: list[int]) -> None:
    """NumPy answers in Python, torch in the ONNX file."""
    pairwise, values = decisions
    calibration = Calibration(1.3, 0.7)
    ours = calibration.probabilities(values, K, pairwise)
    theirs = calibration.probabilities(torch.from_numpy(values), K, pairwise)
    np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-4, atol=1e-7)
    chosen = np.array(winners)
    np.testing.assert_array_equal(
        most_likely_first(torch.from_numpy(ours), torch.from_numpy(chosen)).numpy(),
        most_likely_first(ours, chosen),
    )


@KINDS
def test_fitting_finds_the_calibration_that_made_the_classes(pairwise: bool) -> None:
    true = Calibration(2.5 if pairwise else 1.0, 0.5)
    decisions = draw(pairwise, 20_000)
    p = true.probabilities(decisions, K, pairwise)
    classes = (p.cumsum(axis=1) > np.random.default_rng(1).random((len(p), 1))).argmax(axis=1)
    found = fit_calibration(decisions, classes, K, pairwise)
    assert found.slope == pytest.approx(true.slope, rel=0.15)
    assert found.power == pytest.approx(true.power, rel=0.15)


@KINDS
def test_a_weight_of_two_counts_an_image_twice(pairwise: bool) -> None:
    decisions, classes = draw(pairwise, 30), np.arange(30) % K
    twice = np.repeat(np.arange(30), 1 + np.arange(30) % 2)
    weighted = fit_calibration(decisions, classes, K, pairwise, 1.0 + np.arange(30) % 2)
    repeated = fit_calibration(decisions[twice], classes[twice], K, pairwise)
    assert (weighted.slope, weighted.power) == pytest.approx((repeated.slope, repeated.power), rel=1e-3)


@KINDS
def test_few_points_leave_it_moderate(pairwise: bool) -> None:
    decisions = np.full((2, len(PAIRS)), 9.0) if pairwise else np.array([[-9.0, -9.0, -9.0, 0.0]] * 2)
    found = fit_calibration(decisions, np.array([3, 3]), K, pairwise)
    assert 0.2 < found.slope < 5
    assert 0.2 < found.power < 5


@given(decisions_of_any_size, st.lists(st.integers(0, K - 1), min_size=5, max_size=5))
def test_the_winner_is_the_most_likely_and_nothing_is_lost(
    decisions: tuple[bool, np.ndarray], winners: list[int]
) -> None:
    before = Calibration().probabilities(decisions[1], K, decisions[0])
    agreeing = most_likely_first(before, np.array(winners))
    assert (agreeing.max(axis=1) == agreeing[np.arange(5), winners]).all()
    np.testing.assert_array_equal(np.sort(agreeing), np.sort(before))


def test_the_calibration_error_is_the_gap_weighted_by_size() -> None:
    confidences = np.array([0.95, 0.95, 0.95, 0.95, 0.5, 1.0])
    right = np.array([True, True, True, False, True, True])
    # 0.95 and 1.0 share the last bin: 5 with a mean of 0.96, 4 of them right.
    assert expected_calibration_error(confidences, right) == pytest.approx((5 * 0.16 + 1 * 0.5) / 6)
    bins = reliability(confidences, right)
    assert [b.size for b in bins] == [1, 5]
    assert len(reliability(np.linspace(0, 1, 1000), np.ones(1000, bool))) == BINS


def test_confidence_that_means_what_it_says_has_no_error() -> None:
    rng = np.random.default_rng(0)
    confidences = rng.uniform(0.1, 1, 100_000)
    right = rng.random(len(confidences)) < confidences
    assert expected_calibration_error(confidences, right) < 0.01
    assert expected_calibration_error(np.sqrt(confidences), right) > 0.05


@given(seed=st.integers(0, 999), n=st.sampled_from([5, 200]), scale=st.sampled_from([0.1, 1.0, 5.0]))
def test_newtons_method_finds_what_scipy_finds(seed: int, n: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    decisions, classes = rng.normal(scale=scale, size=(n, len(PAIRS))), rng.integers(K, size=n)

    def loss(logarithms: np.ndarray) -> float:
        found = Calibration(*np.exp(logarithms)).probabilities(decisions, K, True)
        return float(-np.log(found[np.arange(n), classes] + 1e-12).sum() + (logarithms**2).sum() / 2)

    best = minimize(loss, np.zeros(2), method="Nelder-Mead").fun
    assert loss(minimum(loss, 2)) <= best + 1e-6 * abs(best)
