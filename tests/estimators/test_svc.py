"""OneVsOneSVC is a drop-in for scikit-learn's SVC: its contract, its numbers, its parameters."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from gpu_ssl import OneVsOneSVC
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.errors import DeviceError, UsageError
from gpu_ssl.estimators import svc as module
from gpu_ssl.records import Choice
from gpu_ssl.svm.kernels import Kernel
from tests.svm import clouds, kernels
from tests.svm.on_device import DEVICE, DeviceBackend, StrictArray, to_device, to_host

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")


# scikit-learn's SVC does not pass this one either: LIBSVM's tolerance sees the copies.
FAILED_BY_SVC_TOO = {"check_sample_weight_equivalence_on_dense_data": "a weight of 2 is not a copy to LIBSVM"}


@parametrize_with_checks(
    [OneVsOneSVC(device="cpu"), OneVsOneSVC(kernel="linear", device="cpu")],
    expected_failed_checks=lambda estimator: FAILED_BY_SVC_TOO,
)
def test_scikit_learns_own_checks_of_an_estimator(estimator, check) -> None:  # type: ignore[no-untyped-def]
    check(estimator)


@settings(max_examples=40)
@given(
    kernel=kernels,
    gamma=st.sampled_from(["scale", "auto", 0.3]),
    n_classes=st.integers(2, 7),
    class_weight=st.sampled_from([None, "balanced", {"b": 3.0}]),
    shape=st.sampled_from(["ovo", "ovr"]),
    weighted=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_it_gives_what_svc_gives(
    kernel: Kernel,
    gamma: str,
    n_classes: int,
    class_weight: dict[str, float] | str | None,
    shape: str,
    weighted: bool,
    seed: int,
) -> None:
    points, codes = clouds(90, n_classes, 4, seed)
    labels = np.array(list("abcdefg"))[codes]
    weights = np.random.default_rng(seed).uniform(0.2, 2, len(labels)) if weighted else None
    parameters = {
        "C": 2.0,
        "kernel": kernel.name,
        "gamma": gamma,
        "degree": kernel.degree,
        "coef0": kernel.coef0,
        "class_weight": class_weight,
        "decision_function_shape": shape,
    }
    theirs = SVC(**parameters).fit(points, labels, weights)
    ours = OneVsOneSVC(**parameters, device="cpu").fit(points, labels, weights)
    assert ours.classes_.tolist() == theirs.classes_.tolist()
    assert ours.gamma_ == pytest.approx(theirs._gamma)
    np.testing.assert_allclose(ours.class_weight_, theirs.class_weight_)
    new = clouds(200, n_classes, 4, seed + 1)[0]
    expected = theirs.decision_function(new)
    close = np.isclose(ours.decision_function(new), expected, rtol=1e-6, atol=1e-6 * abs(expected).max())
    # A value within rounding of 0 may vote either way.
    assert close.reshape(len(new), -1).all(axis=1).mean() > 0.98
    assert np.mean(ours.predict(new) == theirs.predict(new)) > 0.98


def test_attributes_are_those_of_svc(digits: Dataset) -> None:
    points = digits.train.images.reshape(len(digits.train), -1) / 255
    theirs = SVC(C=5).fit(points, digits.train.labels)
    ours = OneVsOneSVC(C=5, device="cpu").fit(points, digits.train.labels)
    for name in ("support_", "n_support_", "support_vectors_", "classes_", "dual_coef_", "intercept_"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
    assert ours.score(points, digits.train.labels) == theirs.score(points, digits.train.labels)
    assert (ours.device_.used, ours.backend_.used) == ("cpu", "sklearn")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch_in_torch_out(digits: Dataset, dtype: torch.dtype) -> None:
    points = torch.from_numpy(digits.train.images.reshape(len(digits.train), -1) / 255).to(dtype)
    labels = torch.from_numpy(digits.train.labels)
    svc = OneVsOneSVC(device="cpu").fit(points.requires_grad_(), labels)
    predicted = svc.predict(points)
    assert isinstance(predicted, torch.Tensor)
    assert predicted.dtype == torch.int64
    decisions = svc.decision_function(points)
    assert isinstance(decisions, torch.Tensor)
    assert decisions.dtype == dtype
    expected = SVC().fit(points.detach().numpy(), labels.numpy())
    assert np.mean(predicted.numpy() == expected.predict(points.detach().numpy())) > 0.999
    assert svc.score(points, labels) == pytest.approx((predicted == labels).float().mean().item())


def test_it_takes_part_in_a_grid_search(digits: Dataset) -> None:
    points = digits.train.images[:300].reshape(300, -1) / 255
    search = GridSearchCV(OneVsOneSVC(device="cpu"), {"C": [0.001, 5.0]}, cv=3)
    assert search.fit(points, digits.train.labels[:300]).best_params_ == {"C": 5.0}
    assert clone(search.best_estimator_).get_params()["C"] == 5.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"C": 0}, "C=0: expected a finite number > 0"),
        ({"C": float("nan")}, "C=nan"),
        ({"C": True}, "C=True"),
        ({"tol": -1.0}, "tol=-1.0"),
        ({"gamma": "wide"}, "gamma='wide': expected 'scale', 'auto' or a finite number >= 0"),
        ({"degree": 2.5}, "degree=2.5: expected a whole number"),
        ({"kernel": "precomputed"}, "kernel='precomputed': expected one of rbf, linear, poly, sigmoid"),
        ({"decision_function_shape": "ovx"}, "decision_function_shape='ovx'"),
        ({"device": "cuda:1"}, "first visible GPU"),
    ],
)
def test_a_parameter_that_cannot_be_is_named(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        OneVsOneSVC(**changes).fit(np.eye(4), [0, 0, 1, 1])
    assert isinstance(caught.value, ValueError)


def test_a_parameter_that_is_changed_after_the_fit_is_checked_too() -> None:
    svc = OneVsOneSVC(device="cpu").fit(np.eye(4), [0, 0, 1, 1])
    with pytest.raises(UsageError, match="break_ties"):
        svc.set_params(break_ties=True, decision_function_shape="ovo").predict(np.eye(4))


class TestOnADevice:
    """What happens to arrays on a GPU, with arrays that are not on the CPU and raise when copied to it."""

    @pytest.fixture(autouse=True)
    def gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cuda = Choice(requested="auto", used="cuda:0", reason="test")
        cuml = Choice(requested="auto", used="cuml", reason="test")
        monkeypatch.setattr(module, "resolve_device", lambda requested: cuda)
        monkeypatch.setattr(module, "resolve_backend", lambda *_: (DeviceBackend(), cuml))
        monkeypatch.setattr(module, "is_cupy_array", lambda array: isinstance(array, StrictArray))

    @pytest.mark.parametrize("as_list", [False, True])
    @pytest.mark.parametrize("kernel", ["rbf", "poly"])
    def test_points_stay_there_and_answers_come_from_there(self, as_list: bool, kernel: str) -> None:
        points, labels = clouds(80, 4, 3, seed=0)
        on_device = to_device(points)
        given = labels.tolist() if as_list else labels
        svc = OneVsOneSVC(kernel=kernel).fit(on_device, given)
        expected = SVC(kernel=kernel).fit(points, labels)
        predicted = svc.predict(on_device)
        assert predicted.device == DEVICE
        assert np.array_equal(to_host(predicted), expected.predict(points))
        np.testing.assert_allclose(
            to_host(svc.decision_function(on_device)), expected.decision_function(points), atol=1e-9
        )
        assert np.array_equal(svc.support_, expected.support_)
        np.testing.assert_allclose(svc.dual_coef_, expected.dual_coef_, atol=1e-12)

    def test_named_classes_come_as_numpy(self) -> None:
        points, labels = clouds(80, 3, 3, seed=0)
        names = np.array(["ant", "bee", "cat"])[labels]
        predicted = OneVsOneSVC().fit(to_device(points), names).predict(to_device(points))
        assert np.array_equal(predicted, SVC().fit(points, names).predict(points))

    def test_points_of_the_host_are_sent_there_and_answered_on_the_host(self) -> None:
        points, labels = clouds(80, 3, 3, seed=0)
        svc = OneVsOneSVC().fit(points, labels)
        assert svc.model_.support_vectors.device == DEVICE
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "like", lambda result, X: to_host(result))
            assert np.array_equal(svc.predict(points), SVC().fit(points, labels).predict(points))

    def test_integers_become_float32(self) -> None:
        points = to_device(np.arange(20).reshape(10, 2))
        svc = OneVsOneSVC().fit(points, [0, 1] * 5)
        assert str(svc.model_.support_vectors.dtype).endswith("float32")

    @pytest.mark.parametrize(
        ("X", "y", "words"),
        [
            (np.ones(4), [0, 0, 1, 1], "shape"),
            (np.ones((0, 2)), [], "shape"),
            (np.ones((4, 2)), [0, 1], "4 samples"),
            (np.full((4, 2), np.nan), [0, 0, 1, 1], "NaN"),
            (np.ones((4, 2), complex), [0, 0, 1, 1], "real numbers"),
        ],
    )
    def test_what_cannot_be_fitted_is_refused(self, X: np.ndarray, y: list[int], words: str) -> None:  # type: ignore[type-arg]
        with pytest.raises(UsageError, match=words):
            OneVsOneSVC().fit(to_device(X), y)

    def test_another_number_of_features_is_refused(self) -> None:
        points, labels = clouds(40, 2, 3, seed=0)
        svc = OneVsOneSVC().fit(to_device(points), labels)
        with pytest.raises(UsageError, match="X has 2 features; expected 3 as in fit"):
            svc.predict(to_device(points[:, :2].copy()))


@without_cuda
def test_an_explicit_gpu_never_falls_back() -> None:
    with pytest.raises(DeviceError, match="device=cuda"):
        OneVsOneSVC(device="cuda").fit(np.eye(4), [0, 0, 1, 1])


def test_importing_the_package_does_not_import_torch() -> None:
    code = (
        "import sys, gpu_ssl; assert 'OneVsOneSVC' in dir(gpu_ssl); assert 'torch' not in sys.modules; "
        "assert 'sklearn' not in sys.modules; gpu_ssl.OneVsOneSVC; assert 'cupy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


def test_a_refit_that_fails_leaves_the_model(digits: Dataset) -> None:
    points, labels = digits.train.images.reshape(len(digits.train), -1) / 255, digits.train.labels
    svc = OneVsOneSVC(device="cpu").fit(points, labels)
    before, state = svc.predict(points), dict(vars(svc))
    with pytest.raises(ValueError, match="weight"):
        svc.fit(points[:, :10], labels + 100, sample_weight=np.where(labels == 3, 0.0, 1.0))
    assert vars(svc) == state
    assert np.array_equal(svc.predict(points), before)
    with pytest.raises(NotFittedError):
        clone(svc).predict(points)


def test_labels_in_another_byte_order_and_half_floats(digits: Dataset) -> None:
    points = torch.from_numpy(digits.train.images.reshape(len(digits.train), -1) // 16).float()
    labels = digits.train.labels
    expected = OneVsOneSVC(device="cpu").fit(points, labels).predict(points)
    for solver in ("auto", "batched"):
        svc = OneVsOneSVC(device="cpu", solver=solver).fit(points, labels.astype(">i8"))
        assert (torch.as_tensor(svc.predict(points.bfloat16())) == expected).float().mean() > 0.99
