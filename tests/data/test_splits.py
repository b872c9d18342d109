"""The choice of labelled images: even over the classes, nested, reproducible, and refused if impossible."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold, train_test_split

from gpu_ssl.data.splits import (
    labelled_indices,
    labelling_order,
    resolve_label_counts,
    stratified_folds,
    stratified_k_fold,
    stratified_split,
)
from gpu_ssl.errors import UsageError

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=200).map(lambda labels: np.array(labels, np.int64))
SEEDS = st.integers(0, 2**32 - 1)


@given(LABELS, SEEDS, st.integers(0, 50))
def test_the_order_is_a_permutation(labels: NDArray[np.int64], seed: int, split: int) -> None:
    assert np.array_equal(np.sort(labelling_order(labels, seed, split)), np.arange(len(labels)))


@given(LABELS, SEEDS, st.data())
def test_every_prefix_is_as_even_as_the_classes_allow(
    labels: NDArray[np.int64], seed: int, data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, len(labels)))
    available = np.bincount(labels, minlength=7)
    taken = np.bincount(labels[labelled_indices(labels, n, seed, 0)], minlength=7)
    assert taken.sum() == n
    assert (taken <= available).all()
    # A class may have fewer than another only where it has run out, or by one.
    not_exhausted = taken[taken < available]
    if len(not_exhausted):
        assert taken.max() - not_exhausted.min() <= 1


@given(LABELS, SEEDS, st.data())
def test_smaller_choices_lie_inside_larger_ones(
    labels: NDArray[np.int64], seed: int, data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, len(labels)))
    m = data.draw(st.integers(n, len(labels)))
    assert set(labelled_indices(labels, n, seed, 3)) <= set(labelled_indices(labels, m, seed, 3))


def test_the_same_seed_chooses_the_same_and_another_split_others() -> None:
    labels = np.arange(1000) % 10
    first = labelled_indices(labels, 100, seed=1, split=0)
    assert np.array_equal(first, labelled_indices(labels, 100, seed=1, split=0))
    assert len(set(first) & set(labelled_indices(labels, 100, seed=1, split=1))) < 50
    assert len(set(first) & set(labelled_indices(labels, 100, seed=2, split=0))) < 50


def test_who_gets_the_odd_label_is_drawn_anew() -> None:
    labels = np.arange(1000) % 10
    extra = {int(np.bincount(labels[labelled_indices(labels, 11, 0, split)]).argmax()) for split in range(60)}
    assert len(extra) == 10


def test_counts_that_can_be() -> None:
    assert resolve_label_counts("all", 60_000, 10) == (100, 600, 1000, 3000)
    assert resolve_label_counts("all", 1347, 10) == (100, 600, 1000)
    assert resolve_label_counts((50, "full", 1347), 1347, 10) == (50, 1347)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ((5,), ("`labels=5`", "10 classes", "10 to 1347")),
        ((100, 1348), ("`labels=1348`", "more than the number of training images", "10 to 1347")),
    ],
)
def test_counts_that_cannot_be_are_refused(counts: tuple[int, ...], words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_label_counts(counts, 1347, 10)
    for word in words:
        assert word in str(caught.value)


def test_all_on_a_set_too_small_for_any_standard_count_is_refused() -> None:
    with pytest.raises(UsageError, match="more than the number of training images"):
        resolve_label_counts("all", 90, 10)


GROUPED = st.integers(2, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 4), min_size=n, max_size=n).map(
            lambda drawn: np.unique(drawn, return_inverse=True)[1]
        ),
        st.lists(st.integers(-1, 12), min_size=n, max_size=n).map(np.array),
    )
)


@given(GROUPED, SEEDS)
def test_no_group_lies_on_both_sides_of_a_fold(
    drawn: tuple[NDArray[np.int64], NDArray[np.int64]], seed: int
) -> None:
    """Models learn from every class, and no image is checked twice."""
    classes, groups = drawn
    folds = stratified_folds(classes, seed, groups)
    for learn, check in folds:
        assert np.array_equal(np.sort(np.concatenate([learn, check])), np.arange(len(classes)))
        assert not set(groups[learn]) & set(groups[check])
        assert set(classes[learn]) == set(classes)
    checked = [number for _, check in folds for number in check.tolist()]
    assert len(set(checked)) == len(checked)
    assert not folds or len(set(classes[checked])) >= 2


@given(GROUPED, SEEDS)
def test_an_image_is_checked_unless_its_class_would_be_unknown(
    drawn: tuple[NDArray[np.int64], NDArray[np.int64]], seed: int
) -> None:
    """Of groups of one class each: all images of the classes that are in two groups or more."""
    classes, groups = drawn
    groups = 100 * classes + groups
    folds = stratified_folds(classes, seed, groups)
    wanted = [c for c in set(classes.tolist()) if len(set(groups[classes == c])) > 1]
    checked = [number for _, check in folds for number in check.tolist()]
    assert sorted(checked) == (np.flatnonzero(np.isin(classes, wanted)).tolist() if len(wanted) > 1 else [])


def test_a_class_with_a_single_image_is_learned_from_and_never_checked() -> None:
    classes = np.array([0] * 10 + [1] * 10 + [2])
    folds = stratified_folds(classes, 0)
    assert len(folds) == 5
    assert all(20 in learn for learn, _ in folds)
    assert sorted(np.concatenate([check for _, check in folds])) == list(range(20))
    assert stratified_folds(np.array([0] * 9 + [1]), 0) == []


def test_images_that_are_alone_are_divided_as_without_groups() -> None:
    classes = np.random.default_rng(0).integers(0, 4, 100)
    for one, other in zip(
        stratified_folds(classes, 3), stratified_folds(classes, 3, np.arange(100)), strict=True
    ):
        assert np.array_equal(one[1], other[1])


@given(counts=st.lists(st.integers(3, 20), min_size=1, max_size=5), n_folds=st.integers(2, 3), seed=SEEDS)
def test_folds_are_those_of_scikit_learn(counts: list[int], n_folds: int, seed: int) -> None:
    classes = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    found = stratified_k_fold(classes, n_folds, seed)
    theirs = StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(classes, classes)
    for fold, (_, part) in enumerate(theirs):
        assert np.array_equal(np.flatnonzero(found == fold), part)


@given(counts=st.lists(st.integers(4, 20), min_size=1, max_size=4), seed=SEEDS)
def test_a_split_is_that_of_scikit_learn(counts: list[int], seed: int) -> None:
    classes = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    n_test = max(len(counts), len(classes) // 4)
    expected = train_test_split(
        np.arange(len(classes)), test_size=n_test, stratify=classes, random_state=seed
    )
    for part, own in zip(stratified_split(classes, n_test, seed), expected, strict=True):
        assert np.array_equal(part, own)
