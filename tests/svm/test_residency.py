"""Everything around the binary fits stays on the device: no copy to the host, no wait for a value."""

from collections.abc import Callable
from typing import Any

import array_api_strict as strict
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gpu_ssl.svm import model as model_module
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


def to_host_operand(array: Any) -> object:
    return array + strict.asarray([1.0])


@pytest.mark.parametrize(
    "use",
    [
        np.asarray,
        np.mean,
        np.nonzero,
        lambda array: np.take(array, [0], 0),
        float,
        bool,
        int,
        lambda array: 1 if array > 0 else 0,
        lambda array: array * np.ones(1),
        to_host_operand,
    ],
    ids=["asarray", "mean", "nonzero", "take", "float", "bool", "int", "if", "numpy operand", "host operand"],
)
def test_the_device_of_these_tests_refuses_every_way_to_the_host(use: Callable[[Any], object]) -> None:
    """Without that the first test would prove nothing: each of these would pass unnoticed with NumPy."""
    value = np.asarray(2.0 if use in (float, bool, int) else [2.0])
    if use is not to_host_operand:
        use(value)
    with numbers_refused(), pytest.raises((RuntimeError, ValueError, TypeError)):
        use(to_device(value))


@pytest.mark.parametrize("planted", ["float(margins[0, 0, 0])", "margins.sum().item()", "margins.cpu()"])
def test_a_planted_wait_for_a_torch_tensor_is_found(monkeypatch: pytest.MonkeyPatch, planted: str) -> None:
    votes = model_module.votes

    def waits(margins: torch.Tensor) -> Any:
        eval(planted, {"margins": margins})
        return votes(margins)

    monkeypatch.setattr(model_module, "votes", waits)
    with pytest.raises((NotImplementedError, RuntimeError)):
        score_on_meta()
