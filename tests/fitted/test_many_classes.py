"""More classes than can be coupled in pairs: from the images to answers, on disk and as ONNX."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from gpu_ssl.config import FitConfig, TrainConfig
from gpu_ssl.data.own import OwnImages
from gpu_ssl.fitted import storage
from gpu_ssl.fitted.fitting import Fit, fit
from gpu_ssl.fitted.onnx_file import export
from gpu_ssl.methods.svm import COUPLED
from gpu_ssl.runtime.progress import SILENT

K = COUPLED + 10


def pictures(seed: int) -> np.ndarray:
    """Three noisy images of each of K classes."""
    kinds = np.random.default_rng(0).integers(0, 256, (K, 1, 8, 8))
    noise = np.random.default_rng(seed).normal(0, 40, (3 * K, 1, 8, 8))
    return (np.repeat(kinds, 3, axis=0) + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fit:
    names = tuple(f"species {kind}" for kind in range(K))
    own = OwnImages(tuple(map(str, range(3 * K))), pictures(1), np.repeat(np.arange(K), 3), names, {})
    config = FitConfig(
        method="svm", encoder="pixels", mirror=False, device="cpu", train=TrainConfig.of(epochs=1)
    )
    return fit(own, config, tmp_path_factory.mktemp("many") / "checkpoint.json", SILENT)


def test_they_are_named_and_judged(fitted: Fit) -> None:
    answers = fitted.model.predict(pictures(2))
    right = np.mean(answers.classes == np.repeat(np.arange(K), 3))
    assert right > 0.5
    assert fitted.record.estimate is not None
    assert abs(fitted.record.estimate.accuracy - right) < 0.2
    np.testing.assert_allclose(answers.probabilities.sum(axis=1), 1)
    assert np.array_equal(answers.probabilities.argmax(axis=1), answers.classes)
    # Not sure of all, and not of nothing.
    assert abs(answers.probabilities.max(axis=1).mean() - right) < 0.2


def test_a_stored_model_answers_the_same(fitted: Fit, tmp_path: Path) -> None:
    storage.save(tmp_path / "model", fitted.model, fitted.record)
    model, _ = storage.load(tmp_path / "model", "cpu")
    expected, found = fitted.model.predict(pictures(2)), model.predict(pictures(2))
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-6)


def test_onnxruntime_says_what_we_say(fitted: Fit, tmp_path: Path) -> None:
    export(fitted.model, fitted.record, tmp_path / "model.onnx")
    run = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for n in (1, 3 * K):
        ours = fitted.model.predict(pictures(2)[:n])
        classes, probabilities, _ = run.run(None, {"images": pictures(2)[:n]})
        assert np.array_equal(classes, ours.classes)
        np.testing.assert_allclose(probabilities, ours.probabilities, atol=1e-5)
