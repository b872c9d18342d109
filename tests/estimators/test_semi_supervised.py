"""The estimators of the whole pipeline: scikit-learn's contract, and digits learned from a few labels."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.utils import estimator_checks
from sklearn.utils._testing import assert_allclose_dense_sparse
from sklearn.utils.estimator_checks import parametrize_with_checks

from gpu_ssl import SemiSupervisedClassifier, VAETransformer
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.errors import UsageError
from gpu_ssl.estimators import semi_supervised, vae

EXPECTED = {
    "check_class_weight_classifiers": "it weighs each class on its own; there is 'balanced'",
    "check_classifiers_classes": "its labels are -1 and 1, and -1 stands for no label here",
}

QUICK = SemiSupervisedClassifier(latent_dim=16, mirror=False, epochs=5, random_state=0, device="cpu")


@parametrize_with_checks(
    [
        VAETransformer(latent_dim=2, epochs=2, random_state=0, device="cpu"),
        SemiSupervisedClassifier(latent_dim=8, epochs=2, random_state=0, device="cpu"),
    ],
    expected_failed_checks=lambda estimator: (
        EXPECTED if isinstance(estimator, SemiSupervisedClassifier) else {}
    ),
)
def test_scikit_learns_own_checks_of_an_estimator(estimator, check, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    if check.func.__name__ == "check_methods_sample_order_invariance":
        # It expects the digits of float64; the last of float32 depend on where in a matrix product a row is.
        close = partial(assert_allclose_dense_sparse, rtol=1e-5)
        monkeypatch.setattr(estimator_checks, "assert_allclose_dense_sparse", close)
    check(estimator)


def few(digits: Dataset, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    labels = digits.train.labels.copy()
    labels[n:] = -1
    return digits.train.images[:, 0], labels


@pytest.fixture(scope="module")
def fitted(digits: Dataset) -> SemiSupervisedClassifier:
    return clone(QUICK).fit(*few(digits))


def test_digits_are_learned_from_200_labels(fitted: SemiSupervisedClassifier, digits: Dataset) -> None:
    X, y = digits.test.images[:, 0], digits.test.labels
    assert fitted.score(X, y) > 0.85
    probabilities = fitted.predict_proba(X)
    assert np.array_equal(fitted.classes_[probabilities.argmax(1)], fitted.predict(X))
    assert fitted.record_.estimate is not None
    assert fitted.record_.estimate.of == 200
    assert fitted.ood_score(255 - X).mean() > fitted.ood_score(X).mean()


@pytest.mark.parametrize("kind", [str, object])
def test_labels_may_be_words_and_an_empty_one_is_none(
    digits: Dataset, kind: type, fitted: SemiSupervisedClassifier
) -> None:
    X, y = few(digits)
    words = np.array(["" if label == -1 else f"digit {label}" for label in y], dtype=kind)
    again = clone(QUICK).fit(X, words)
    assert again.classes_.tolist() == [f"digit {k}" for k in range(10)]
    expected = np.array([f"digit {k}" for k in fitted.predict(X[:50])])
    assert np.array_equal(again.predict(X[:50]), expected)


def test_every_layout_gives_the_same(fitted: SemiSupervisedClassifier, digits: Dataset) -> None:
    X, y = few(digits)
    rows = clone(QUICK).set_params(image_shape=(1, 8, 8)).fit(X.reshape(len(X), -1), y)
    last = clone(QUICK).fit(X[..., None], y)
    expected = fitted.predict_proba(X[:20])
    assert np.array_equal(rows.predict_proba(X[:20].reshape(20, -1)), expected)
    assert np.array_equal(last.predict_proba(X[:20, ..., None]), expected)


def test_it_works_in_what_scikit_learn_builds(digits: Dataset) -> None:
    rows = digits.train.images[:300].reshape(300, -1) / 255
    labels = digits.train.labels[:300]
    quick = clone(QUICK).set_params(image_shape=(1, 8, 8), epochs=1, effort="quick")
    search = GridSearchCV(quick, {"C": [1.0, 5.0]}, cv=2).fit(rows, labels)
    assert search.best_params_["C"] in (1.0, 5.0)
    calibrated = CalibratedClassifierCV(quick, cv=2).fit(rows, labels)
    assert calibrated.predict_proba(rows[:5]).shape == (5, 10)
    partly = np.where(np.arange(300) < 100, labels, -1)
    assert SelfTrainingClassifier(quick, max_iter=1).fit(rows, partly).predict(rows[:5]).shape == (5,)
    vae = VAETransformer(latent_dim=8, epochs=2, mirror=False, image_shape=(1, 8, 8), random_state=0)
    pipeline = make_pipeline(vae, LogisticRegression(max_iter=1000)).fit(rows, labels)
    assert pipeline.score(rows, labels) > 0.5
    pandas_like = vae.set_output(transform="default").fit(rows)
    assert pandas_like.get_feature_names_out().tolist() == [f"vaetransformer{i}" for i in range(8)]


def test_latents_are_drawn_as_pictures_of_the_same_kind(digits: Dataset) -> None:
    X = digits.train.images[:, 0] / 255.0
    vae = VAETransformer(latent_dim=16, mirror=False, random_state=0, device="cpu").fit(X)
    latents = vae.transform(X)
    drawn = vae.inverse_transform(latents)
    assert drawn.shape == X.shape
    assert (drawn.min() >= 0, drawn.max() <= 1) == (True, True)
    # Of which image it is can be seen: bright where that is bright.
    similarity = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(X[:100], drawn[:100], strict=True)]
    assert np.mean(similarity) > 0.7


@pytest.mark.parametrize(
    ("changes", "method", "encoder"),
    [
        ({"method": "m1"}, "m1", "vae"),
        ({"method": "graph", "encoder": "hog"}, "graph", "hog"),
        ({"method": "svm", "encoder": "vae+pixels"}, "svm", "vae+pixels"),
        ({"encoder": "hog", "effort": "quick"}, None, "hog"),
    ],
)
def test_method_and_encoder_are_parameters(
    digits: Dataset, changes: dict[str, str], method: str | None, encoder: str
) -> None:
    asked = clone(QUICK).set_params(epochs=1, **changes)
    assert clone(asked).get_params() == asked.get_params()
    assert asked.get_params().items() >= changes.items()
    X, y = few(digits, 100)
    asked.fit(X[:300], y[:300])
    record = asked.record_
    assert method in (record.chosen.method, None)
    assert (record.chosen.reason == "") == (method is not None)
    assert record.encoder["name"] == encoder
    assert (record.training is not None) == ("vae" in encoder)
    features = asked.transform(X[:5])
    assert features.dtype == np.float32
    assert features.shape[1] == len(asked.get_feature_names_out())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "zzz"}, "`method` 'zzz': there is no such method; allowed are m1, hybrid, svm, graph"),
        ({"encoder": "zzz"}, "`encoder` 'zzz': there is no such encoder; allowed are vae, hog, pixels"),
        ({"encoder": "hog+hog"}, "`encoder` 'hog[+]hog': the encoder 'hog[+]hog' repeats a part"),
        ({"encoder": "network"}, "'network' is internal to methods and cannot be selected"),
        ({"encoder": ""}, "`encoder` ''"),
        ({"effort": "zzz"}, "`effort` 'zzz': Input should be 'auto', 'quick', 'normal' or 'best'"),
        ({"method": "m1", "encoder": "hog"}, "m1 works on vae, not on `encoder=hog`"),
        ({"network": "zzz"}, "there is no network 'zzz'; allowed are conv, mlp"),
        ({"C": -1.0}, "`C` -1.0"),
        ({"device": "tpu"}, "`device` 'tpu'"),
    ],
)
def test_a_parameter_that_cannot_be_is_named(digits: Dataset, changes: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        clone(QUICK).set_params(**changes).fit(*few(digits))
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda X, y: (X, np.full(len(y), -1)), "contain no class"),
        (lambda X, y: (X, np.where(y == 3, 3, -1)), "contain 1 class"),
        (lambda X, y: (X[:, :5, :, None, None], y), "shape"),
        (lambda X, y: (X[:5], y[:5]), "too few"),
        (lambda X, y: (X, y[:-1]), "samples"),
    ],
)
def test_what_cannot_be_learned_is_refused(digits: Dataset, change, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=words):
        clone(QUICK).fit(*change(*few(digits)))


def test_labels_that_look_wrong_are_known_by_their_position(digits: Dataset, tmp_path: Path) -> None:
    X, y = few(digits, 300)
    y[7] = (y[7] + 5) % 10
    model = clone(QUICK).set_params(method="svm", encoder="pixels").fit(X, y)
    assert model.record_.suspects == len(model.suspects_) >= 1
    found = {suspect.path: suspect for suspect in model.suspects_}
    assert (found["7"].label, found["7"].suggested) == (str(y[7]), str(digits.train.labels[7]))
    model.save(tmp_path / "model")
    assert "\n7," in (tmp_path / "model" / "suspect-labels.csv").read_text()
    assert SemiSupervisedClassifier.load(tmp_path / "model").suspects_ == ()


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError])
def test_a_refit_that_does_not_end_leaves_the_model(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch, failure: type[BaseException]
) -> None:
    """Otherwise the old network would answer with the new classes, and be saved with them."""

    def fails(*_: object, **__: object) -> None:
        raise failure

    X, y = few(digits)
    model = clone(QUICK).set_params(method="svm", encoder="pixels").fit(X, y)
    transformer = VAETransformer(latent_dim=2, epochs=1, random_state=0, device="cpu").fit(X)
    before, state, of_transformer = model.predict(X), dict(vars(model)), dict(vars(transformer))
    monkeypatch.setattr(semi_supervised, "fit", fails)
    monkeypatch.setattr(vae.vae, "fit", fails)
    with pytest.raises(failure):
        model.fit(X[:, :6], np.where(y < 0, -1, y + 100))
    with pytest.raises(failure):
        transformer.fit(X[:, :6])
    assert vars(model) == state
    assert vars(transformer) == of_transformer
    assert np.array_equal(model.predict(X), before)
    fresh = clone(QUICK)
    with pytest.raises(failure):
        fresh.fit(X, y)
    with pytest.raises(NotFittedError):
        fresh.predict(X)
