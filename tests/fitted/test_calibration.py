"""Probabilities from decision values: what they are, that fitting finds them, and how they are judged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gpu_ssl.fitted.calibration import (
    BINS,
    Coupling,
    expected_calibration_error,
    fit_coupling,
    most_likely_first,
    reliability,
)

K, PAIRS = 4, [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
decisions_of_any_size = arrays(np.float32, (5, 6), elements=st.floats(-1e6, 1e6, width=32))


def sigmoid(value: float) -> float:
    return 1 / (1 + np.exp(-value))


def test_probabilities_are_products_over_the_other_classes() -> None:
    rng = np.random.default_rng(0)
    decisions = rng.normal(size=(3, 6))
    found = Coupling(1.7, 0.6).probabilities(decisions, K)
    for n in range(3):
        products = np.ones(K)
        for pair, (i, j) in enumerate(PAIRS):
            products[j] *= sigmoid(1.7 * decisions[n, pair]) ** 0.6
            products[i] *= sigmoid(-1.7 * decisions[n, pair]) ** 0.6
        np.testing.assert_allclose(found[n], products / products.sum())


def test_two_classes_are_a_logistic_function() -> None:
    found = Coupling(2.0, 1.0).probabilities(np.array([[0.0], [1.5], [-3.0]]), 2)
    np.testing.assert_allclose(found[:, 1], [0.5, sigmoid(3), sigmoid(-6)])


@given(decisions_of_any_size, st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_probabilities_are_numbers_that_sum_to_one(decisions: np.ndarray, slope: float, power: float) -> None:
    found = Coupling(slope, power).probabilities(decisions, K)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_fitting_finds_the_coupling_that_made_the_classes() -> None:
    rng = np.random.default_rng(0)
    true = Coupling(2.5, 0.5)
    decisions = rng.normal(scale=1.5, size=(20_000, 6))
    p = true.probabilities(decisions, K)
    classes = (p.cumsum(axis=1) > rng.random((len(p), 1))).argmax(axis=1)
    found = fit_coupling(decisions, classes, K)
    assert found.slope == pytest.approx(true.slope, rel=0.15)
    assert found.power == pytest.approx(true.power, rel=0.15)


def test_few_points_leave_it_moderate() -> None:
    decisions = np.array([[9.0] * 6] * 2)
    found = fit_coupling(decisions, np.array([3, 3]), K)
    assert 0.2 < found.slope < 5
    assert 0.2 < found.power < 5


@given(decisions_of_any_size, st.lists(st.integers(0, K - 1), min_size=5, max_size=5))
def test_the_winner_is_the_most_likely_and_nothing_is_lost(decisions: np.ndarray, winners: list[int]) -> None:
    given_probabilities = Coupling().probabilities(decisions, K)
    agreeing = most_likely_first(given_probabilities, np.array(winners))
    assert (agreeing.max(axis=1) == agreeing[np.arange(5), winners]).all()
    np.testing.assert_array_equal(np.sort(agreeing), np.sort(given_probabilities))


def test_the_calibration_error_is_the_gap_weighted_by_size() -> None:
    confidences = np.array([0.95, 0.95, 0.95, 0.95, 0.5, 1.0])
    right = np.array([True, True, True, False, True, True])
    # 0.95 and 1.0 share the last bin: 5 with a mean of 0.96, 4 of them right.
    assert expected_calibration_error(confidences, right) == pytest.approx((5 * 0.16 + 1 * 0.5) / 6)
    bins = reliability(confidences, right)
    assert [b.size for b in bins] == [1, 5]
    assert len(reliability(np.linspace(0, 1, 1000), np.ones(1000, bool))) == BINS
