"""Everything around the binary fits runs on a device that is not the CPU, and copies nothing to the host.

array-api-strict has such devices: an array there raises where NumPy makes one of its own of it. A Python
number made of it goes unnoticed there; torch's meta device, whose tensors have no values, notices.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import array_api_strict as xp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gpu_ssl.svm import kernels as kernels_module
from gpu_ssl.svm import model as model_module
from gpu_ssl.svm import one_vs_one as one_vs_one_module
from gpu_ssl.svm._sklearn import SklearnBackend
from gpu_ssl.svm.kernels import Array, Kernel
from gpu_ssl.svm.model import OneVsOneModel
from gpu_ssl.svm.one_vs_one import fit_one_vs_one
from gpu_ssl.svm.pairs import BinarySVM, Penalty
from tests.svm import clouds, fit, kernels

DEVICE = xp.Device("device1")


def to_host(array: Array) -> NDArray[Any]:
    return np.asarray(array.to_device(xp.Device("CPU_DEVICE")))


class DeviceSolver(SklearnBackend):
    """Stands for cuML: takes the points from the device, and gives solutions that lie there."""

    def solve_pairs(
        self, grouped: Array, sizes: Sequence[int], penalty: Penalty, weights: NDArray[np.float64] | None
    ) -> list[BinarySVM]:
        assert grouped.device == DEVICE
        solutions = super().solve_pairs(to_host(grouped), sizes, penalty, weights)
        return [
            BinarySVM(*(xp.asarray(part, device=DEVICE) for part in solution[:3]), solution.n_iter)
            for solution in solutions
        ]


def fit_on_device(points: NDArray[Any], labels: NDArray[np.int64], kernel: Kernel) -> OneVsOneModel:
    on_device = xp.asarray(points, device=DEVICE)
    return fit_one_vs_one(DeviceSolver(), on_device, labels, int(labels.max()) + 1, Penalty(1.0, kernel))


@settings(max_examples=25)
@given(
    kernel=kernels, n_classes=st.integers(2, 9), dtype=st.sampled_from(["f4", "f8"]), seed=st.integers(0, 999)
)
def test_fitting_and_scoring_stay_on_the_device(
    kernel: Kernel, n_classes: int, dtype: str, seed: int
) -> None:
    points, labels = clouds(60, n_classes, 3, seed)
    points = points.astype(dtype)
    model = fit_on_device(points, labels, kernel)
    same = fit(points, labels, kernel)
    new = xp.asarray(points, device=DEVICE)
    results = {
        "predict": (model.predict(new), same.predict(points)),
        "break_ties": (model.predict(new, break_ties=True), same.predict(points, break_ties=True)),
        "ovo": (model.decision_function(new, "ovo"), same.decision_function(points, "ovo")),
        "ovr": (model.decision_function(new, "ovr"), same.decision_function(points, "ovr")),
        "support": (model.support, same.support),
        "coefficients": (model.coefficients, same.coefficients),
    }
    for name, (on_device, on_host) in results.items():
        assert on_device.device == DEVICE, name
        assert to_host(on_device).dtype == on_host.dtype, name
        np.testing.assert_array_equal(to_host(on_device), on_host, err_msg=name)


def score_on_meta() -> None:
    points, labels = clouds(60, 4, 3, seed=0)
    fitted = fit(points, labels, Kernel())
    names = ("support", "support_vectors", "coefficients", "intercepts")
    arrays = {name: torch.from_numpy(getattr(fitted, name)).to("meta") for name in names}
    model = OneVsOneModel(**arrays, kernel=Kernel(), n_classes=4)
    new = torch.from_numpy(points).to("meta")
    assert model.predict(new, break_ties=True).device.type == "meta"
    assert model.predict(new).shape == (60,)
    assert model.decision_function(new).shape == (60, 4)
    assert model.decision_function(new, "ovo").shape == (60, 6)


def test_scoring_never_waits_for_a_value() -> None:
    score_on_meta()


PLANTS: list[tuple[Any, Callable[..., Any], str, str]] = [
    (kernels_module, kernels_module._rbf, "xp.mean(vectors, axis=0)", "np.mean(np.asarray(vectors), axis=0)"),
    (
        model_module.OneVsOneModel,
        model_module.OneVsOneModel._by_blocks,
        "kernel(points[block, :])",
        "kernel(xp.asarray(np.asarray(points[block, :])))",
    ),
    (
        model_module.OneVsOneModel,
        model_module.OneVsOneModel._count_votes,
        "signs = 2 *",
        "np.asarray(decisions); signs = 2 *",
    ),
    (one_vs_one_module, one_vs_one_module._stack, "xp.unique_values(", "np.unique("),
    (
        one_vs_one_module,
        one_vs_one_module._spread,
        "xp.take(positions, found)",
        "xp.take(positions, xp.asarray(np.asarray(found)))",
    ),
]


@pytest.mark.parametrize("planted", ["float(decisions[0, 0])", "decisions.sum().item()", "decisions.cpu()"])
def test_a_planted_wait_for_a_value_is_found(monkeypatch: pytest.MonkeyPatch, planted: str) -> None:
    votes = OneVsOneModel._votes

    def waits(self: OneVsOneModel, decisions: Array) -> Array:
        eval(planted, {"decisions": decisions})
        return votes(self, decisions)

    monkeypatch.setattr(OneVsOneModel, "_votes", waits)
    with pytest.raises((NotImplementedError, RuntimeError)):
        score_on_meta()


@pytest.mark.parametrize(
    ("owner", "function", "code", "planted"), PLANTS, ids=[function.__name__ for _, function, *_ in PLANTS]
)
def test_a_planted_copy_to_the_host_is_found(
    monkeypatch: pytest.MonkeyPatch, owner: Any, function: Callable[..., Any], code: str, planted: str
) -> None:
    """The test above would fail: each of these would work with NumPy, and raises here."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(code) == 1
    scope = dict(inspect.getmodule(function).__dict__, np=np)  # type: ignore[union-attr]
    exec(compile(ast.parse(source.replace(code, planted)), "<planted>", "exec"), scope)
    points, labels = clouds(60, 4, 3, seed=0)
    monkeypatch.setattr(owner, function.__name__, scope[function.__name__])
    fit(points, labels, Kernel()).predict(points)  # on NumPy nothing is wrong with it
    with pytest.raises((RuntimeError, ValueError, TypeError)):
        fit_on_device(points, labels, Kernel()).predict(xp.asarray(points, device=DEVICE))
