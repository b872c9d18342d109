"""What the adapter relies on in cuML, RMM and CuPy: a release that breaks one of these fails here by name.

Behaviour that needs a GPU to be seen is read from the sources that the wheels ship.
"""

import importlib.resources
import inspect
import threading
from importlib.metadata import version

import cuml
import cupy
import numpy as np
import pytest
import rmm.mr
from cuml.internals.base import get_handle
from cuml.internals.global_settings import GlobalSettings
from cuml.internals.outputs import enter_internal_context
from cuml.svm import SVC
from packaging.requirements import Requirement
from sklearn.base import clone

from gpu_ssl.svm import _cuml
from gpu_ssl.svm.kernels import KERNEL_NAMES, Kernel
from gpu_ssl.svm.pairs import Penalty

PYX = (importlib.resources.files("cuml.svm") / "svm_base.pyx").read_text(encoding="utf-8")
FIT = inspect.getsource(SVC.fit)


def method(name: str) -> str:
    """Return the source of a method in svm_base.pyx."""
    start = PYX.index(f"def {name}(")
    end = PYX.find("\n    def ", start)
    return PYX[start:end]


def test_versions_are_in_the_range_that_was_read() -> None:
    from importlib.metadata import requires

    needed = [Requirement(line) for line in requires("gpu-ssl") or () if "gpu" in line]
    pins = {r.name: r.specifier for r in needed if r.name in ("cuml-cu13", "cupy-cuda13x")}
    assert set(pins) == {"cuml-cu13", "cupy-cuda13x"}
    for name, specifier in pins.items():
        assert version(name) in specifier, name


@pytest.mark.parametrize("name", KERNEL_NAMES)
def test_the_parameters_of_the_adapter_are_those_of_svc(name: str) -> None:
    kernel = Kernel(name, gamma=0.25, degree=2, coef0=0.5)  # type: ignore[arg-type]
    svc = _cuml.make_svc(Penalty(3.0, kernel, tol=1e-4, max_iter=77), 1000)
    expected = {"C": 3.0, "kernel": name, "gamma": 0.25, "degree": 2, "coef0": 0.5, "tol": 1e-4}
    expected |= {"max_iter": 77, "output_type": "cupy", "class_weight": None}
    assert {key: svc.get_params()[key] for key in expected} == expected
    assert clone(svc).get_params() == svc.get_params()
    assert svc._get_gamma(None) == 0.25  # a number is taken as it is, and X not looked at
    assert f'"{name}": lib.KernelType.' in method("_get_kernel_type")


def test_the_kernel_cache_fits_the_pair_and_stays_below_the_limit() -> None:
    penalty = Penalty(1.0, Kernel())
    assert 2 * 4 * 1000**2 / 2**20 < _cuml.make_svc(penalty, 1000).cache_size < 10
    assert _cuml.make_svc(penalty, 10**6).cache_size == _cuml.LARGEST_CACHE_MIB
    assert "param.cache_size = self.cache_size" in method("_fit")


def test_fit_takes_weights() -> None:
    inspect.signature(SVC.fit).bind(SVC(), "X", "y", sample_weight=None)


def test_a_binary_fit_does_not_go_the_way_over_the_host() -> None:
    before, _, after = FIT.partition("if len(classes) > 2:")
    assert "return self._fit_multiclass(" in after
    assert "_multiclass.fit" not in before


def test_column_major_float_points_are_not_copied() -> None:
    assert 'order="F"' in FIT
    assert 'dtype=("float32", "float64")' in FIT


def test_the_second_label_is_the_positive_one() -> None:
    assert "cp.array([-1, 1], dtype=X.dtype).take(y)" in FIT
    assert "(res >= 0)" in inspect.getsource(SVC.predict)


def test_the_solution_lies_on_the_device_in_the_shapes_we_read() -> None:
    unpack = PYX[PYX.index("cdef unpack(self)") : PYX.index("class SVMBase(")]
    assert "self._ptr_as_cupy(dual_coef_ptr, (1, n_support), dtype)" in unpack
    assert "self._ptr_as_cupy(support_idx_ptr, (n_support,), np.int32)" in unpack
    assert "intercept = cp.full(1, b, dtype=dtype)" in unpack
    assert ".get()" not in method("_fit")


def test_iterations_are_told_on_the_host() -> None:
    assert "self.n_iter_ = np.array([n_iter], dtype=np.int32) if is_classifier" in method("_fit")
    assert "param.max_iter = self.max_iter" in method("_fit")


def test_the_solver_releases_the_gil_and_every_thread_has_a_handle_of_its_own() -> None:
    assert "with nogil:" in method("_fit")
    state = inspect.getsource(inspect.getmodule(get_handle))
    assert "_THREAD_STATE = threading.local()" in state


def test_cuml_works_on_the_per_thread_stream_and_waits_for_it() -> None:
    assert "with Stream.ptds:" in inspect.getsource(enter_internal_context)
    assert "handle.sync()" in method("_fit")
    assert isinstance(cupy.cuda.Stream.ptds, cupy.cuda.Stream)


def test_settings_of_a_thread_are_its_own() -> None:
    """So the adapter sets what it needs in each worker, and never relies on a global setting."""
    seen = []
    with cuml.using_output_type("numpy"):
        thread = threading.Thread(target=lambda: seen.append(GlobalSettings().output_type))
        thread.start()
        thread.join()
        assert GlobalSettings().output_type == "numpy"
    assert seen != ["numpy"]


def test_assume_finite_skips_the_check_that_waits() -> None:
    from cuml.internals import validation

    source = inspect.getsource(validation)
    assert 'if sklearn.get_config()["assume_finite"]:\n        # no-op' in source
    assert "_cupy_any_inf_or_nan(array).item()" in source  # what is skipped


def test_labels_must_be_integers_to_spare_the_checks_that_wait() -> None:
    from cuml.internals.validation import check_classification_targets

    body = inspect.getsource(check_classification_targets).split('"""')[2]
    assert body.strip().startswith('if y.dtype.kind == "f":')


def test_importing_cuml_makes_rmm_the_allocator_of_cupy() -> None:
    allocator = cupy.cuda.get_allocator()
    assert allocator.__module__.startswith("rmm.")


def test_rmm_has_the_pool_that_the_adapter_asks_for() -> None:
    assert "release_threshold" in rmm.mr.CudaAsyncMemoryResource.__doc__
    assert callable(rmm.mr.get_current_device_resource)
    assert callable(rmm.mr.set_current_device_resource)
    assert rmm.mr.CudaMemoryResource is not rmm.mr.CudaAsyncMemoryResource


def test_too_little_memory_is_a_memory_error() -> None:
    assert issubclass(cupy.cuda.memory.OutOfMemoryError, MemoryError)


def test_cuml_still_uses_scikit_learns_one_vs_one_on_the_host_for_many_classes() -> None:
    """Why this project has its own one-vs-one: when this fails, check whether it is still needed."""
    import cuml.multiclass.multiclass as module

    source = inspect.getsource(module)
    assert "sklearn.multiclass.OneVsOneClassifier" in source
    assert 'mem_type="host"' in source


def test_without_a_gpu_a_fit_fails_with_a_runtime_error() -> None:
    if cupy.cuda.is_available():
        pytest.skip("a GPU is here")
    with pytest.raises(RuntimeError):
        SVC().fit(np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1]))


def test_cupys_functions_take_what_the_adapter_gives() -> None:
    inspect.signature(cupy.empty).bind((3, 2), dtype=np.float32, order="F")
    inspect.signature(cupy.zeros).bind(3, dtype=np.int32)
    inspect.signature(cupy.asarray).bind([1.0], dtype=np.float32)
    inspect.signature(cupy.argsort).bind(None)
    inspect.signature(cupy.asnumpy).bind(None)
