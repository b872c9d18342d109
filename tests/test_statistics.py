"""Paired differences: the interval is Student's, and methods are compared split by split."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest, sem, t, ttest_rel

from gpu_ssl.records import Result
from gpu_ssl.report.table import difference_table
from gpu_ssl.statistics import (
    STUDENT,
    in_percent,
    independent,
    mean_and_interval,
    paired_differences,
    wilson_interval,
)
from tests.report.test_report import REPORT, result, text_of

RESULTS: tuple[Result, ...] = (
    result("m1", 100, 0.70, 0.74, 0.78),
    result("m1", 600, 0.80),
    result("graph", 100, 0.73, 0.76, 0.80),
    result("graph", 600, 0.85),
)


def test_mean_and_interval_are_those_of_a_paired_t_test() -> None:
    (difference,) = paired_differences(RESULTS, ("m1", "graph"))
    expected = ttest_rel(RESULTS[2].accuracies, RESULTS[0].accuracies).confidence_interval(0.95)
    assert (difference.method, difference.against, difference.labels) == ("graph", "m1", 100)
    assert difference.mean == pytest.approx(np.mean([0.03, 0.02, 0.02]))
    assert (difference.low, difference.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("n", range(2, len(STUDENT) + 5))
def test_the_interval_of_a_mean_is_students_for_any_number_of_values(n: int) -> None:
    """For few of them from a table, for more from SciPy."""
    values = np.random.default_rng(n).normal(size=n)
    low, high = t.interval(0.95, n - 1, values.mean(), sem(values))
    assert mean_and_interval(values)[1:] == pytest.approx((low, high), rel=1e-9)


def test_one_method_is_compared_with_nothing() -> None:
    assert paired_differences(RESULTS, ("m1",)) == ()


def test_the_table_tells_points_and_their_interval() -> None:
    differences = paired_differences(RESULTS, ("m1", "graph"))
    report = REPORT.model_copy(update={"results": RESULTS, "differences": differences})
    text = text_of(difference_table(report))
    assert "gain over M1" in text
    assert "+2.33 ± 1.43" in text


@pytest.mark.parametrize(("right", "of"), [(0, 7), (7, 7), (60, 100)])
def test_the_interval_of_a_share_is_wilsons(right: int, of: int) -> None:
    expected = binomtest(right, of).proportion_ci(0.95, method="wilson")
    assert wilson_interval(right / of, of) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_judgements_of_a_group_are_worth_one() -> None:
    assert independent(np.arange(50)) == 50
    assert independent(np.array([3])) == 1
    # Ten of twenty each: fewer than ten by Student's quantile of few groups, many of few each hardly fewer.
    assert 7.5 < independent(np.repeat(np.arange(10), 20)) < 10
    assert 980 < independent(np.repeat(np.arange(1000), 2)) < 1000
    # One large group among many single images reduces the effective sample size most.
    assert independent(np.minimum(np.arange(200), 100)) < 5
    assert independent(np.repeat([0, 1], 20)) < 0.2


@pytest.mark.parametrize("n", [1, 3.5, 40, 1000, 7919])
def test_an_interval_contains_its_share_at_the_ends(n: float) -> None:
    """To the bit: a model that is always right is not worse than another one."""
    assert wilson_interval(1.0, n)[1] == 1.0
    assert wilson_interval(0.0, n)[0] == 0.0


def test_shares_have_one_style() -> None:
    """A space before the percent sign, in messages, tables, pages and documentation of models."""
    assert (in_percent(0.6612), in_percent(1.0, 2)) == ("66.1 %", "100.00 %")
    package = Path(__file__).parents[1] / "gpu_ssl"
    for path in package.rglob("*"):
        if path.suffix in (".py", ".html", ".js"):
            text = path.read_text("utf-8")
            close = re.search(r":[^{}\]\n]*%}|percent(\(\d\))? }}%|[^{]}%[^}]|\d%[^\w}]", text)
            assert close is None, f"{path}: {close[0]}"
