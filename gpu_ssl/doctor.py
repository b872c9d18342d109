"""Checks of the GPU path on this machine, by trying each part."""

from collections.abc import Callable
from importlib import metadata
from typing import Any, Literal

import numpy as np
import torch
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from pydantic import Field

import gpu_ssl
from gpu_ssl.errors import DeviceError, GpuSslError
from gpu_ssl.records import Choice, Record
from gpu_ssl.runtime import interop
from gpu_ssl.runtime.arrays import Array
from gpu_ssl.runtime.device import cuda_problem, minimum_capability, resolve_device
from gpu_ssl.runtime.environment import driver_version, library_version
from gpu_ssl.runtime.optional import install_advice
from gpu_ssl.statistics import in_percent
from gpu_ssl.svm._sklearn import SklearnBackend
from gpu_ssl.svm.backend import SVMBackend, install_gpu, resolve_backend
from gpu_ssl.svm.kernels import Kernel, scale_gamma
from gpu_ssl.svm.one_vs_one import fit_one_vs_one
from gpu_ssl.svm.pairs import Penalty

MINIMUM_DRIVER = {12: 535, 13: 580}
"""Oldest driver for each CUDA release (RAPIDS 26.10, platform support)."""

NAMES = {
    "cuml-cu13": ("cuml", "cuml-cu12"),
    "cupy-cuda13x": ("cupy", "cupy-cuda12x"),
    "rmm-cu13": ("rmm", "rmm-cu12"),
}
"""Conda name (also the short name) of each distribution, and its name for CUDA 12."""


class Check(Record):
    """A check: what was found, what is supported, and the remedy if they differ."""

    name: str
    status: Literal["ok", "failed", "skipped"]
    found: str
    supported: str | None = None
    remedy: str | None = None


class Diagnosis(Record):
    """All checks, whether the requested device works, and what ``auto`` would choose."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    gpu_ssl: str
    requested: str
    works: bool
    checks: tuple[Check, ...]
    auto_device: Choice
    auto_svm: Choice


def diagnose(requested: str = "auto") -> Diagnosis:
    """Try what the pipeline needs on the device `requested`: ``auto``, ``cpu`` or ``cuda``.

    ``cuda`` works if all checks pass; ``cpu`` and ``auto`` work if those of the CPU pass.
    """
    on_cpu = (
        _version("torch"),
        _version("scikit-learn"),
        _tried("torch to NumPy", _shares_memory_on_cpu, "reinstall gpu-ssl in a fresh environment"),
        _tried("SVM by scikit-learn", _fits_on_cpu, "reinstall gpu-ssl in a fresh environment"),
    )
    on_gpu = () if requested == "cpu" else _gpu_checks()
    needed = (*on_cpu, *on_gpu) if requested.startswith("cuda") else on_cpu
    device = resolve_device("auto")
    return Diagnosis(
        gpu_ssl=gpu_ssl.__version__,
        requested=requested,
        works=all(check.status == "ok" for check in needed),
        checks=(*on_cpu, *on_gpu),
        auto_device=device,
        auto_svm=resolve_backend("auto", device)[1],
    )


def rapids_check(verbose: bool = False, **_: Any) -> str:
    """Check that gpu-ssl can train, hand over and classify on the GPU (for ``rapids doctor``)."""
    diagnosis = diagnose("cuda")
    failed = [f"{check.name}: {check.found}" for check in diagnosis.checks if check.status == "failed"]
    if not diagnosis.works:
        raise DeviceError(f"{'; '.join(failed)} (gpu-ssl doctor --device cuda lists the remedies)")
    return "; ".join(f"{check.name}: {check.found}" for check in diagnosis.checks) if verbose else "usable"


def _gpu_checks() -> tuple[Check, ...]:
    problem = cuda_problem()
    checks = [
        _driver(),
        Check(
            name="CUDA in torch",
            status="failed" if problem else "ok",
            found=problem or f"CUDA {torch.version.cuda}, usable",
            remedy="fix the driver first (see above)" if problem else None,
        ),
        _gpu(problem),
        *(_version(name) for name in NAMES),
    ]
    for name, function in (
        ("torch to CuPy", _shares_memory_on_gpu),
        ("SVM by cuML", _fits_on_gpu_as_on_cpu),
    ):
        if all(check.status == "ok" for check in checks):
            checks.append(
                _tried(name, function, "python -m cuml.health_checks has details; " + install_gpu())
            )
        else:
            checks.append(Check(name=name, status="skipped", found="needs all of the above"))
    return tuple(checks)


def _tried(name: str, function: Callable[[], str], remedy: str) -> Check:
    try:
        return Check(name=name, status="ok", found=function())
    except Exception as error:  # noqa: BLE001 - any error is the finding
        found = " ".join(f"{type(error).__name__}: {error}".split())
        return Check(name=name, status="failed", found=found, remedy=remedy)


def _driver() -> Check:
    release = int((torch.version.cuda or "13").split(".")[0])
    minimum = MINIMUM_DRIVER.get(release, max(MINIMUM_DRIVER.values()))
    found = driver_version()
    good = found is not None and int(found.split(".")[0]) >= minimum
    return Check(
        name="NVIDIA driver",
        status="ok" if good else "failed",
        found=found or "no driver",
        supported=f">={minimum} for CUDA {release}",
        remedy=None
        if good
        else f"install the NVIDIA driver {minimum} or newer, or take a cloud image that has it; "
        "in a container, start it with --gpus all. Without a GPU: --device cpu",
    )


def _gpu(problem: str | None) -> Check:
    if problem:
        return Check(name="GPU", status="skipped", found="needs the driver and CUDA")
    properties = torch.cuda.get_device_properties(0)
    minimum = minimum_capability(torch.version.cuda or "13")
    return Check(
        name="GPU",
        status="ok",  # cuda_problem() refuses an older one
        found=f"{properties.name}, compute capability {properties.major}.{properties.minor}, "
        f"{properties.total_memory / 2**30:.0f} GiB",
        supported=f"compute capability {minimum[0]}.{minimum[1]} or newer",
    )


def _version(distribution: str) -> Check:
    """Compare the installed version with the requirement in gpu-ssl's metadata."""
    try:
        asked_for = metadata.requires("gpu-ssl") or ()
    except metadata.PackageNotFoundError:  # It runs from a folder without metadata.
        asked_for = ()
    required = sorted(map(Requirement, asked_for), key=lambda r: r.marker is None)
    ranges = {r.name: r.specifier for r in required}  # Those of no extra are last, and count.
    supported = ranges.get(distribution, SpecifierSet())
    others = NAMES.get(distribution, (distribution,))
    short = others[0]
    found = next(filter(None, map(library_version, (distribution, *others))), None)
    good = found is not None and supported.contains(found, prereleases=True)
    optional = distribution in NAMES
    return Check(
        name=short,
        status="ok" if good else "failed",
        found=found or "not installed",
        supported=str(supported) or None,
        remedy=None if good else (install_gpu() if optional else install_advice()),
    )


def _shares_memory_on_cpu() -> str:
    tensor = torch.arange(12.0).reshape(3, 4).T
    array = interop.to_numpy(tensor)
    return _same_memory(array.__array_interface__["data"][0], array, tensor)


def _shares_memory_on_gpu() -> str:
    tensor = torch.arange(12.0, device="cuda").reshape(3, 4).T
    array = interop.to_cupy(tensor)
    return _same_memory(array.data.ptr, array, tensor)


def _same_memory(pointer: int, array: Array, tensor: torch.Tensor) -> str:
    if pointer != tensor.data_ptr():
        raise GpuSslError(f"DLPack copied: {pointer:#x} is not {tensor.data_ptr():#x}")
    strides = tuple(step // array.itemsize for step in array.strides)
    if strides != tensor.stride():
        raise GpuSslError(f"DLPack changed the strides: {strides} is not {tensor.stride()}")
    return "same pointer and strides over DLPack"


def _fits_on_cpu() -> str:
    from sklearn.svm import SVC

    points, labels, new = _three_classes()
    expected = SVC(gamma=scale_gamma(points)).fit(points, labels).predict(new)
    return _agreement(_fit_and_predict(SklearnBackend(), points, labels, new), expected, "scikit-learn's SVC")


def _fits_on_gpu_as_on_cpu() -> str:
    points, labels, new = _three_classes()
    expected = _fit_and_predict(SklearnBackend(), points, labels, new)
    backend, _ = resolve_backend("cuml", resolve_device("cuda"))
    on_gpu = [backend.receive(torch.from_numpy(array).cuda()) for array in (points, new)]
    return _agreement(_fit_and_predict(backend, on_gpu[0], labels, on_gpu[1]), expected, "the CPU")


def _three_classes() -> tuple[Any, Any, Any]:
    """Return three overlapping classes: points to fit, their labels, points to predict."""
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 3
    centres = rng.normal(size=(3, 8))
    points = (centres[labels] + rng.normal(size=(600, 8))).astype(np.float32)
    return points[:300], labels[:300], points[300:]


def _fit_and_predict(backend: SVMBackend, points: Array, labels: Any, new: Array) -> Any:
    penalty = Penalty(1.0, Kernel(gamma=scale_gamma(points)))
    return backend.to_host(fit_one_vs_one(backend, points, labels, 3, penalty).predict(new))


def _agreement(predicted: Any, expected: Any, whom: str) -> str:
    share = float(np.mean(predicted == expected))
    if share < 0.99:
        raise GpuSslError(f"only {in_percent(share)} of 300 predictions of 3 classes agree with {whom}")
    return f"{in_percent(share)} of 300 predictions of 3 classes agree with {whom}"
