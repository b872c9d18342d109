"""Paired differences: the interval is Student's, and methods are compared split by split."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from gpu_ssl.records import Result
from gpu_ssl.report.table import difference_table
from gpu_ssl.statistics import paired_differences
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


def test_one_method_is_compared_with_nothing() -> None:
    assert paired_differences(RESULTS, ("m1",)) == ()


def test_the_table_tells_points_and_their_interval() -> None:
    report = REPORT.model_copy(update={"differences": paired_differences(RESULTS, ("m1", "graph"))})
    text = text_of(difference_table(report))
    assert "points more than M1" in text
    assert "+2.33 ± 1.43" in text
