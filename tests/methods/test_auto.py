"""The choice between M1 and the network, from the labelled images alone."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gpu_ssl.data.splits import FOLDS, stratified_folds
from gpu_ssl.methods.auto import Auto
from gpu_ssl.methods.evaluation import Answer, Cell

CLASSES = np.repeat(np.arange(5), 8)


def make_auto(monkeypatch: pytest.MonkeyPatch, m1_right: int, graph_right: int) -> Auto:
    """Of 40 labels M1 finds the first so many, and the graph the last."""
    auto = Auto(SimpleNamespace(features=SimpleNamespace(method="m1")), SimpleNamespace(), 0)  # type: ignore[arg-type]
    monkeypatch.setattr(auto, "check_m1", lambda *_: np.arange(40) < m1_right)
    monkeypatch.setattr(auto, "check_graph", lambda *_: np.arange(40) >= 40 - graph_right)
    return auto


@pytest.mark.parametrize(
    ("m1_right", "graph_right", "chosen"),
    [(20, 30, "consistency"), (30, 30, "consistency"), (30, 28, "consistency"), (36, 10, "m1")],
)
def test_m1_is_taken_where_the_teacher_is_clearly_worse(
    monkeypatch: pytest.MonkeyPatch, m1_right: int, graph_right: int, chosen: str
) -> None:
    method, reason = make_auto(monkeypatch, m1_right, graph_right).choose(np.arange(40), CLASSES)
    assert method.name == chosen
    assert f"the graph finds {graph_right}, M1 {m1_right}" in reason


def test_many_labels_or_a_single_one_need_no_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    auto = make_auto(monkeypatch, 40, 0)
    many = np.repeat(np.arange(5), 60)
    assert auto.choose(np.arange(300), many)[0].name == "consistency"
    single = np.array([0, 0, 0, 1])
    assert auto.choose(np.arange(4), single)[1] == "a class has a single label, too few to compare"


def test_what_was_chosen_answers_and_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    auto = make_auto(monkeypatch, 36, 10)
    asked: list[Any] = []

    def predict(*arguments: Any) -> Answer:
        asked.append(arguments)
        return Answer(np.array([3]))

    monkeypatch.setattr(auto.m1, "predict", predict)
    advance = object()
    answer = auto.predict(Cell(40, 1), np.arange(40), CLASSES, advance)  # type: ignore[arg-type]
    ((cell, labelled, classes, told),) = asked
    assert (cell, told) == (Cell(40, 1), advance)
    assert np.array_equal(labelled, np.arange(40))
    assert np.array_equal(classes, CLASSES)
    assert np.array_equal(answer.classes, [3])
    assert answer.reason.startswith("m1: the teacher misleads (40 labels")


@pytest.mark.parametrize("sizes", [(2, 9), (5, 5, 5), (30, 7), (1, 4)])
def test_every_fold_learns_from_every_class_and_each_label_is_checked_once(sizes: tuple[int, ...]) -> None:
    classes: NDArray[np.int64] = np.repeat(np.arange(len(sizes)), sizes)
    folds = stratified_folds(classes, 0)
    if min(sizes) < 2:
        assert folds == []
        return
    assert len(folds) == min(FOLDS, *sizes)
    assert sorted(np.concatenate([check for _, check in folds])) == list(range(len(classes)))
    for learn, check in folds:
        assert set(classes[learn]) == set(range(len(sizes)))
        assert not set(learn) & set(check)
