"""The choice of a method, from the labelled images only."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gpu_ssl import catalog
from gpu_ssl.config import Effort
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.splits import Fold
from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.errors import UsageError
from gpu_ssl.methods import auto, graph
from gpu_ssl.methods.auto import MOST_DIVISIONS, choose
from gpu_ssl.methods.method import Chosen, Labelled, Options, fit_method, resolve
from gpu_ssl.methods.validation import ENOUGH, Judged, cross_validate, folds_of
from gpu_ssl.methods.view import View
from gpu_ssl.statistics import in_percent
from tests.encoders import fitted
from tests.methods import choose as choose_labelled
from tests.methods import view_of

N = 40
LABELLED = Labelled(np.arange(N), np.repeat(np.arange(5), 8))
OPTIONS = Options("auto")

Right = dict[str, NDArray[np.bool_]]


@pytest.fixture(scope="module")
def encoders(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Encoder]:
    return fitted(digits.train.images, tmp_path_factory.mktemp("encoders"), "vae", "vae+hog", "pca")


@pytest.fixture
def view(digits: Dataset, encoders: dict[str, Encoder]) -> View:
    return view_of(digits.train.images, encoders.values())


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Callable[[Right], list[tuple[str, int]]]:
    """Make each method correct on certain labelled images; return the list of requests."""

    def stand_in(right: Right) -> list[tuple[str, int]]:
        asked: list[tuple[str, int]] = []

        def judged(view: View, labelled: Labelled, options: Options, folds: list[Fold]) -> Judged:
            asked.append((options.method, len(folds)))
            positions = np.concatenate([check for _, check in folds])
            classes = labelled.classes[positions]
            correct = right[options.method]
            if correct.ndim == 2:  # a row for each division
                correct = correct[sum(method == options.method for method, _ in asked) - 1]
            correct = correct[positions]
            predicted = np.where(correct, classes, classes + 1)
            return Judged(positions, np.zeros((len(positions), 10), np.float32), predicted, True)

        monkeypatch.setattr(auto, "cross_validate", judged)
        return asked

    return stand_in


def first(n: int, of: int = N) -> NDArray[np.bool_]:
    return np.arange(of) < n


def last(n: int, of: int = N) -> NDArray[np.bool_]:
    return np.arange(of) >= of - n


@pytest.mark.parametrize(
    ("m1", "hybrid", "graph", "chosen"),
    [
        (20, 25, 30, "graph"),
        # A little ahead of the favourite, the graph, is a tie with it.
        (20, 31, 30, "graph"),
        (33, 31, 30, "graph"),
        (0, 0, 0, "graph"),
        # Clearly ahead: 10 and 2, 14 and 4 images differ.
        (30, 38, 30, "hybrid"),
        (38, 36, 30, "m1"),
        # Of equally good ones the simpler is taken.
        (38, 38, 30, "m1"),
    ],
)
def test_with_few_labels_the_graph_is_taken_unless_another_is_clearly_ahead(
    view: View, judge: Callable[[Right], object], m1: int, hybrid: int, graph: int, chosen: str
) -> None:
    judge({"m1": first(m1), "hybrid": first(hybrid), "graph": last(graph)})
    options, why = choose(view, LABELLED, OPTIONS)
    assert options == replace(OPTIONS, method=chosen)
    assert why.method == chosen
    assert why.shares == {"m1": m1 / N, "hybrid": hybrid / N, "graph": graph / N}
    assert why.reason == (
        f"40 labelled images held out in turn, mean of 5 divisions: m1 {in_percent(m1 / N)} correct, "
        f"hybrid {in_percent(hybrid / N)} correct, graph {in_percent(graph / N)} correct"
    ) + (
        "; graph is preferred unless another is more than one standard error better"
        if chosen == "graph" and max(m1, hybrid) > graph
        else ""
    )


MORE = 5 * auto.FEW
"""Number of labelled images of five classes from which the graph is not the favourite."""


@pytest.mark.parametrize(
    ("m1", "hybrid", "graph", "chosen"),
    [
        (50, 60, 60, "hybrid"),
        (60, 60, 61, "hybrid"),
        (50, 60, 73, "graph"),
        (72, 60, 73, "graph"),
        (73, 60, 60, "m1"),
        (0, 0, 0, "hybrid"),
    ],
)
def test_with_more_labels_the_same_holds_for_the_better_svm(
    view: View, judge: Callable[[Right], object], m1: int, hybrid: int, graph: int, chosen: str
) -> None:
    judge({"m1": first(m1, MORE), "hybrid": first(hybrid, MORE), "graph": first(graph, MORE)})
    rows = np.arange(MORE)
    assert choose(view, Labelled(rows, rows % 5), OPTIONS)[1].method == chosen
    # On a requested encoder there is one SVM.
    judge({"svm": first(60, MORE), "graph": first(61, MORE)})
    asked = replace(OPTIONS, encoder="pca")
    assert choose(view, Labelled(rows, rows % 5), asked)[1].method == "svm"
    assert choose(view, Labelled(rows[1:], rows[1:] % 5), asked)[1].method == "graph"


def test_equals_are_equal_however_they_come_about(view: View, judge: Callable[[Right], object]) -> None:
    """A sum of fifths that rounds to a little more must not win."""
    rng, rows, right = np.random.default_rng(0), np.arange(50), 210
    for _ in range(20):
        drawn = [rng.permutation(MOST_DIVISIONS * 50).reshape(MOST_DIVISIONS, 50) for _ in range(2)]
        m1, hybrid = (order < right for order in drawn)
        judge({"m1": m1, "hybrid": hybrid, "graph": first(10, 50)})
        assert choose(view, Labelled(rows, rows % 5), OPTIONS)[1].method == "m1"


def test_candidates_are_quick() -> None:
    """Each is fitted up to 25 times: none trains a network. The rule for equals rests on their order."""
    assert auto.QUICK == ("m1", "hybrid", "graph")
    assert auto.QUICK_ON_ENCODER == ("svm", "graph")
    for name in (*auto.QUICK, *auto.QUICK_ON_ENCODER, auto.NETWORK):
        assert catalog.method(name).trains == (name == auto.NETWORK)
    assert all(catalog.method(name).free for name in (*auto.QUICK_ON_ENCODER, auto.NETWORK))


def test_an_encoder_that_is_asked_for_leaves_what_works_on_it(
    view: View, judge: Callable[[Right], list[tuple[str, int]]]
) -> None:
    asked = judge({"svm": first(20), "graph": first(21)})
    options, why = choose(view, LABELLED, replace(OPTIONS, encoder="pca"))
    assert {method for method, _ in asked} == {"svm", "graph"}
    assert (options.method, options.encoder_name, list(why.shares)) == ("graph", "pca", ["svm", "graph"])


def test_few_labelled_images_are_divided_again_and_again(
    view: View, judge: Callable[[Right], list[tuple[str, int]]]
) -> None:
    """A choice that rests on forty judgements would be chance; many images need one division."""
    asked = judge({name: first(20) for name in auto.QUICK})
    choose(view, LABELLED, OPTIONS)
    assert asked == [(name, 5) for name in auto.QUICK for _ in range(MOST_DIVISIONS)]
    asked = judge({name: first(20, ENOUGH) for name in auto.QUICK})
    rows = np.arange(ENOUGH)
    choose(view, Labelled(rows, rows % 5), OPTIONS)
    assert asked == [(name, 5) for name in auto.QUICK]


@pytest.mark.parametrize("effort", ["quick", "normal", "best"])
def test_a_class_with_a_single_label_cannot_be_compared(
    view: View, judge: Callable[[Right], list[tuple[str, int]]], effort: str
) -> None:
    asked = judge({})
    single = Labelled(np.arange(4), np.array([0, 0, 0, 1]))
    options, why = choose(view, single, replace(OPTIONS, effort=effort))  # type: ignore[arg-type]
    assert (asked, why.shares) == ([], {})
    assert "too few labelled images to compare" in why.reason
    assert options.method == why.method == ("graph" if effort == "quick" else "consistency")


BEST = replace(OPTIONS, effort="best")


@pytest.mark.parametrize(
    ("m1", "hybrid", "graph", "chosen"),
    [
        (20, 20, 30, "consistency"),
        (30, 40, 30, "consistency"),
        (30, 30, 28, "consistency"),
        # M1 names 26 more right than the graph: the best of the others is taken.
        (36, 35, 10, "m1"),
        (36, 38, 10, "hybrid"),
    ],
)
def test_the_best_is_a_network_unless_the_graph_is_clearly_worse(
    view: View, judge: Callable[[Right], object], m1: int, hybrid: int, graph: int, chosen: str
) -> None:
    """The graph teaches the network. That an SVM is a little ahead of it is chance, and no reason."""
    judge({"m1": first(m1), "hybrid": first(hybrid), "graph": last(graph)})
    options, why = choose(view, LABELLED, BEST)
    assert options.method == why.method == chosen
    told = (
        "a network, as the graph is accurate" if chosen == "consistency" else "the graph would hurt a network"
    )
    assert why.reason.startswith(
        f"{told} (40 labelled images held out in turn, mean of 5 divisions: m1 {in_percent(m1 / N)} correct"
    )
    assert f"graph {in_percent(graph / N)} correct" in why.reason


def test_what_is_clearly_worse_is_mcnemars_test(view: View, judge: Callable[[Right], object]) -> None:
    """Of the images on which the two differ; those that both name right say nothing."""
    for differing, chosen in ((4, "consistency"), (5, "m1")):
        judge({"m1": first(30), "hybrid": first(30), "graph": first(30 - differing)})
        assert choose(view, LABELLED, BEST)[0].method == chosen, differing


def test_many_labels_outweigh_the_teacher(view: View, judge: Callable[[Right], object]) -> None:
    """It counts little then (`methods.network.teacher_weight`), whatever it is worth."""
    judge({"m1": first(300, 300), "hybrid": first(300, 300), "graph": first(0, 300)})
    rows = np.arange(300)
    assert choose(view, Labelled(rows, rows % 5), BEST)[0].method == "consistency"
    judge({"m1": first(300, 300), "hybrid": first(300, 300), "graph": first(0, 300)})
    assert choose(view, Labelled(rows, rows % 6), BEST)[0].method == "hybrid"


def test_rows_of_numbers_leave_out_what_is_for_pictures(
    digits: Dataset, tmp_path: Path, judge: Callable[[Right], list[tuple[str, int]]]
) -> None:
    """They have no edges: there is no HOG for hybrid."""
    rows = digits.train.images.reshape(-1, 1, 1, 64)
    view = view_of(rows, fitted(rows, tmp_path, "vae", "pca").values())
    asked = judge({"m1": first(30), "graph": first(20), "svm": first(30)})
    _, why = choose(view, LABELLED, OPTIONS)
    assert {method for method, _ in asked} == {"m1", "graph"}
    assert (why.method, list(why.shares)) == ("m1", ["m1", "graph"])
    # A requested encoder other than HOG is as good for an SVM as for a graph.
    options, why = choose(view, LABELLED, replace(OPTIONS, encoder="pca"))
    assert (options.method, list(why.shares)) == ("svm", ["svm", "graph"])
    # Nor a network, whose augmentations shift and mirror.
    judge({"m1": first(20), "graph": first(30)})
    assert choose(view, LABELLED, BEST)[0].method == "graph"


def test_an_encoder_that_cannot_be_is_refused(digits: Dataset, tmp_path: Path) -> None:
    """HOG of embeddings is refused in one line."""
    rows = digits.train.images.reshape(-1, 1, 1, 64)
    view = view_of(rows, fitted(rows, tmp_path, "pixels").values())
    with pytest.raises(UsageError, match="no encoder 'hog' for these embeddings; there are pixels"):
        choose(view, choose_labelled(digits, 50), replace(OPTIONS, encoder="hog"))


@pytest.mark.parametrize("asked", [{}, {"encoder": "pca"}])
def test_shares_are_those_of_cross_validation_on_real_images(
    digits: Dataset, view: View, asked: dict[str, str]
) -> None:
    """And the classifier is the one that the chosen method fits directly."""
    labelled = choose_labelled(digits, 100)
    options = Options("auto", **asked)
    _, chosen = resolve(view, labelled, options)
    assert chosen is not None
    assert chosen.shares[chosen.method] >= chosen.shares["graph"] > 0.7
    for name, share in chosen.shares.items():
        own = replace(options, method=name)
        means = []
        for seed in range(MOST_DIVISIONS):
            judged = cross_validate(view, labelled, own, folds_of(labelled, replace(own, seed=seed)))
            means.append(np.mean(judged.predicted == labelled.classes[judged.positions]))
        assert share == pytest.approx(np.mean(means)), name
        assert f"{name} {in_percent(share)} correct" in chosen.reason
    classifier = fit_method(view, labelled, options)
    assert (classifier.method, classifier.chosen) == (chosen.method, chosen)
    alone = fit_method(view, labelled, replace(options, method=chosen.method))
    assert alone.chosen is None
    assert np.array_equal(classifier.decisions(view), alone.decisions(view))


def test_methods_that_do_not_choose_are_resolved_to_themselves(view: View) -> None:
    options = Options("hybrid")
    assert resolve(view, LABELLED, options) == (options, None)


def test_of_too_many_classes_for_svms_the_graph_is_taken(
    view: View, judge: Callable[[Right], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    judge({name: first(40) for name in auto.QUICK})
    monkeypatch.setattr(auto, "MOST_CLASSES", LABELLED.n_classes - 1)
    options, why = choose(view, LABELLED, OPTIONS)
    assert (options.method, why.method, why.shares) == ("graph", "graph", {})
    assert why.reason == "5 classes have too many pairs for the SVMs of other methods"


def test_candidates_are_compared_on_some_of_very_many_images(
    digits: Dataset, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All labelled ones among them, up to a number; the choice is the same in every run."""
    monkeypatch.setattr(auto, "MOST_IMAGES", 400)
    monkeypatch.setattr(auto, "MOST_LABELS", 100)
    labelled = choose_labelled(digits, 300)
    seen: list[tuple[View, Labelled]] = []

    def spy(view: View, labelled: Labelled, options: Options, folds: list[Fold]) -> Judged:
        seen.append((view, labelled))
        return cross_validate(view, labelled, options, folds)

    monkeypatch.setattr(auto, "cross_validate", spy)
    _, one = choose(view, labelled, OPTIONS)
    for some, own in seen:
        assert (len(some), len(own.rows)) == (400, 100)
        assert np.array_equal(np.bincount(own.classes), [10] * 10)
        # The rows still are those of the labels.
        places = [
            np.flatnonzero((digits.train.images == some.pixels[row]).all(axis=(1, 2, 3)))[0]
            for row in own.rows
        ]
        assert np.array_equal(digits.train.labels[places], own.classes)
        assert set(places) <= set(labelled.rows)
    assert one.reason.startswith("100 labelled images")
    assert choose(view, labelled, OPTIONS)[1] == one
    # What is fitted then sees all of them.
    assert len(fit_method(view, labelled, replace(OPTIONS, method=one.method)).predict(view)) == len(view)


@pytest.mark.parametrize("effort", ["quick", "normal", "best"])
@pytest.mark.parametrize("many", [1, 1000])
def test_no_graph_of_very_many_images_is_made_unasked(
    view: View,
    judge: Callable[[Right], list[tuple[str, int]]],
    monkeypatch: pytest.MonkeyPatch,
    effort: Effort,
    many: int,
) -> None:
    """On a CPU, where it would take hours: neither for itself nor as the teacher of a network, whether 8
    labels per class are many or few; the favourite is an SVM then.
    """
    monkeypatch.setattr(graph, "MOST_IN_GRAPH", len(view) - 1)
    monkeypatch.setattr(graph, "MANY", many)
    asked = judge({"m1": first(20), "hybrid": first(20), "graph": first(30)})
    options, chosen = choose(view, LABELLED, replace(OPTIONS, effort=effort))
    assert options.method == chosen.method == "hybrid"
    assert "graph" not in {method for method, _ in asked} | set(chosen.shares)
    assert f"no graph of more than {len(view) - 1:,} images, unless requested" in chosen.reason
    monkeypatch.setattr(graph, "MOST_IN_GRAPH", len(view))
    assert choose(view, LABELLED, OPTIONS)[0].method == "graph"


def test_a_choice_is_a_matter_of_the_seed_and_the_labels_alone(digits: Dataset, view: View) -> None:
    labelled = choose_labelled(digits, 50)
    one: Chosen = choose(view, labelled, OPTIONS)[1]
    fresh = view_of(digits.train.images, view.encoders.values())
    assert choose(fresh, labelled, OPTIONS)[1] == one
    assert choose(view, labelled, replace(OPTIONS, seed=100))[1].shares != one.shares
    # The last seed that there is has divisions, too.
    assert choose(view, labelled, replace(OPTIONS, seed=2**32 - 1))[1].method in auto.QUICK
