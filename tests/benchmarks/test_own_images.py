"""The benchmarks of own images and suggestions report missed targets."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.own_images import FEW, MANY, shortfalls
from benchmarks.suggest import FIRST, LAST, STEP, STRATEGIES, Trial
from gpu_ssl.config import DataConfig, RunConfig, TrainConfig
from gpu_ssl.fitted.suggestion import POOL

GOOD = {
    "effort": "quick",
    "accuracy": 0.87,
    "fit_seconds": 39.0,
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
        ("accuracy", 0.867),
        ("fit_seconds", 41.0),
        ("expected_calibration_error", 0.05),
        ("ood_auroc", 0.9),
        ("decoded_per_second", 4000),
        ("predict_peak_bytes", {str(FEW): 1000, str(MANY): 1100}),
    ],
)
def test_each_shortfall_is_told(name: str, value: object) -> None:
    assert len(shortfalls({**GOOD, name: value})) == 1


def test_more_effort_may_take_longer_and_must_be_better() -> None:
    best = {**GOOD, "effort": "best", "fit_seconds": 1000.0}
    assert shortfalls({**best, "accuracy": 0.875}) == []
    assert shortfalls({**best, "accuracy": 0.873}) == ["accuracy of at least 87.4 %"]


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_chooses_as_many_different_images(name: str) -> None:
    rng = np.random.default_rng(0)
    margins, latents = rng.random(2000), rng.normal(size=(2000, 4)).astype(np.float32)
    chosen = STRATEGIES[name](margins, latents, 0)
    assert len(set(chosen.tolist())) == STEP
    least_sure = np.sort(margins)[POOL * STEP - 1]
    assert name == "random" or margins[chosen].max() <= least_sure


def test_a_trial_asks_for_labels_step_by_step_and_uses_no_other() -> None:
    trial = Trial(RunConfig(data=DataConfig(dataset="digits"), train=TrainConfig(epochs=1)))
    asked: list[int] = []

    def choose(margins: NDArray[np.float64], latents: NDArray[np.float32], seed: int) -> NDArray[np.int64]:
        assert latents.shape == (len(margins), 64)
        asked.append(len(trial.train) - len(margins))
        return np.arange(STEP)

    found = trial.accuracies(choose, 0)
    assert asked == list(range(FIRST, LAST, STEP))
    assert len(found) == len(asked) + 1
    assert found[-1] > found[0] > 0.5
