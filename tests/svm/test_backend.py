"""One choice of who fits, with its reason; cuML is never half there."""

import pytest

from gpu_ssl.errors import DeviceError
from gpu_ssl.records import Choice
from gpu_ssl.svm import backend
from gpu_ssl.svm._batched import BatchedBackend
from gpu_ssl.svm._host import HostBackend
from gpu_ssl.svm._sklearn import SklearnBackend
from gpu_ssl.svm.backend import cuml_backend, resolve_backend

CPU = Choice(requested="auto", used="cpu", reason="no driver")
GPU = Choice(requested="auto", used="cuda:0", reason="usable")


def test_on_the_cpu_scikit_learn_fits() -> None:
    chosen, choice = resolve_backend("auto", CPU)
    assert isinstance(chosen, HostBackend)
    assert not isinstance(resolve_backend("sklearn", CPU)[0], HostBackend)
    assert choice.model_dump() == {
        "requested": "auto",
        "used": "sklearn",
        "reason": "the latents are on the CPU; few points are fitted in torch",
    }


def test_cuml_on_the_cpu_is_refused_with_the_reason() -> None:
    with pytest.raises(DeviceError, match=r"needs a CUDA device.*no driver.*\[gpu\]"):
        resolve_backend("cuml", CPU)


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "find_spec", lambda name: None)
    with pytest.raises(DeviceError, match=r"^cupy, cuml, rmm not installed \("):
        cuml_backend()
    chosen, choice = resolve_backend("auto", GPU)
    assert isinstance(chosen, SklearnBackend)
    assert "not installed" in choice.reason
    assert "copied to the host" in choice.reason
    with pytest.raises(DeviceError, match="`svm=cuml`: cupy, cuml, rmm not installed"):
        resolve_backend("cuml", GPU)


def test_cuml_serves_the_first_visible_gpu_alone() -> None:
    second = Choice(requested="cuda:1", used="cuda:1", reason="usable")
    with pytest.raises(DeviceError, match="CUDA_VISIBLE_DEVICES=1 and give `device=cuda`"):
        resolve_backend("cuml", second)
    assert resolve_backend("auto", second)[1].used == "sklearn"


def test_a_broken_installation_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise OSError("libcuml++.so:\n cannot open shared object file")

    monkeypatch.setattr(backend, "find_spec", lambda name: object())
    monkeypatch.setattr(backend.importlib, "import_module", broken)
    with pytest.raises(DeviceError, match=r"cannot be used: libcuml\+\+.so: cannot open shared object file$"):
        cuml_backend()


def test_a_driver_that_cupy_finds_too_old_lets_auto_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    class TooOld:
        def CumlBackend(self) -> None:  # noqa: N802
            raise RuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")

    monkeypatch.setattr(backend, "find_spec", lambda name: object())
    monkeypatch.setattr(backend.importlib, "import_module", lambda name: TooOld())
    chosen, choice = resolve_backend("auto", GPU)
    assert isinstance(chosen, SklearnBackend)
    assert "driver version is insufficient" in choice.reason


def test_scikit_learn_may_be_asked_for_beside_a_gpu() -> None:
    assert resolve_backend("sklearn", GPU)[1].reason == "requested"


def test_ranks_that_fit_no_svm_need_no_cuml() -> None:
    """Of several ranks the first fits; the others are on GPUs that cuML does not serve."""
    second = Choice(requested="cuda", used="cuda:1", reason="usable")
    for requested in ("cuml", "auto", "batched", "sklearn"):
        _, choice = resolve_backend(requested, second, leads=False)
        assert choice.reason == "rank 0 fits the SVMs"
    with pytest.raises(DeviceError):
        resolve_backend("cuml", second)


def test_the_batched_solver_works_on_any_device() -> None:
    for device in (CPU, GPU, Choice(requested="cuda:1", used="cuda:1", reason="usable")):
        chosen, choice = resolve_backend("batched", device)
        assert isinstance(chosen, BatchedBackend)
        assert str(chosen.device) == device.used
        assert (choice.used, choice.reason) == ("batched", "requested")
