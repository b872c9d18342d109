"""The arrays decide as scikit-learn's SVC does, whatever the classes, their sizes and the points."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.svm import SVC

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.svm import model as model_module
from gpu_ssl.svm._sklearn import SklearnBackend
from gpu_ssl.svm.backend import resolve_backend, scale_gamma
from gpu_ssl.svm.model import OneVsOneModel


@settings(max_examples=40)
@given(
    n_classes=st.integers(2, 12),
    n_features=st.integers(1, 9),
    n=st.integers(30, 120),
    C=st.sampled_from([0.1, 1.0, 10.0]),
    seed=st.integers(0, 10**6),
)
def test_decisions_and_votes_are_those_of_scikit_learn(
    n_classes: int, n_features: int, n: int, C: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_classes, n_features))
    # Classes of very different sizes, each there at least once.
    labels = np.concatenate(
        [np.arange(n_classes), rng.choice(n_classes, n, p=rng.dirichlet([0.5] * n_classes))]
    )
    points = centres[labels] + rng.normal(size=(len(labels), n_features))
    new = rng.normal(size=(500, n_features)) * 2
    theirs = SVC(C=C, gamma="scale", decision_function_shape="ovo").fit(points, labels)
    ours = SklearnBackend().fit(points, labels, n_classes, C, scale_gamma(points))
    expected = theirs.decision_function(new).reshape(len(new), -1)
    sign = 1 if n_classes == 2 else -1
    decisions = ours.pair_decisions(new)
    np.testing.assert_allclose(sign * decisions, expected, atol=1e-9)
    clear = (abs(expected) > 1e-9).all(axis=1)
    assume(clear.any())
    assert np.array_equal(ours.predict(new)[clear], theirs.predict(new)[clear])


def test_float32_scoring_agrees_on_real_images(digits: Dataset) -> None:
    train, test = (part.images.reshape(len(part), -1) / 255 for part in (digits.train, digits.test))
    theirs = SVC(C=5).fit(train, digits.train.labels)
    ours = SklearnBackend().fit(
        train.astype(np.float32), digits.train.labels, 10, C=5, gamma=scale_gamma(train)
    )
    assert ours.support_vectors.dtype == ours.coefficients.dtype == np.float32
    assert np.array_equal(ours.predict(test.astype(np.float32)), theirs.predict(test))


def test_blocks_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch, digits: Dataset) -> None:
    points = digits.train.images.reshape(len(digits.train), -1) / 255
    model = SklearnBackend().fit(points, digits.train.labels, 10, C=1, gamma=0.1)
    whole = model.pair_decisions(points)
    monkeypatch.setattr(model_module, "BLOCK_BYTES", 100_000)
    np.testing.assert_allclose(model.pair_decisions(points), whole, rtol=0, atol=1e-10)


def test_points_far_from_the_origin_lose_no_precision() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    points = rng.normal(size=(90, 4)) + labels[:, None]
    far = (points + 10_000).astype(np.float32)
    near = SklearnBackend().fit(points.astype(np.float32), labels, 3, C=1, gamma=0.25)
    moved = SklearnBackend().fit(far, labels, 3, C=1, gamma=0.25)
    agreement = np.mean(near.predict(points.astype(np.float32)) == moved.predict(far))
    assert agreement > 0.98


def test_of_equal_votes_the_first_class_wins() -> None:
    # Three classes in a ring: 1 beats 0, 2 beats 1, 0 beats 2, so one vote each.
    ring = OneVsOneModel(
        support_vectors=np.zeros((1, 1)),
        coefficients=np.zeros((1, 3)),
        intercepts=np.array([1.0, -1.0, 1.0]),
        gamma=1.0,
        n_classes=3,
    )
    assert ring.predict(np.zeros((4, 1))).tolist() == [0, 0, 0, 0]


def test_constant_points_have_a_gamma() -> None:
    assert scale_gamma(np.ones((5, 3))) == 1.0


def test_gamma_is_that_of_scikit_learn(digits: Dataset) -> None:
    points = digits.train.images.reshape(len(digits.train), -1) / 255
    assert scale_gamma(points) == pytest.approx(SVC().fit(points, digits.train.labels)._gamma)


def test_a_class_without_a_point_is_refused() -> None:
    with pytest.raises(ValueError, match="every class"):
        SklearnBackend().fit(np.zeros((4, 2)), np.array([0, 0, 2, 2]), 3, C=1, gamma=1)


def test_the_choice_of_backend_says_why() -> None:
    from gpu_ssl.report.records import Choice

    cpu = Choice(requested="auto", used="cpu", reason="no driver")
    assert resolve_backend("auto", cpu)[1].model_dump() == {
        "requested": "auto",
        "used": "sklearn",
        "reason": "the latents are on the CPU",
    }
