"""The arrays decide as scikit-learn's SVC does: decision values in both shapes, votes, ties, blocks."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.svm import SVC

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.svm import model as model_module
from gpu_ssl.svm.kernels import Kernel
from gpu_ssl.svm.model import OneVsOneModel
from tests.svm import clouds, fit, kernels

pytestmark = pytest.mark.filterwarnings("ignore:The number of unique classes")


def scikit_learn(kernel: Kernel, C: float = 1.0, **changes: object) -> SVC:
    return SVC(
        C=C, kernel=kernel.name, gamma=kernel.gamma, degree=kernel.degree, coef0=kernel.coef0, **changes
    )


@settings(max_examples=60)
@given(
    kernel=kernels,
    n_classes=st.integers(2, 26),
    n_features=st.integers(1, 9),
    n=st.integers(20, 120),
    C=st.sampled_from([0.1, 1.0, 10.0]),
    seed=st.integers(0, 10**6),
)
def test_decisions_and_votes_are_those_of_scikit_learn(
    kernel: Kernel, n_classes: int, n_features: int, n: int, C: float, seed: int
) -> None:
    points, labels = clouds(n, n_classes, n_features, seed)
    new = np.random.default_rng(seed).normal(size=(300, n_features)) * 2
    theirs = scikit_learn(kernel, C, decision_function_shape="ovo").fit(points, labels)
    ours = fit(points, labels, kernel, C)
    expected = theirs.decision_function(new)
    scale = 1 + abs(expected).max()
    np.testing.assert_allclose(ours.decision_function(new, "ovo"), expected, atol=1e-9 * scale)
    clear = (abs(expected.reshape(len(new), -1)) > 1e-8 * scale).all(axis=1)
    assume(clear.any())
    assert np.array_equal(ours.predict(new)[clear], theirs.predict(new)[clear])
    theirs.set_params(decision_function_shape="ovr")
    expected = theirs.decision_function(new)
    np.testing.assert_allclose(ours.decision_function(new)[clear], expected[clear], atol=1e-8 * scale)
    theirs.set_params(break_ties=True)
    breaks = (np.diff(np.sort(expected, axis=1)[:, -2:], axis=1)[:, 0] > 1e-8) if n_classes > 2 else clear
    sure = clear & breaks
    assert np.array_equal(ours.predict(new, break_ties=True)[sure], theirs.predict(new)[sure])


@given(seed=st.integers(0, 10**6), n_classes=st.integers(2, 6))
def test_exact_zeros_and_ties_go_where_scikit_learn_lets_them_go(seed: int, n_classes: int) -> None:
    # A point at each corner of a grid and a linear kernel: many decision values are exactly 0.
    rng = np.random.default_rng(seed)
    points = rng.integers(-2, 3, size=(4 * n_classes, 2)).astype(float)
    labels = np.arange(len(points)) % n_classes
    kernel = Kernel("linear")
    theirs = scikit_learn(kernel, decision_function_shape="ovo").fit(points, labels)
    ours = fit(points, labels, kernel)
    new = np.stack(np.meshgrid(*[np.arange(-2, 3.0)] * 2), axis=-1).reshape(-1, 2)
    expected = theirs.decision_function(new).reshape(len(new), -1)
    decisions = ours.decision_function(new, "ovo").reshape(len(new), -1)
    # Zeros that rounding shifted to either side are no matter of the rule.
    same = ((np.sign(decisions) == np.sign(expected)) & (abs(expected) < 1e6)).all(axis=1)
    assert np.array_equal(ours.predict(new)[same], theirs.predict(new)[same])
    if n_classes > 2:
        theirs.set_params(decision_function_shape="ovr")
        np.testing.assert_allclose(
            ours.decision_function(new)[same], theirs.decision_function(new)[same], atol=1e-9
        )


def constant(intercepts: list[float], n_classes: int) -> OneVsOneModel:
    """Make a model whose decision values are `intercepts` everywhere."""
    return OneVsOneModel(
        support=np.zeros(1, np.int64),
        support_vectors=np.zeros((1, 1)),
        duals=np.zeros((1, n_classes)),
        intercepts=np.array(intercepts),
        kernel=Kernel(),
        n_support=(1,) + (0,) * (n_classes - 1),
    )


def test_of_equal_votes_the_first_class_wins_or_the_most_confident() -> None:
    # Three classes in a ring: 1 beats 0, 2 beats 1, 0 beats 2, so one vote each; 2 is surest.
    ring = constant([1.0, -1.0, 3.0], 3)
    assert ring.predict(np.zeros((4, 1))).tolist() == [0, 0, 0, 0]
    assert ring.predict(np.zeros((4, 1)), break_ties=True).tolist() == [2, 2, 2, 2]


def test_a_decision_value_of_zero_votes_for_the_second_class_and_counts_for_the_first() -> None:
    """LIBSVM's vote asks for more than 0, scikit-learn's ovr decision function for less."""
    assert constant([0.0], 2).predict(np.zeros((1, 1))).tolist() == [1]
    model = constant([0.0, 0.0, 0.0], 3)
    assert model.predict(np.zeros((1, 1))).tolist() == [2]
    assert model.decision_function(np.zeros((1, 1))).tolist() == [[2, 1, 0]]


def test_blocks_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch, digits: Dataset) -> None:
    points = digits.train.images.reshape(len(digits.train), -1) / 255
    model = fit(points, digits.train.labels, Kernel(gamma=0.1))
    whole = model.pair_decisions(points), model.decision_function(points), model.predict(points)
    monkeypatch.setattr(model_module, "HOST_BLOCK_BYTES", 100_000)
    np.testing.assert_allclose(model.pair_decisions(points), whole[0], rtol=0, atol=1e-10)
    np.testing.assert_allclose(model.decision_function(points), whole[1], rtol=0, atol=1e-10)
    assert np.array_equal(model.predict(points), whole[2])


@pytest.mark.parametrize(
    ("n_points", "n_classes", "n_features"),
    [(400, 5, 6), (20, 2, 300), (60, 20, 4)],
    ids=["many support vectors", "many features", "many pairs"],
)
def test_scoring_more_points_takes_no_more_memory(
    monkeypatch: pytest.MonkeyPatch, n_points: int, n_classes: int, n_features: int
) -> None:
    budget = 2**20
    monkeypatch.setattr(model_module, "HOST_BLOCK_BYTES", budget)
    points, labels = clouds(n_points, n_classes, n_features, seed=0)
    model = fit(points, labels, Kernel(gamma=0.3))

    def peak(n: int) -> int:
        new = np.tile(points, (n // len(points), 1))
        tracemalloc.start()
        result = model.predict(new)
        peak = tracemalloc.get_traced_memory()[1] - result.nbytes
        tracemalloc.stop()
        return peak

    few, many = peak(20_000), peak(80_000)
    assert many < 1.1 * few
    assert many < 8 * budget


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch_tensors_are_scored_as_numpy_arrays_are(digits: Dataset, dtype: torch.dtype) -> None:
    points = digits.train.images.reshape(len(digits.train), -1) / 255
    model = fit(points, digits.train.labels, Kernel(gamma=0.1))
    names = ("support", "support_vectors", "duals", "intercepts")
    arrays = {name: torch.from_numpy(getattr(model, name)) for name in names}
    arrays = {name: a.to(dtype) if a.is_floating_point() else a for name, a in arrays.items()}
    same = OneVsOneModel(**arrays, kernel=model.kernel, n_support=model.n_support)
    predicted = same.predict(torch.from_numpy(points).to(dtype))
    assert predicted.dtype == torch.int64
    assert np.array_equal(predicted.numpy(), model.predict(points))


@pytest.mark.parametrize("name", ["rbf", "linear", "poly", "sigmoid"])
def test_points_of_another_precision_are_scored(digits: Dataset, name: str) -> None:
    points = digits.train.images.reshape(len(digits.train), -1) / 255
    model = fit(points, digits.train.labels, Kernel(name=name, gamma=0.1))
    names = ("support", "support_vectors", "duals", "intercepts")
    arrays = {name: torch.from_numpy(getattr(model, name)) for name in names}
    same = OneVsOneModel(**arrays, kernel=model.kernel, n_support=model.n_support)
    found = same.predict(torch.from_numpy(points.astype(np.float32)))
    assert np.array_equal(found.numpy(), model.predict(points.astype(np.float32)))


def test_float32_scoring_agrees_on_real_images(digits: Dataset) -> None:
    train, test = (part.images.reshape(len(part), -1) / 255 for part in (digits.train, digits.test))
    theirs = SVC(C=5, gamma=0.05).fit(train, digits.train.labels)
    ours = fit(train.astype(np.float32), digits.train.labels, Kernel(gamma=0.05), C=5)
    assert ours.support_vectors.dtype == ours.duals.dtype == np.float32
    assert np.array_equal(ours.predict(test.astype(np.float32)), theirs.predict(test))
