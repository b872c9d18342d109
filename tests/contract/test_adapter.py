"""The adapter as it stands, on NumPy memory: each call is bound to the real signature and then really done.

CuPy's functions are replaced by NumPy's of the same name, and cuML's SVC by one that fits with LIBSVM, gives
its results in cuML's shapes, and insists on what cuML needs to work without a copy and without a wait.
"""

import contextlib
import inspect
import threading
from types import SimpleNamespace
from typing import Any

import cuml.svm
import cupy
import numpy as np
import pytest
import sklearn
import sklearn.svm
from numpy.typing import NDArray

from gpu_ssl.errors import DeviceError, TrainingError
from gpu_ssl.svm import _cuml
from gpu_ssl.svm._sklearn import SklearnBackend
from gpu_ssl.svm.kernels import KERNEL_NAMES, Kernel
from gpu_ssl.svm.one_vs_one import fit_one_vs_one
from gpu_ssl.svm.pairs import Penalty
from tests.svm import clouds

STREAM = threading.local()


class PerThreadStream:
    """Knows whether this thread works on it, and whether it was waited for."""

    def __enter__(self) -> None:
        STREAM.active, STREAM.waited = True, False

    def __exit__(self, error: object, *_: object) -> None:
        assert error or STREAM.waited, "a worker returned before its stream had finished"
        STREAM.active = False

    def synchronize(self) -> None:
        STREAM.waited = True


def bound(name: str) -> Any:
    real, replacement = inspect.signature(getattr(cupy, name)), getattr(np, name, None)

    def call(*args: Any, **kwargs: Any) -> Any:
        real.bind(*args, **kwargs)
        return np.asarray(args[0]) if replacement is None else replacement(*args, **kwargs)

    return call


class HostSVC:
    """cuML's binary SVC on the host."""

    fitted = 0

    def __init__(self, **parameters: Any) -> None:
        real = cuml.svm.SVC(**parameters)
        assert real.output_type == "cupy"
        assert isinstance(parameters["gamma"], float)
        self.parameters = {
            name: parameters[name] for name in ("C", "kernel", "gamma", "degree", "coef0", "tol", "max_iter")
        }

    def fit(self, *args: Any, **kwargs: Any) -> "HostSVC":
        arguments = inspect.signature(cuml.svm.SVC.fit).bind(None, *args, **kwargs).arguments
        X, y, weights = arguments["X"], arguments["y"], arguments["sample_weight"]
        assert X.flags.f_contiguous, "cuML would copy row-major points"
        assert X.dtype in (np.float32, np.float64)
        assert y.dtype.kind == "i", "cuML would check float labels on the host"
        assert weights is None or weights.dtype == X.dtype
        assert STREAM.active, "a fit outside the thread's own stream"
        assert sklearn.get_config()["assume_finite"], "cuML would wait for a check of the points"
        assert set(y.tolist()) == {0, 1}
        svc = sklearn.svm.SVC(**self.parameters).fit(X, y, weights)
        # LIBSVM lists support vectors in ascending order of class; turn it, since cuML promises no order.
        self.support_ = svc.support_[::-1].astype(np.int32)
        self.dual_coef_ = svc.dual_coef_[:, ::-1].astype(X.dtype)
        self.intercept_ = svc.intercept_.astype(X.dtype)
        self.n_iter_ = svc.n_iter_
        HostSVC.fitted += 1
        return self


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> _cuml.CumlBackend:
    stream = PerThreadStream()
    waiting = SimpleNamespace(synchronize=lambda: None)
    names = ("empty", "zeros", "asarray", "argsort", "asnumpy")
    shim = SimpleNamespace(
        **{name: bound(name) for name in names},
        int32=cupy.int32,
        cuda=SimpleNamespace(
            Stream=SimpleNamespace(ptds=stream),
            get_current_stream=lambda: waiting,
            Device=contextlib.nullcontext,
        ),
    )
    monkeypatch.setattr(_cuml, "cupy", shim)
    monkeypatch.setattr(_cuml, "SVC", HostSVC)
    monkeypatch.setattr(HostSVC, "fitted", 0)
    return object.__new__(_cuml.CumlBackend)  # its __init__ sets up the memory of a GPU


@pytest.mark.parametrize("name", KERNEL_NAMES)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_adapter_gives_what_scikit_learn_gives(
    backend: _cuml.CumlBackend, name: str, dtype: str, weighted: bool
) -> None:
    points, labels = clouds(150, 6, 4, seed=3)
    points = points.astype(dtype)
    weights = np.random.default_rng(0).uniform(0.2, 2, len(labels)) if weighted else None
    kernel = Kernel(name, gamma=0.25)  # type: ignore[arg-type]

    def fit(backend: Any) -> NDArray[Any]:
        model = fit_one_vs_one(backend, points, labels, 6, Penalty(2.0, kernel), weights)
        decisions: NDArray[Any] = model.decision_function(points, "ovo")
        return decisions

    expected = fit(SklearnBackend())
    np.testing.assert_allclose(fit(backend), expected, rtol=0, atol=2e-4 * abs(expected).max())
    assert HostSVC.fitted == 15


@pytest.mark.parametrize(
    ("raised", "error", "words"),
    [
        (cupy.cuda.memory.OutOfMemoryError(1, 2, 3), DeviceError, "too little memory to fit classes 0 and 1"),
        (MemoryError("std::bad_alloc: out_of_memory"), DeviceError, "--svm sklearn"),
        (
            RuntimeError("SMO error:\nNaN found"),
            TrainingError,
            "cannot fit classes 0 and 1 .* SMO error: NaN",
        ),
        (ValueError("bad"), TrainingError, "classes 0 and 1"),
    ],
)
def test_a_pair_that_cannot_be_fitted_is_named(
    monkeypatch: pytest.MonkeyPatch,
    backend: _cuml.CumlBackend,
    raised: Exception,
    error: type[Exception],
    words: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(HostSVC, "fit", fail)
    points, labels = clouds(20, 2, 3, seed=0)
    with pytest.raises(error, match=words) as caught:
        fit_one_vs_one(backend, points, labels, 2, Penalty(1.0, Kernel()))
    assert "\n" not in str(caught.value)


def test_the_memory_is_set_up_once_and_a_users_own_set_up_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    class Default: ...

    class Pool: ...

    current: list[object] = [Default()]
    shim = SimpleNamespace(
        CudaMemoryResource=Default,
        CudaAsyncMemoryResource=Pool,
        get_current_device_resource=lambda: current[-1],
        set_current_device_resource=current.append,
    )
    monkeypatch.setattr(_cuml, "rmm", SimpleNamespace(mr=shim))
    _cuml.CumlBackend()
    _cuml.CumlBackend()
    assert [type(resource) for resource in current] == [Default, Pool]
