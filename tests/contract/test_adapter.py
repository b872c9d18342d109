"""The adapter as it stands, on a device that is not the CPU: each call is bound to the real signature first.

CuPy's functions are replaced by those of array-api-strict on such a device, where a copy to the host raises,
and cuML's SVC by one that fits with LIBSVM, gives its results in cuML's shapes, and insists on what cuML
needs to work without a copy and without a wait.
"""

import inspect
import threading
from types import SimpleNamespace
from typing import Any

import array_api_strict as xp
import cuml.svm
import cupy
import numpy as np
import pytest
import sklearn
import sklearn.svm
from numpy.typing import NDArray

from gpu_ssl.errors import DeviceError, TrainingError
from gpu_ssl.records import Choice
from gpu_ssl.runtime.arrays import Array
from gpu_ssl.svm import _cuml
from gpu_ssl.svm._sklearn import SklearnBackend
from gpu_ssl.svm.backend import resolve_backend
from gpu_ssl.svm.kernels import KERNEL_NAMES, Kernel
from gpu_ssl.svm.one_vs_one import fit_one_vs_one
from gpu_ssl.svm.pairs import MOST_ITERATIONS, Penalty
from tests.svm import clouds
from tests.svm.on_device import DEVICE, numbers_refused, to_device, to_host

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


ORDERS: dict[int, tuple[Array, str]] = {}
"""Memory layout of the arrays made by `empty`; array-api-strict knows none."""


def empty(shape: tuple[int, ...], dtype: Any, order: str) -> Array:
    array = xp.empty(shape, dtype=dtype, device=DEVICE)
    ORDERS[id(array)] = array, order
    return array


REPLACEMENTS = {
    "empty": empty,
    "zeros": lambda n, dtype: xp.zeros(n, dtype=dtype, device=DEVICE),
    "asarray": lambda array, dtype: xp.asarray(array, dtype=dtype, device=DEVICE),
    "argsort": lambda array: xp.argsort(array),
    "take": lambda array, index: xp.take(array, index, axis=0),
}


def bound(name: str) -> Any:
    real = inspect.signature(getattr(cupy, name))

    def call(*args: Any, **kwargs: Any) -> Any:
        real.bind(*args, **kwargs)
        return REPLACEMENTS[name](*args, **kwargs)

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
        assert ORDERS[id(X)][1] == "F", "cuML would copy row-major points"
        assert X.dtype in (xp.float32, xp.float64)
        assert y.dtype == xp.int32, "cuML would check float labels on the host"
        assert weights is None or weights.dtype == X.dtype
        assert STREAM.active, "a fit outside the thread's own stream"
        assert sklearn.get_config()["assume_finite"], "cuML would wait for a check of the points"
        codes = to_host(y)
        assert set(codes.tolist()) == {0, 1}
        svc = sklearn.svm.SVC(**self.parameters)
        svc.fit(to_host(X), codes, None if weights is None else to_host(weights))
        # Turned round: cuML promises no order.
        self.support_ = to_device(svc.support_[::-1].astype(np.int32))
        self.dual_coef_ = xp.astype(to_device(svc.dual_coef_[:, ::-1].copy()), X.dtype)
        self.intercept_ = xp.astype(to_device(svc.intercept_), X.dtype)
        self.n_iter_ = svc.n_iter_
        HostSVC.fitted += 1
        return self


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> _cuml.CumlBackend:
    waiting = SimpleNamespace(synchronize=lambda: None)
    streams = SimpleNamespace(
        Stream=SimpleNamespace(ptds=PerThreadStream()), get_current_stream=lambda: waiting
    )
    shim = SimpleNamespace(**{name: bound(name) for name in REPLACEMENTS}, int32=xp.int32, cuda=streams)
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
    same = fit_one_vs_one(SklearnBackend(), points, labels, 6, Penalty(2.0, kernel), weights)
    expected = same.decision_function(points, "ovo")
    model = fit_on_device(backend, points, labels, kernel, weights)
    found = to_host(model.decision_function(to_device(points), "ovo"))
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4 * abs(expected).max())
    assert HostSVC.fitted == 15


def test_small_pairs_of_many_classes_are_solved_on_the_host(
    backend: _cuml.CumlBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One copy of the labelled points goes there, and the solutions come back."""
    monkeypatch.setattr(_cuml.CumlBackend, "to_host", lambda self, array: to_host(array))
    monkeypatch.setattr(_cuml.CumlBackend, "from_host", lambda self, array: to_device(array))
    points, labels = clouds(120, _cuml.MANY + 1, 4, seed=0)
    expected = fit_one_vs_one(
        SklearnBackend(), points, labels, _cuml.MANY + 1, Penalty(2.0, Kernel(gamma=0.25))
    )
    model = fit_on_device(backend, points, labels, Kernel(gamma=0.25))
    assert HostSVC.fitted == 0
    assert model.duals.device == DEVICE
    np.testing.assert_array_equal(to_host(model.duals), expected.duals)
    monkeypatch.setattr(_cuml, "ALONE", 0)
    fit_on_device(backend, points[labels < 9], labels[labels < 9], Kernel(gamma=0.25))
    assert HostSVC.fitted == 36


def fit_on_device(
    backend: _cuml.CumlBackend,
    points: NDArray[Any],
    labels: NDArray[np.int64],
    kernel: Kernel,
    weights: NDArray[np.float64] | None = None,
) -> Any:
    n_classes = int(labels.max()) + 1
    with numbers_refused():
        return fit_one_vs_one(backend, to_device(points), labels, n_classes, Penalty(2.0, kernel), weights)


@pytest.mark.parametrize(
    "planted",
    [
        lambda points: np.asarray(points),
        lambda points: float(points[0, 0]),
        lambda points: points.get(),
        lambda points: points.sum().item(),
        lambda points: _cuml.cupy.asnumpy(points),
    ],
)
def test_a_planted_copy_or_wait_in_the_adapter_is_found(
    monkeypatch: pytest.MonkeyPatch, backend: _cuml.CumlBackend, planted: Any
) -> None:
    solve = _cuml._solve

    def copies(points: Array, *args: Any) -> Any:
        planted(points)
        return solve(points, *args)

    points, labels = clouds(40, 3, 2, seed=0)
    fit_on_device(backend, points, labels, Kernel())
    monkeypatch.setattr(_cuml, "_solve", copies)
    with pytest.raises((TrainingError, TypeError, AttributeError)):
        fit_on_device(backend, points, labels, Kernel())


@pytest.mark.parametrize(
    ("raised", "error", "words"),
    [
        (cupy.cuda.memory.OutOfMemoryError(1, 2, 3), DeviceError, "too little memory to fit classes 0 and 1"),
        (MemoryError("std::bad_alloc: out_of_memory"), DeviceError, "`svm=sklearn`"),
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
        fit_on_device(backend, points, labels, Kernel())
    assert "\n" not in str(caught.value)


class Default: ...


def memory_of(monkeypatch: pytest.MonkeyPatch, make_pool: Any) -> list[object]:
    """Stand in for RMM, which starts with memory straight from the GPU; return what is set in its place."""
    current: list[object] = [Default()]
    shim = SimpleNamespace(
        CudaMemoryResource=Default,
        CudaAsyncMemoryResource=make_pool,
        get_current_device_resource=lambda: current[-1],
        set_current_device_resource=current.append,
    )
    monkeypatch.setattr(_cuml, "rmm", SimpleNamespace(mr=shim))
    return current


def test_the_memory_is_set_up_once_and_a_users_own_set_up_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what the pool does not use goes back to the GPU, where torch may want it."""

    class Pool:
        def __init__(self, initial_pool_size: Any = None, release_threshold: int | None = None) -> None:
            assert release_threshold is not None, "RMM's pool would never give anything back"
            assert release_threshold <= 2**30

    current = memory_of(monkeypatch, Pool)
    _cuml.CumlBackend()
    _cuml.CumlBackend()
    assert [type(resource) for resource in current] == [Default, Pool]


@pytest.mark.parametrize("error", [RuntimeError("cudaMallocAsync not supported"), MemoryError("no pools")])
def test_a_gpu_without_memory_pools_keeps_cuml(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """As some virtual GPUs are: without a pool cuML is slower, and not gone."""

    def refuse(**_: Any) -> None:
        raise error

    current = memory_of(monkeypatch, refuse)
    backend, choice = resolve_backend("auto", Choice(requested="auto", used="cuda:0", reason="usable"))
    assert (type(backend), choice.used) == (_cuml.CumlBackend, "cuml")
    assert [type(resource) for resource in current] == [Default]


def test_fits_of_a_run_share_their_threads_and_so_cumls_handles(
    monkeypatch: pytest.MonkeyPatch, backend: _cuml.CumlBackend
) -> None:
    """cuML makes a handle for each thread that it meets, and destroys it with the thread."""
    seen, honest = set(), HostSVC.fit

    def fit(self: HostSVC, *args: Any, **kwargs: Any) -> HostSVC:
        seen.add(threading.get_ident())
        return honest(self, *args, **kwargs)

    monkeypatch.setattr(HostSVC, "fit", fit)
    for seed in range(5):
        points, labels = clouds(40, 5, 2, seed)
        fit_on_device(backend, points, labels, Kernel())
    assert len(seen) <= _cuml.WORKERS
    assert threading.get_ident() not in seen


def test_cuml_never_iterates_for_ever() -> None:
    """On unscaled points a linear kernel can: rapidsai/cuml#7880."""
    penalty = Penalty(1.0, Kernel("linear"))
    assert _cuml.make_svc(penalty, 100).max_iter == MOST_ITERATIONS
    assert _cuml.make_svc(Penalty(1.0, Kernel("linear"), max_iter=7), 100).max_iter == 7
