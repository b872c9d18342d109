"""A whole run on real images: honest, repeatable, resumable, and complete in what it reports."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gpu_ssl import experiment
from gpu_ssl.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.errors import DeviceError, UsageError
from gpu_ssl.methods.evaluation import Answer, Prediction
from gpu_ssl.methods.learned import CHECKPOINT
from gpu_ssl.models import checkpoint
from gpu_ssl.models.vae import VAE
from gpu_ssl.report.records import Report
from gpu_ssl.runtime.progress import Silent

CONFIG = RunConfig(
    data=DataConfig(dataset="digits"),
    train=TrainConfig(epochs=3),
    labels=(20, 100),
    splits=3,
)


def run(folder: Path, config: RunConfig = CONFIG) -> experiment.Outcome:
    return experiment.run(config, folder, Silent())


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> experiment.Outcome:
    return run(tmp_path_factory.mktemp("run"))


def accuracies(outcome: experiment.Outcome) -> list[tuple[str, int, tuple[float, ...]]]:
    return [(r.method, r.labels, r.accuracies) for r in outcome.report.results]


def test_method_and_baselines_are_there_at_every_count(outcome: experiment.Outcome) -> None:
    cells = [(r.method, r.labels, r.splits) for r in outcome.report.results]
    assert cells == [(m, n, 3) for m in ("m1", "raw-svc", "pca-svc", "rank-svc") for n in (20, 100)]


def test_mean_and_standard_deviation_are_those_of_the_accuracies(outcome: experiment.Outcome) -> None:
    for result in outcome.report.results:
        assert len(result.accuracies) == result.splits
        assert result.accuracy_mean == pytest.approx(np.mean(result.accuracies))
        assert result.accuracy_std == pytest.approx(np.std(result.accuracies, ddof=1))
        assert all(0.3 < accuracy <= 1 for accuracy in result.accuracies)


def test_more_labels_help(outcome: experiment.Outcome) -> None:
    means = {(r.method, r.labels): r.accuracy_mean for r in outcome.report.results}
    for method in ("m1", "raw-svc", "pca-svc"):
        assert means[method, 100] > means[method, 20]


def test_the_same_seed_gives_the_same_accuracies_to_the_last_digit(
    outcome: experiment.Outcome, tmp_path: Path
) -> None:
    assert accuracies(run(tmp_path)) == accuracies(outcome)


def test_another_seed_gives_others(outcome: experiment.Outcome, tmp_path: Path) -> None:
    assert accuracies(run(tmp_path, CONFIG.model_copy(update={"seed": 1}))) != accuracies(outcome)


def test_a_stopped_run_goes_on_to_the_same_accuracies(outcome: experiment.Outcome, tmp_path: Path) -> None:
    class StopsInTheSecondEpoch(Silent):
        def task(self, description, total, done=0):  # type: ignore[no-untyped-def]
            from contextlib import contextmanager

            told = []

            def advance(note: str, steps: float = 1) -> None:
                told.append(steps)
                if sum(told) > 1.5:
                    raise KeyboardInterrupt

            @contextmanager
            def task():  # type: ignore[no-untyped-def]
                yield advance

            return task()

    with pytest.raises(KeyboardInterrupt):
        experiment.run(CONFIG, tmp_path, StopsInTheSecondEpoch())
    assert (tmp_path / CHECKPOINT).is_file()
    resumed = run(tmp_path)
    assert accuracies(resumed) == accuracies(outcome)


def test_no_test_label_is_read_before_the_score(
    outcome: experiment.Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: Dataset
) -> None:
    """With other test labels the predictions are the same; only the score differs."""
    expected = outcome.predictions["m1"][100]
    wrong = (digits.test.labels + 1) % 10
    spoiled = replace(digits, test=replace(digits.test, labels=wrong))
    monkeypatch.setattr(experiment, "load_dataset", lambda *_: spoiled)
    other = run(tmp_path)
    for ours, theirs in zip(other.predictions["m1"][100], expected, strict=True):
        assert np.array_equal(ours.classes, theirs.classes)
    mean = other.report.results[1].accuracy_mean
    assert mean == pytest.approx(np.mean([(p.classes == wrong).mean() for p in expected]))
    assert mean < 0.2


def test_no_test_image_is_seen_in_training(
    outcome: experiment.Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: Dataset
) -> None:
    other_images = replace(digits, test=replace(digits.test, images=255 - digits.test.images))
    monkeypatch.setattr(experiment, "load_dataset", lambda *_: other_images)
    other = run(tmp_path, CONFIG.model_copy(update={"baselines": False, "splits": 1}))
    for name, value in other.vae.state_dict().items():
        assert torch.equal(value, outcome.vae.state_dict()[name]), name


def test_all_labels_are_one_split_without_a_deviation(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"labels": ("full",), "baselines": False})
    (result,) = run(tmp_path, config).report.results
    assert (result.labels, result.splits, result.accuracy_std) == (1347, 1, None)


def test_the_report_holds_what_the_schema_promises(outcome: experiment.Outcome) -> None:
    report = json.loads(outcome.report.to_json())
    assert report["schema"] == 3
    assert report["config"]["data"]["dataset"] == "digits"
    assert report["dataset"]["n_train"] == 1347
    assert report["dataset"]["sha256"] == outcome.dataset.sha256
    assert set(report["device"]) == set(report["svm"]) == {"requested", "used", "reason"}
    assert (
        report["environment"]["versions"]["torch"] == torch.__version__.partition("+")[0]
        or report["environment"]["versions"]["torch"]
    )
    phases = report["timings"]
    for phase in ("load", "train", "encode", "handoff", "fit", "score", "total"):
        assert phases[phase] > 0, phase
    assert phases["total"] >= sum(value for name, value in phases.items() if name != "total") * 0.99
    assert Report.model_validate(report) == outcome.report


def test_a_warm_up_changes_nothing(outcome: experiment.Outcome, tmp_path: Path) -> None:
    from gpu_ssl.methods import m1
    from gpu_ssl.models.batches import Resident

    pixels = torch.from_numpy(outcome.dataset.train.images.copy())
    m1.warm_up(CONFIG, m1.TrainingImages(Resident(pixels), False, ""))
    assert accuracies(run(tmp_path)) == accuracies(outcome)
    assert outcome.report.timings.warm_up == 0  # the CPU needs none


def test_the_vae_on_disk_is_the_one_that_encoded(
    outcome: experiment.Outcome, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("again")
    again = run(folder)
    tensors, description = checkpoint.load(folder / "vae.json")
    vae = VAE(ModelConfig(**description["model"]), tuple(description["image_shape"]))
    vae.load_state_dict(tensors)
    images = torch.from_numpy(again.dataset.test.images.copy()).float() / 255
    with torch.no_grad():
        latents = vae.eval().encode(images).mean
    torch.testing.assert_close(latents, torch.from_numpy(again.test_latents.copy()), rtol=0.1, atol=0.1)


def test_the_svms_on_disk_are_the_ones_that_predicted(tmp_path: Path) -> None:
    from gpu_ssl.svm.kernels import Kernel
    from gpu_ssl.svm.model import OneVsOneModel

    done = run(tmp_path, CONFIG.model_copy(update={"baselines": False, "splits": 1}))
    arrays, description = checkpoint.load(tmp_path / "svm" / "m1-100-labels-split-0.json")
    model = OneVsOneModel(
        **{name: array.numpy() for name, array in arrays.items()},
        kernel=Kernel(**description["kernel"]),
        n_classes=description["n_classes"],
    )
    assert np.array_equal(model.predict(done.test_latents), done.predictions["m1"][100][0].classes)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"data": DataConfig(dataset="imagenet")}, UsageError, "unknown data set"),
        ({"labels": (5,)}, UsageError, "--labels 5"),
        ({"svm_backend": "cuml"}, DeviceError, "--svm cuml"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        run(tmp_path / "new", CONFIG.model_copy(update=changes))
    assert not (tmp_path / "new").exists()


def test_scores_are_counted_right() -> None:
    labels = np.array([0, 1, 2, 3])
    answers = [Answer(np.array([0, 1, 2, 0]), "why", (3.0, 2.0)), Answer(np.array([0, 0, 0, 0]), "", (1.0,))]
    predictions = {
        "m": {7: [Prediction(answer, seconds) for answer, seconds in zip(answers, (2.0, 4.0), strict=True)]}
    }
    (result,) = experiment.score(predictions, labels)
    assert (result.method, result.labels, result.splits) == ("m", 7, 2)
    assert (result.accuracies, result.accuracy_mean) == ((0.75, 0.25), 0.5)
    assert result.accuracy_std == pytest.approx(0.25 * 2**0.5)
    assert (result.seconds, result.reasons, result.curves) == ((2.0, 4.0), ("why",), ((3.0, 2.0), (1.0,)))


def test_hidden_layers_stand_beside_the_latents(digits: Dataset, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"features": "both", "baselines": False})
    wide = run(tmp_path / "wide", config)
    mean = run(tmp_path / "mean", CONFIG.model_copy(update={"baselines": False}))
    assert wide.test_latents.shape == mean.test_latents.shape
    for count, predictions in wide.predictions["m1"].items():
        for both, alone in zip(predictions, mean.predictions["m1"][count], strict=True):
            assert not np.array_equal(both.classes, alone.classes)
            assert np.mean(both.classes == digits.test.labels) > 0.6
