"""Everything around the binary fits stays on the device: no copy to the host, no wait for a value."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gpu_ssl.svm import kernels as kernels_module
from gpu_ssl.svm import model as model_module
from gpu_ssl.svm import one_vs_one as one_vs_one_module
from gpu_ssl.svm import pairs as pairs_module
from gpu_ssl.svm.kernels import Kernel
from gpu_ssl.svm.model import OneVsOneModel
from gpu_ssl.svm.one_vs_one import fit_one_vs_one
from gpu_ssl.svm.pairs import Penalty
from tests.svm import clouds, fit, kernels
from tests.svm.on_device import DEVICE, DeviceBackend, numbers_refused, to_device, to_host


def fit_on_device(points: NDArray[Any], labels: NDArray[np.int64], kernel: Kernel) -> OneVsOneModel:
    return fit_one_vs_one(
        DeviceBackend(), to_device(points), labels, int(labels.max()) + 1, Penalty(1.0, kernel)
    )


@settings(max_examples=25)
@given(
    kernel=kernels, n_classes=st.integers(2, 9), dtype=st.sampled_from(["f4", "f8"]), seed=st.integers(0, 999)
)
def test_fitting_and_scoring_stay_on_the_device(
    kernel: Kernel, n_classes: int, dtype: str, seed: int
) -> None:
    points, labels = clouds(60, n_classes, 3, seed)
    points = points.astype(dtype)
    same = fit(points, labels, kernel)
    new = to_device(points)
    with numbers_refused():
        model = fit_on_device(points, labels, kernel)
        results = {
            "predict": (model.predict(new), same.predict(points)),
            "break_ties": (model.predict(new, break_ties=True), same.predict(points, break_ties=True)),
            "ovo": (model.decision_function(new, "ovo"), same.decision_function(points, "ovo")),
            "ovr": (model.decision_function(new, "ovr"), same.decision_function(points, "ovr")),
            "support": (model.support, same.support),
            "duals": (model.duals, same.duals),
        }
    for name, (on_device, on_host) in results.items():
        assert on_device.device == DEVICE, name
        assert to_host(on_device).dtype == on_host.dtype, name
        np.testing.assert_array_equal(to_host(on_device), on_host, err_msg=name)


def score_on_meta() -> None:
    """Score torch tensors that have no values."""
    points, labels = clouds(60, 4, 3, seed=0)
    fitted = fit(points, labels, Kernel())
    names = ("support", "support_vectors", "duals", "intercepts")
    arrays = {name: torch.from_numpy(getattr(fitted, name)).to("meta") for name in names}
    model = OneVsOneModel(**arrays, kernel=Kernel(), n_support=fitted.n_support)
    new = torch.from_numpy(points).to("meta")
    assert model.predict(new, break_ties=True).device.type == "meta"
    assert model.predict(new).shape == (60,)
    assert model.decision_function(new).shape == (60, 4)
    assert model.decision_function(new, "ovo").shape == (60, 6)


def test_scoring_needs_no_value_of_a_torch_tensor() -> None:
    score_on_meta()


PLANTS: list[tuple[Any, Callable[..., Any], str, str]] = [
    (kernels_module, kernels_module._rbf, "xp.mean(vectors,", "np.mean(np.asarray(vectors),"),
    (
        model_module.OneVsOneModel,
        model_module.OneVsOneModel.by_blocks,
        "kernel(points[block, :])",
        "kernel(xp.asarray(np.asarray(points[block, :])))",
    ),
    (
        model_module.OneVsOneModel,
        model_module.OneVsOneModel.margin_rule,
        "values[:, rows] @ part",
        "np.asarray(values)[:, rows] @ np.asarray(part)",
    ),
    (
        model_module,
        model_module.votes,
        "_count(margins,",
        "_count(margins * float(margins[0, 0, 0] >= 0),",
    ),
    (model_module, model_module._count, "won = (", "_ = bool(wins_zero[0, 0]) or None; won = ("),
    (
        pairs_module,
        pairs_module._spread,
        "xp.take(positions, found)",
        "xp.take(positions, xp.asarray(np.asarray(found)))",
    ),
    (one_vs_one_module, one_vs_one_module._model, "xp.nonzero(", "np.nonzero("),
    (
        one_vs_one_module,
        one_vs_one_module._grouped,
        "xp.take(task.points, index, axis=0)",
        "np.take(np.asarray(task.points), rows, 0)",
    ),
]


@pytest.mark.parametrize(
    ("owner", "function", "code", "planted"), PLANTS, ids=[function.__name__ for _, function, *_ in PLANTS]
)
def test_a_planted_copy_or_wait_is_found(
    monkeypatch: pytest.MonkeyPatch, owner: Any, function: Callable[..., Any], code: str, planted: str
) -> None:
    """The first test would fail: each of these would work with NumPy, and raises on the device."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(code) == 1
    scope = dict(inspect.getmodule(function).__dict__, np=np)  # type: ignore[union-attr]
    exec(compile(ast.parse(source.replace(code, planted)), "<planted>", "exec"), scope)
    points, labels = clouds(60, 4, 3, seed=0)
    monkeypatch.setattr(owner, function.__name__, scope[function.__name__])
    fit(points, labels, Kernel()).predict(points)  # on NumPy nothing is wrong with it
    with numbers_refused(), pytest.raises((RuntimeError, ValueError, TypeError)):
        fit_on_device(points, labels, Kernel()).predict(to_device(points))


@pytest.mark.parametrize("planted", ["float(margins[0, 0, 0])", "margins.sum().item()", "margins.cpu()"])
def test_a_planted_wait_for_a_torch_tensor_is_found(monkeypatch: pytest.MonkeyPatch, planted: str) -> None:
    votes = model_module.votes

    def waits(margins: torch.Tensor) -> Any:
        eval(planted, {"margins": margins})
        return votes(margins)

    monkeypatch.setattr(model_module, "votes", waits)
    with pytest.raises((NotImplementedError, RuntimeError)):
        score_on_meta()
