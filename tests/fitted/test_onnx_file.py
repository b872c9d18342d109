"""The ONNX file answers as the model does: onnxruntime, which shares no code with us, is asked."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from gpu_ssl.config import FitConfig, TrainConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.own import UNLABELLED, OwnImages
from gpu_ssl.errors import DependencyError, StorageError
from gpu_ssl.fitted.fitting import Fit, fit
from gpu_ssl.fitted.onnx_file import export
from gpu_ssl.runtime.progress import SILENT
from tests.fitted.conftest import CONFIG, own


def session(fitted: Fit, folder: Path) -> onnxruntime.InferenceSession:
    export(fitted.model, fitted.record, folder / "model.onnx")
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]
    return onnxruntime.InferenceSession(folder / "model.onnx")


def assert_same(fitted: Fit, run: onnxruntime.InferenceSession, images: np.ndarray) -> None:
    ours = fitted.model.predict(images)
    classes, probabilities, scores = run.run(None, {"images": images})
    assert (classes.dtype, probabilities.dtype, scores.dtype) == (np.int64, np.float32, np.float32)
    assert np.array_equal(classes, ours.classes)
    assert np.array_equal(probabilities.argmax(axis=1), classes)
    np.testing.assert_allclose(probabilities, ours.probabilities, atol=1e-5)
    np.testing.assert_allclose(scores, ours.ood_scores, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def hybrid(fitted: Fit, digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Fit:
    """An SVM on the latents and on HOG, with the encoders of the model of the folder."""
    config, checkpoint = (
        CONFIG.model_copy(update={"method": "hybrid"}),
        tmp_path_factory.mktemp("hybrid") / "c.json",
    )
    return fit(own(digits, 100), config, checkpoint, SILENT, base=(fitted.model, fitted.record))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Fit:
    """Two classes, colours, sides of no nice number, and no augmentation."""
    rng = np.random.default_rng(0)
    labels = np.where(np.arange(40) < 20, np.arange(40) % 2, UNLABELLED)
    images = rng.integers(0, 256, (40, 3, 9, 13), dtype=np.uint8)
    own = OwnImages(tuple(map(str, range(40))), images, labels, ("été", "winter"), {})
    config = FitConfig(method="m1", device="cpu", train=TrainConfig.of(epochs=1, augment=False))
    return fit(own, config, tmp_path_factory.mktemp("tiny") / "checkpoint.json", SILENT)


@pytest.mark.parametrize("which", ["fitted", "hybrid"])
def test_onnxruntime_says_what_we_say(
    which: str, digits: Dataset, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(which)
    run = session(model, tmp_path)
    for n in (1, 2, len(digits.test)):
        assert_same(model, run, digits.test.images[:n])
    noise = np.random.default_rng(0).integers(0, 256, (50, 1, 8, 8), dtype=np.uint8)
    assert_same(model, run, noise)
    assert_same(model, run, np.zeros((1, 1, 8, 8), np.uint8))


def test_classes_that_are_far_apart_have_probabilities(hybrid: Fit, digits: Dataset, tmp_path: Path) -> None:
    """Where a sigmoid is 0 its logarithm is no number."""
    calibration = replace(hybrid.model.calibration, slope=1000.0)
    sure = replace(hybrid, model=replace(hybrid.model, calibration=calibration))
    assert_same(sure, session(sure, tmp_path), digits.test.images)


def test_two_classes_in_colour(tiny: Fit, tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (30, 3, 9, 13), np.uint8)
    assert_same(tiny, session(tiny, tmp_path), images)


def test_the_file_tells_what_it_takes_and_gives(tiny: Fit, tmp_path: Path) -> None:
    run = session(tiny, tmp_path)
    told = run.get_modelmeta().custom_metadata_map
    assert json.loads(told["class_names"]) == ["été", "winter"]
    assert json.loads(told["image_shape"]) == [3, 9, 13]
    (images,) = run.get_inputs()
    assert (images.name, images.type, images.shape[1:]) == ("images", "tensor(uint8)", [3, 9, 13])
    assert [output.name for output in run.get_outputs()] == ["class", "probabilities", "ood_score"]


def test_a_missing_package_is_named(tiny: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu_ssl.runtime.optional.find_spec", lambda name: None)
    with pytest.raises(DependencyError, match="pip install onnx onnxscript"):
        export(tiny.model, tiny.record, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written(tiny: Fit, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        export(tiny.model, tiny.record, tmp_path / "file" / "model.onnx")


def test_nothing_is_printed(
    tiny: Fit, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        export(tiny.model, tiny.record, tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
