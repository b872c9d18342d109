"""The benchmarks of own images and suggestions tell when something is not as wanted."""

import numpy as np
import pytest

from benchmarks.own_images import FEW, MANY, shortfalls
from benchmarks.suggest import STEP, STRATEGIES
from gpu_ssl.fitted.suggestion import POOL

GOOD = {
    "accuracy": 0.85,
    "expected_calibration_error": 0.02,
    "ood_auroc": 0.99,
    "decoded_per_second": 8000,
    "predict_peak_bytes": {str(FEW): 1000, str(MANY): 1010},
}


def test_what_is_wanted_and_reached_is_no_shortfall() -> None:
    assert shortfalls(GOOD) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accuracy", 0.8),
        ("expected_calibration_error", 0.05),
        ("ood_auroc", 0.9),
        ("decoded_per_second", 4000),
        ("predict_peak_bytes", {str(FEW): 1000, str(MANY): 1100}),
    ],
)
def test_each_shortfall_is_told(name: str, value: object) -> None:
    assert len(shortfalls({**GOOD, name: value})) == 1


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_chooses_as_many_different_images(name: str) -> None:
    rng = np.random.default_rng(0)
    margins, latents = rng.random(2000), rng.normal(size=(2000, 4)).astype(np.float32)
    chosen = STRATEGIES[name](margins, latents, 0)
    assert len(set(chosen.tolist())) == STEP
    least_sure = np.sort(margins)[POOL * STEP - 1]
    assert name == "random" or margins[chosen].max() <= least_sure
