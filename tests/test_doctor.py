"""The doctor tries each part, names what is missing, and never fails itself."""

from importlib.metadata import entry_points

import numpy as np
import pytest
import torch

from gpu_ssl import doctor
from gpu_ssl.doctor import Check, diagnose, rapids_check
from gpu_ssl.errors import DeviceError
from gpu_ssl.runtime import environment, interop

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")


def check(name: str, requested: str = "cuda") -> Check:
    (found,) = [check for check in diagnose(requested).checks if check.name == name]
    return found


def test_the_cpu_works_here() -> None:
    diagnosis = diagnose("cpu")
    assert diagnosis.works
    assert {c.status for c in diagnosis.checks} == {"ok"}
    assert check("SVM by scikit-learn", "cpu").found.startswith("100.0 % of 300 predictions")


@without_cuda
def test_without_a_gpu_auto_works_and_cuda_does_not() -> None:
    auto, cuda = diagnose("auto"), diagnose("cuda")
    assert (auto.works, cuda.works) == (True, False)
    assert auto.auto_device.used == "cpu"
    assert auto.auto_device.reason
    assert auto.checks == cuda.checks
    for name in ("torch to CuPy", "SVM by cuML"):
        assert check(name).status == "skipped"
    assert all(c.remedy for c in cuda.checks if c.status == "failed")


@pytest.mark.parametrize(
    ("version", "cuda", "status", "words"),
    [
        (None, "13.0", "failed", "580 or newer"),
        ("570.124.06", "13.0", "failed", "580 or newer"),
        ("580.65.06", "13.0", "ok", ""),
        ("570.124.06", "12.9", "ok", ""),
        ("515.1.2", "12.9", "failed", "535 or newer"),
    ],
)
def test_the_driver_is_judged_by_the_cuda_of_torch(
    monkeypatch: pytest.MonkeyPatch, version: str | None, cuda: str, status: str, words: str
) -> None:
    monkeypatch.setattr(doctor, "driver_version", lambda: version)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    found = doctor._driver()
    assert (found.status, found.found) == (status, version or "no driver")
    assert words in (found.remedy or "")


@pytest.mark.parametrize(
    ("installed", "status"),
    [(None, "failed"), ("25.12.0", "failed"), ("26.8.0", "ok"), ("26.10.2", "ok"), ("26.12.0", "failed")],
)
def test_versions_are_judged_by_what_the_package_asks_for(
    monkeypatch: pytest.MonkeyPatch, installed: str | None, status: str
) -> None:
    monkeypatch.setattr(doctor, "library_version", lambda name: installed)
    found = doctor._version("cuml-cu13")
    assert (found.status, found.found) == (status, installed or "not installed")
    assert (found.remedy is not None) == (status == "failed")


def test_an_extra_that_needs_a_newer_version_does_not_narrow_the_range(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`gpu-ssl export` needs a newer torch than all else."""
    asked_for = ["torch<2.15,>=2.9", 'torch>=2.14; extra == "onnx"']
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: asked_for)
    monkeypatch.setattr(doctor, "library_version", lambda name: "2.9.1")
    assert doctor._version("torch").status == "ok"


def test_the_short_names_of_conda_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "library_version", {"cupy": "14.2.1"}.get)
    assert doctor._version("cupy-cuda13x").status == "ok"


def test_a_handoff_that_copies_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interop, "to_numpy", lambda tensor: tensor.numpy().copy())
    found = check("torch to NumPy", "cpu")
    assert found.status == "failed"
    assert "DLPack copied" in found.found
    assert not diagnose("auto").works


def test_an_svm_that_disagrees_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_fit_and_predict", lambda *_: np.zeros(300))
    assert "agree with scikit-learn" in check("SVM by scikit-learn", "cpu").found
    assert check("SVM by scikit-learn", "cpu").status == "failed"


@without_cuda
def test_rapids_doctor_finds_the_check_and_is_told_what_fails() -> None:
    (entry,) = [e for e in entry_points(group="rapids_doctor_check") if e.name == "gpu_ssl"]
    assert entry.load() is rapids_check
    assert rapids_check.__doc__  # rapids doctor prints its first line
    with pytest.raises(DeviceError, match=r"NVIDIA driver: .*gpu-ssl doctor --device cuda"):
        rapids_check(verbose=True)


@pytest.mark.gpu
def test_the_gpu_works() -> None:
    diagnosis = diagnose("cuda")
    assert diagnosis.works, [c for c in diagnosis.checks if c.status != "ok"]
    assert rapids_check() == "usable"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27\nGCC 12.2.0", "580.65.06"),
        ("570.124.06\n570.124.06\n", "570.124.06"),
        ("NVIDIA-SMI has failed", None),
    ],
)
def test_the_driver_version_is_read_from_what_nvidia_writes(
    monkeypatch: pytest.MonkeyPatch, text: str, version: str | None
) -> None:
    monkeypatch.setattr(environment.Path, "read_text", lambda self, encoding: text)
    assert environment.driver_version() == version
