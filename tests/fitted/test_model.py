"""A model fitted to digits: as good as the run's M1, honest about it, and the same after a trip to disk."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.own import UNLABELLED, OwnImages
from gpu_ssl.errors import DataError, StorageError, TrainingError, UsageError
from gpu_ssl.fitted import card, fitting, storage
from gpu_ssl.fitted.calibration import expected_calibration_error
from gpu_ssl.fitted.fitting import Fit, fit
from gpu_ssl.models.vae import VAE
from gpu_ssl.runtime.progress import SILENT
from tests.fitted.conftest import CONFIG, own


def test_it_knows_digits_and_how_well(fitted: Fit, dataset: Dataset) -> None:
    answers = fitted.model.predict(dataset.test.images)
    right = answers.classes == dataset.test.labels
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


def test_noise_scores_as_unlike_anything_seen(fitted: Fit, dataset: Dataset) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 1, 8, 8), dtype=np.uint8)
    known = fitted.model.predict(dataset.test.images).ood_scores
    assert np.mean(known > 1) < 0.2
    assert np.mean(fitted.model.predict(noise).ood_scores > 1) > 0.9


def test_the_record_tells_all(fitted: Fit, dataset: Dataset) -> None:
    record = fitted.record
    assert record.n_images == len(dataset.train)
    assert record.n_labelled == dict.fromkeys(dataset.train.class_names, 30)
    assert 290 <= len(record.labelled_keys) <= 300
    assert (record.image_shape, record.class_names) == ((1, 8, 8), dataset.train.class_names)
    assert record.config == CONFIG


def test_a_model_read_back_says_the_same(fitted: Fit, saved: Path, dataset: Dataset) -> None:
    model, record = storage.load(saved, "cpu")
    assert record == fitted.record
    before, after = (m.predict(dataset.test.images) for m in (fitted.model, model))
    for name in before._fields:
        assert np.array_equal(getattr(before, name), getattr(after, name)), name


def test_images_of_another_shape_are_refused(fitted: Fit) -> None:
    with pytest.raises(
        UsageError, match=r"takes uint8 images of shape \(1, 8, 8\), not uint8 of shape \(1, 9, 8\)"
    ):
        fitted.model.predict(np.zeros((2, 1, 9, 8), np.uint8))


def edit(saved: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = saved / storage.MODEL
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(kind="other"), "does not describe a model"),
        (lambda c: c.update(schema=99), "schema 99, and this gpu-ssl knows those up to 1: upgrade"),
        (lambda c: c["class_names"].reverse(), "damaged or was changed"),
        (lambda c: c.pop("sha256"), "damaged or was changed"),
        (lambda c: c.pop("tensors"), "does not describe saved tensors"),
    ],
)
def test_a_changed_description_is_refused(
    saved: Path, change: Callable[[dict[str, Any]], Any], words: str
) -> None:
    edit(saved, change)
    with pytest.raises(StorageError, match=words):
        storage.load(saved, "cpu")


def test_a_description_that_was_signed_again_must_still_fit_its_tensors(saved: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["config"]["model"]["latent_dim"] = 7
        told = {k: v for k, v in content.items() if k not in ("tensors", "sha256")}
        content["sha256"] = storage._digest(told)

    edit(saved, change)
    with pytest.raises(StorageError, match="do not fit together"):
        storage.load(saved, "cpu")


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(class_names=["a"]),
        lambda c: c["class_names"].pop(),
        lambda c: c["kernel"].update(name="zzz"),
        lambda c: c["kernel"].update(gamma="x"),
        lambda c: c["coupling"].update(slope=float("nan")),
        lambda c: c["ood"].update(reach=0.0),
    ],
)
def test_numbers_that_make_no_answers_are_refused(
    saved: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    def signed(content: dict[str, Any]) -> None:
        change(content)
        told = {k: v for k, v in content.items() if k not in ("tensors", "sha256")}
        content["sha256"] = storage._digest(told)

    edit(saved, signed)
    with pytest.raises(StorageError, match=r"do not fit together|is damaged"):
        storage.load(saved, "cpu")


def test_truncated_tensors_and_an_empty_folder_are_refused(saved: Path, tmp_path: Path) -> None:
    (tensors,) = saved.glob("*.safetensors")
    tensors.write_bytes(tensors.read_bytes()[:-10])
    with pytest.raises(StorageError, match="is damaged"):
        storage.load(saved, "cpu")
    with pytest.raises(UsageError, match="holds no model; make one with: gpu-ssl fit"):
        storage.load(tmp_path / "none", "cpu")


def test_nothing_is_pickled(saved: Path) -> None:
    assert sorted(path.suffix for path in saved.iterdir()) == [".json", ".safetensors"]


def test_an_interrupted_fit_goes_on_and_ends_alike(
    dataset: Dataset, fitted: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, path = own(dataset, 300), tmp_path / "checkpoint.json"
    epochs = []

    def interrupt(self: VAE, *args: Any) -> Any:
        epochs.append(1)
        if len(epochs) > 60:
            raise KeyboardInterrupt
        return original(self, *args)

    original = VAE.encode
    with monkeypatch.context() as patch:
        patch.setattr(VAE, "encode", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fit(images, CONFIG, path, SILENT)
    assert path.is_file()
    again = fit(images, CONFIG, path, SILENT)
    for name, value in fitted.model.vae.state_dict().items():
        assert torch.equal(value, again.model.vae.state_dict()[name]), name


def test_a_single_label_a_class_gives_a_model_without_an_estimate(dataset: Dataset, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"train": CONFIG.train.model_copy(update={"epochs": 1})})
    single = fit(own(dataset, 10), config, tmp_path / "checkpoint.json", SILENT)
    assert single.record.estimate is None
    assert "not known: class '0' has a single labelled image" in card.expectation(single.record)
    assert card.warning(None) is None
    assert single.model.predict(dataset.test.images).probabilities.max() <= 1


def test_too_few_images_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    images = own(dataset, 300)
    few = OwnImages(images.names[:5], images.images[:5], images.labels[:5], images.class_names, {})
    with pytest.raises(DataError, match="5 images are too few"):
        fit(few, CONFIG, tmp_path / "checkpoint.json", SILENT)


def test_a_loss_that_is_no_number_is_told(dataset: Dataset, tmp_path: Path) -> None:
    train = CONFIG.train.model_copy(update={"epochs": 1, "learning_rate": 1e30})
    with pytest.raises(TrainingError, match=r"not a finite number|not finite"):
        fit(own(dataset, 300), CONFIG.model_copy(update={"train": train}), tmp_path / "c.json", SILENT)


def test_the_card_tells_what_to_expect(fitted: Fit, tmp_path: Path) -> None:
    card.write_card(tmp_path, fitted.record)
    text = (tmp_path / "README.md").read_text()
    assert re.search(
        r"accuracy about \d\d\.\d% \(95 % interval \d\d\.\d% to \d\d\.\d%\), from 300 labelled", text
    )
    assert "into 10 classes" in text
    assert "| 7 | 30 |" in text
    assert (tmp_path / "reliability.png").read_bytes().startswith(b"\x89PNG")
    estimate = fitted.record.estimate
    assert estimate is not None
    few = estimate.model_copy(update={"of": 40, "right": 30})
    assert "too few to rely on" in card.expectation(fitted.record.model_copy(update={"estimate": few}))


def test_of_many_labelled_images_some_are_enough_for_the_baseline(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    original = fitting.intensities
    monkeypatch.setattr(fitting, "intensities", lambda images: seen.append(len(images)) or original(images))
    monkeypatch.setattr(fitting, "BASELINE_WORK", 64 * 100**2)
    config = CONFIG.model_copy(update={"train": CONFIG.train.model_copy(update={"epochs": 1})})
    estimate = fit(own(dataset, 300), config, tmp_path / "checkpoint.json", SILENT).record.estimate
    assert seen == [100]
    assert estimate is not None
    assert estimate.raw_pixels is not None
    assert (estimate.of, estimate.raw_pixels > 0.7) == (300, True)


def test_an_estimate_stands_beside_raw_pixels_and_what_is_useless_is_told(
    fitted: Fit, tmp_path: Path
) -> None:
    estimate = fitted.record.estimate
    assert estimate is not None
    assert estimate.raw_pixels is not None
    assert 0.85 < estimate.raw_pixels <= 1
    assert estimate.most_frequent == pytest.approx(0.1, abs=0.01)
    assert card.warning(estimate.model_copy(update={"raw_pixels": estimate.accuracy})) is None
    worse = estimate.model_copy(update={"raw_pixels": 1.0, "high": 0.98})
    assert "raw pixels is better here (100.0%)" in (card.warning(worse) or "")
    useless = estimate.model_copy(update={"low": 0.3, "most_frequent": 0.33})
    assert "do not use this model" in (card.warning(useless) or "")
    card.write_card(tmp_path, fitted.record.model_copy(update={"estimate": useless}))
    assert "Beware" in (tmp_path / "README.md").read_text()


def test_no_label_reaches_the_vae(dataset: Dataset, fitted: Fit, tmp_path: Path) -> None:
    images = own(dataset, 300)
    others = np.where(images.labels == UNLABELLED, UNLABELLED, (images.labels + 1) % 10)
    turned = OwnImages(images.names, images.images, others, images.class_names, {})
    again = fit(turned, CONFIG, tmp_path / "checkpoint.json", SILENT)
    for name, value in fitted.model.vae.state_dict().items():
        assert torch.equal(value, again.model.vae.state_dict()[name]), name


def test_points_are_judged_by_others_alone(fitted: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []

    class Spy:
        backend = fitted.model.backend

        def fit(self, points: np.ndarray, classes: np.ndarray) -> Any:
            seen.append(points)
            return fitted.model.svm

    points = np.arange(40, dtype=np.float32)[:, None] * np.ones((1, 64), np.float32)
    classes = np.arange(40) % 10
    asked: list[np.ndarray] = []
    original = type(fitted.model.svm).pair_decisions
    monkeypatch.setattr(
        type(fitted.model.svm), "pair_decisions", lambda self, p: asked.append(p) or original(self, p)
    )
    fitting.cross_validate(Spy(), points, classes, 0)  # type: ignore[arg-type]
    assert len(seen) == len(asked) == 4
    for learned, checked in zip(seen, asked, strict=True):
        assert not set(learned[:, 0]) & set(checked[:, 0])
        assert len(learned) + len(checked) == 40


def test_copies_of_a_labelled_image_tell_nothing_of_each_other(dataset: Dataset, tmp_path: Path) -> None:
    images = own(dataset, 100)
    rows = np.flatnonzero(images.labels != UNLABELLED)
    copied = np.concatenate([np.arange(len(images)), np.repeat(rows, 3)])
    names = tuple(map(str, range(len(copied))))
    several = OwnImages(names, images.images[copied], images.labels[copied], images.class_names, {})
    config = CONFIG.model_copy(update={"train": CONFIG.train.model_copy(update={"epochs": 1})})
    estimate = fit(several, config, tmp_path / "checkpoint.json", SILENT).record.estimate
    assert estimate is not None
    assert estimate.of == 100
    assert estimate.accuracy < 1  # as it would be if each were judged by its copies
