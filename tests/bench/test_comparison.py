"""Ratios are reported with their uncertainty, and records of different work are not compared."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_ssl.bench.comparison import compare
from gpu_ssl.errors import UsageError
from tests.bench import record

ENCODE = ("encode", 1000, "cpu")
times = st.lists(st.floats(0.001, 100), min_size=4, max_size=6).map(tuple)


def test_the_ratio_is_that_of_the_medians() -> None:
    (found,) = compare(record({ENCODE: (4.0, 4.2, 3.9, 4.0)}), record({ENCODE: (2.0, 2.1, 1.9, 2.0)}))
    assert (found.phase, found.size, found.devices) == ("encode", 1000, ("cpu", "cpu"))
    assert found.ratio == 2.0
    assert found.significant


@given(times, times)
def test_a_difference_is_significant_only_where_the_values_do_not_overlap(
    one: tuple[float, ...], other: tuple[float, ...]
) -> None:
    (found,) = compare(record({ENCODE: one}, taken="1"), record({ENCODE: other}, taken="2"))
    assert found.significant == (max(one) < min(other) or max(other) < min(one))
    (back,) = compare(record({ENCODE: other}, taken="2"), record({ENCODE: one}, taken="1"))
    assert back.ratio == pytest.approx(1 / found.ratio)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_values_are_never_significant(n: int) -> None:
    """The doubt says which it is: values that overlap, or too few of them."""
    (found,) = compare(record({ENCODE: (4.0,) * 9}), record({ENCODE: (1.0,) * n}))
    assert (found.significant, found.doubt) == (False, "too few repeats")
    (found,) = compare(record({ENCODE: (1.0, 4.0)}), record({ENCODE: (2.0,) * n}))
    assert (found.significant, found.doubt) == (False, "within the spread")


def test_the_gpu_is_compared_with_the_cpu_of_the_same_record() -> None:
    both = record({ENCODE: (4.0, 4.1) * 2, ("encode", 1000, "cuda"): (0.4, 0.41) * 2})
    (found,) = compare(both, both)
    assert (found.devices, found.significant) == (("cpu", "cuda"), True)
    assert found.ratio == pytest.approx(10, rel=0.01)


def test_records_of_one_device_each_are_compared_across() -> None:
    cpu, gpu = record({ENCODE: (4.0, 4.1)}), record({("encode", 1000, "cuda"): (0.4, 0.41)})
    assert [c.devices for c in compare(cpu, gpu)] == [("cpu", "cuda")]


def test_what_is_in_one_record_alone_is_left_out() -> None:
    first = record({ENCODE: (1.0, 1.1), ("fit", 100, "cpu"): (1.0, 1.1)})
    assert [c.phase for c in compare(first, record({ENCODE: (1.0, 1.2)}))] == ["encode"]


@pytest.mark.parametrize("changes", [{"dataset_sha256": "xyz"}, {"config": {"seed": 1}}])
def test_different_work_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="different work"):
        compare(record({ENCODE: (1.0,)}), record({ENCODE: (1.0,)}, **changes))


def test_one_device_has_nothing_to_compare_with() -> None:
    alone = record({ENCODE: (1.0,)}, not_measured={"cuda": "no driver"})
    with pytest.raises(UsageError, match="cuda was not measured: no driver"):
        compare(alone, alone)
