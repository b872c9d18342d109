"""A model fitted to digits: accurate, with a correct estimate; invalid data are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.own import UNLABELLED, OwnImages
from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.errors import DataError, TrainingError, UsageError
from gpu_ssl.fitted.calibration import expected_calibration_error
from gpu_ssl.fitted.fitting import Fit, fit
from gpu_ssl.networks.vae import VAE
from gpu_ssl.runtime.progress import SILENT
from gpu_ssl.statistics import in_percent
from tests.fitted.conftest import CONFIG, ONE_EPOCH, own


def by_name(fitted: Fit) -> dict[str, Encoder]:
    return {encoder.name: encoder for encoder in fitted.model.encoders}


def assert_same_encoders(one: Fit, other: Fit) -> None:
    ours, theirs = by_name(one), by_name(other)
    assert ours.keys() == theirs.keys()
    for name, encoder in ours.items():
        for key, value in encoder.state_dict().items():
            assert torch.equal(value, theirs[name].state_dict()[key]), (name, key)


def test_it_knows_digits_and_how_well(fitted: Fit, digits: Dataset) -> None:
    answers = fitted.model.predict(digits.test.images)
    right = answers.classes == digits.test.labels
    estimate = fitted.record.estimate
    assert estimate is not None
    assert right.mean() > 0.92
    # So few test images tell the accuracy no better than this, in 95 of 100 cases.
    chance = 2 * right.std() / len(right) ** 0.5
    assert estimate.low - chance <= right.mean() <= estimate.high + chance
    assert estimate.of == 300
    assert expected_calibration_error(answers.probabilities.max(axis=1), right) < 0.06
    assert (answers.probabilities.argmax(axis=1) == answers.classes).all()
    np.testing.assert_allclose(answers.probabilities.sum(axis=1), 1)


def test_the_record_tells_all(fitted: Fit, digits: Dataset) -> None:
    record = fitted.record
    assert record.n_images == len(digits.train)
    assert record.n_labelled == dict.fromkeys(digits.train.class_names, 30)
    assert 290 <= len(record.labelled_keys) <= 300
    assert (record.image_shape, record.class_names) == ((1, 8, 8), digits.train.class_names)
    assert record.config == CONFIG
    assert record.training is not None
    assert len(record.training.history) == record.training.epochs
    shares = record.chosen.shares
    assert set(shares) == {"m1", "hybrid", "graph"}
    for name, share in shares.items():
        assert share > 0.9
        assert f"{name} {in_percent(share)} correct" in record.chosen.reason


def test_images_of_another_shape_are_refused(fitted: Fit) -> None:
    with pytest.raises(
        UsageError, match=r"expects uint8 images of shape \(1, 8, 8\), got uint8 of shape \(1, 9, 8\)"
    ):
        fitted.model.predict(np.zeros((2, 1, 9, 8), np.uint8))
    with pytest.raises(UsageError, match="got float32 of shape"):
        fitted.model.predict(np.zeros((2, 1, 8, 8), np.float32))


def test_an_interrupted_fit_resumes_and_ends_alike(
    digits: Dataset, fitted: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, path = own(digits, 300), tmp_path / "checkpoint.json"
    epochs = []

    def interrupt(self: VAE, *args: Any) -> Any:
        epochs.append(1)
        if len(epochs) > 60:
            raise KeyboardInterrupt
        return original(self, *args)

    original = VAE.encode
    with monkeypatch.context() as patch:
        patch.setattr("gpu_ssl.training.vae.SAVE_SECONDS", 0.0)
        patch.setattr(VAE, "encode", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fit(images, CONFIG, path, SILENT)
    assert path.is_file()
    again = fit(images, CONFIG, path, SILENT)
    assert again.record.chosen == fitted.record.chosen
    assert_same_encoders(again, fitted)


def test_no_label_reaches_an_encoder(digits: Dataset, tmp_path: Path) -> None:
    images = own(digits, 300)
    turned = np.where(images.labels == UNLABELLED, UNLABELLED, (images.labels + 1) % 10)
    others = OwnImages(images.names, images.images, turned, images.class_names, {})
    config = ONE_EPOCH.model_copy(update={"method": "hybrid"})
    one, other = (
        fit(own, config, tmp_path / f"{number}.json", SILENT) for number, own in enumerate((images, others))
    )
    assert set(by_name(one)) == {"vae", "hog", "vae+hog"}
    assert_same_encoders(one, other)


def test_encoders_of_a_model_of_the_same_images_are_taken_over(
    fitted: Fit, digits: Dataset, tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"method": "hybrid"})
    path = tmp_path / "checkpoint.json"
    more = fit(own(digits, 310), config, path, SILENT, base=(fitted.model, fitted.record))
    assert not path.exists()
    assert by_name(more)["vae"] is by_name(fitted)["vae"]
    assert more.record.training == fitted.record.training
    assert sum(more.record.n_labelled.values()) == 310


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train": CONFIG.train.model_copy(update={"epochs": 3})}, r"train: epochs=None"),
        ({"model": CONFIG.model.model_copy(update={"latent_dim": 3})}, r"model: .*latent_dim=64"),
        ({"mirror": True}, "mirror: False"),
    ],
)
def test_encoders_of_other_settings_are_not_taken_over(
    fitted: Fit, digits: Dataset, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    config = CONFIG.model_copy(update=change)
    with pytest.raises(UsageError, match=rf"^`from` names a model whose VAE has other settings \({words}"):
        fit(own(digits, 300), config, tmp_path / "c.json", SILENT, base=(fitted.model, fitted.record))


def test_encoders_of_other_images_are_not_taken_over(fitted: Fit, digits: Dataset, tmp_path: Path) -> None:
    images = own(digits, 300)
    fewer = OwnImages(images.names[1:], images.images[1:], images.labels[1:], images.class_names, {})
    with pytest.raises(UsageError, match=r"^`from` names a model of other images"):
        fit(fewer, CONFIG, tmp_path / "c.json", SILENT, base=(fitted.model, fitted.record))


def test_too_few_images_are_refused(digits: Dataset, tmp_path: Path) -> None:
    images = own(digits, 300)
    few = OwnImages(images.names[:5], images.images[:5], images.labels[:5], images.class_names, {})
    with pytest.raises(DataError, match="5 images are too few"):
        fit(few, CONFIG, tmp_path / "checkpoint.json", SILENT)


def test_a_loss_that_is_no_number_is_told_by_the_name_of_the_setting(digits: Dataset, tmp_path: Path) -> None:
    train = ONE_EPOCH.train.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(TrainingError, match=r"not (a )?finite.*`learning_rate`"):
        fit(own(digits, 300), CONFIG.model_copy(update={"train": train}), tmp_path / "c.json", SILENT)


@pytest.mark.parametrize(("method", "features"), [("m1", "vae"), ("cnn", "images"), ("raw-svc", "pixels")])
def test_an_encoder_that_the_method_does_not_take_is_refused(
    digits: Dataset, tmp_path: Path, method: str, features: str
) -> None:
    """Baselines too, which in a run leave the encoder to other methods."""
    config = CONFIG.model_copy(update={"method": method, "encoder": "hog"})
    with pytest.raises(
        UsageError, match=f"{method} works on {features}, not on `encoder=hog`; the methods that"
    ):
        fit(own(digits, 300), config, tmp_path / "c.json", SILENT)
