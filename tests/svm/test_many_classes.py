"""Scores of many classes: sums of margins, votes among the candidates, on any device."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gpu_ssl.svm import many_classes
from gpu_ssl.svm.kernels import Kernel
from gpu_ssl.svm.many_classes import CANDIDATES, SHARPNESS, ClassScores, most_likely_first
from gpu_ssl.svm.model import OneVsOneModel
from gpu_ssl.svm.one_vs_one import fit_one_vs_one
from gpu_ssl.svm.pairs import Penalty
from tests.svm import clouds, fit
from tests.svm.on_device import DEVICE, DeviceBackend, numbers_refused, to_device, to_host


def many(n_classes: int, seed: int, per_class: int = 4) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Overlapping classes, each of `per_class` points."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(n_classes), per_class)
    return rng.normal(size=(n_classes, 8))[labels] + rng.normal(size=(len(labels), 8)), labels


def all_margins(model: OneVsOneModel, points: NDArray[np.float64]) -> NDArray[np.float64]:
    return model.margin_rule()(model.kernel.against(model.support_vectors)(points))  # type: ignore[no-any-return]


@settings(max_examples=20, deadline=None)
@given(n_classes=st.integers(CANDIDATES + 1, 90), seed=st.integers(0, 10**6))
def test_the_largest_score_is_that_of_most_votes_and_the_others_are_sums(n_classes: int, seed: int) -> None:
    points, labels = many(n_classes, seed)
    model = fit(points, labels, Kernel(gamma=0.05), C=5)
    new = many(n_classes, seed + 1)[0]
    scores = ClassScores(model)(new)
    sums = SHARPNESS / (n_classes - 1) * all_margins(model, new).sum(axis=1)
    np.testing.assert_allclose(np.sort(scores), np.sort(sums), atol=1e-9)
    voted = model.predict(new)
    best = np.sort(np.argsort(-sums, axis=1)[:, :CANDIDATES], axis=1)
    assert np.mean((best == voted[:, None]).any(axis=1)) > 0.99
    assert np.mean(scores.argmax(axis=1) == voted) > 0.97
    same = scores.argmax(axis=1) == voted
    np.testing.assert_allclose(scores[same], most_likely_first(sums, voted)[same], atol=1e-9)


def test_votes_are_counted_among_the_candidates_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted class by class from the margins, which shares no code with the gathering of candidates."""
    monkeypatch.setattr(many_classes, "CANDIDATES", 5)
    points, labels = many(40, 3)
    model = fit(points, labels, Kernel(gamma=0.05), C=5)
    margins = all_margins(model, points)
    scores = ClassScores(model)(points)
    for i, row in enumerate(margins):
        candidates = np.sort(np.argsort(-row.sum(axis=0))[:5])
        wins = (row[np.ix_(candidates, candidates)] > 0).sum(axis=0)
        assert scores[i].argmax() == candidates[wins.argmax()]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("seed", range(3))
def test_classes_of_very_different_sizes_are_scored_too(dtype: str, seed: int) -> None:
    """One class has so many support vectors that the pairs of all classes are less work."""
    points, labels = clouds(400, 40, 6, seed)
    points = points.astype(dtype)
    model = fit(points, labels, Kernel(gamma=0.1), C=5)
    scores = ClassScores(model)
    assert scores.width == 40**2 < CANDIDATES**2 * max(model.n_support)
    found = scores(points)
    assert found.dtype == points.dtype
    assert np.array_equal(found.argmax(axis=1), model.predict(points))


@pytest.mark.parametrize("per_class", [1, 4])
def test_scoring_stays_on_the_device(per_class: int) -> None:
    points, labels = many(50, 0, per_class)
    expected = ClassScores(fit(points, labels, Kernel(gamma=0.05)))(points)
    with numbers_refused():
        model = fit_one_vs_one(
            DeviceBackend(), to_device(points), labels, 50, Penalty(1.0, Kernel(gamma=0.05))
        )
        found = ClassScores(model)(to_device(points))
    assert found.device == DEVICE
    np.testing.assert_allclose(to_host(found), expected, atol=1e-12)


def test_scoring_needs_no_value_of_a_torch_tensor_and_gives_what_numpy_gives() -> None:
    points, labels = many(60, 1)
    fitted = fit(points, labels, Kernel(gamma=0.05))
    names = ("support", "support_vectors", "duals", "intercepts")
    arrays = {name: torch.from_numpy(getattr(fitted, name)) for name in names}
    model = OneVsOneModel(**arrays, kernel=fitted.kernel, n_support=fitted.n_support)
    found = ClassScores(model)(torch.from_numpy(points))
    np.testing.assert_allclose(found.numpy(), ClassScores(fitted)(points), atol=1e-12)
    meta = {name: tensor.to("meta") for name, tensor in arrays.items()}
    nowhere = OneVsOneModel(**meta, kernel=fitted.kernel, n_support=fitted.n_support)
    assert ClassScores(nowhere)(torch.from_numpy(points).to("meta")).shape == (240, 60)


def test_a_model_takes_no_memory_for_pairs_times_support_vectors() -> None:
    points, labels = many(300, 0, 2)
    model = fit(points, labels, Kernel(gamma=0.05))
    assert model.duals.shape == (600, 300)
    assert model.intercepts.shape == (300 * 299 // 2,)
