"""A whole run on real images: honest, repeatable, resumable, and complete in what it reports."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gpu_ssl import catalog, experiment
from gpu_ssl.config import DataConfig, ModelConfig, RunConfig, SVMConfig, TrainConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.encoders import vae
from gpu_ssl.encoders.encoder import encode
from gpu_ssl.encoders.fitting import TrainingImages
from gpu_ssl.encoders.saving import build_encoder
from gpu_ssl.errors import DeviceError, StorageError, UsageError
from gpu_ssl.experiment import methods_of
from gpu_ssl.methods.evaluation import Prediction
from gpu_ssl.methods.method import options_of
from gpu_ssl.methods.representation import CHECKPOINT, ENCODER
from gpu_ssl.methods.saving import load_classifier
from gpu_ssl.records import Choice, Report
from gpu_ssl.runtime import state
from gpu_ssl.runtime.progress import SILENT, Advance, Silent
from gpu_ssl.svm._sklearn import SklearnBackend

CPU = torch.device("cpu")
CONFIG = RunConfig(
    data=DataConfig(dataset="digits"),
    train=TrainConfig(epochs=3),
    labels=(20, 100),
    splits=3,
    device="cpu",
)
ALONE = CONFIG.model_copy(update={"baselines": False, "splits": 1})
"""Without baselines, and with one split."""


def run(folder: Path, config: RunConfig = CONFIG) -> experiment.Outcome:
    return experiment.run(config, folder, SILENT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def outcome(folder: Path) -> experiment.Outcome:
    return run(folder)


def accuracies(outcome: experiment.Outcome) -> list[tuple[str, int, tuple[float, ...]]]:
    return [(r.method, r.labels, r.accuracies) for r in outcome.report.results]


def test_methods_and_baselines_are_there_at_every_count(outcome: experiment.Outcome) -> None:
    cells = [(r.method, r.labels, r.splits) for r in outcome.report.results]
    methods = ("m1", "hybrid", "raw-svc", "pca-svc", "rank-svc")
    assert cells == [(m, n, 3) for m in methods for n in (20, 100)]


def test_mean_and_standard_deviation_are_those_of_the_accuracies(outcome: experiment.Outcome) -> None:
    for result in outcome.report.results:
        assert len(result.accuracies) == result.splits
        assert result.accuracy_mean == pytest.approx(np.mean(result.accuracies))
        assert result.accuracy_std == pytest.approx(np.std(result.accuracies, ddof=1))
        assert all(0.3 < accuracy <= 1 for accuracy in result.accuracies)


def test_more_labels_help(outcome: experiment.Outcome) -> None:
    means = {(r.method, r.labels): r.accuracy_mean for r in outcome.report.results}
    for method in ("m1", "hybrid", "raw-svc", "pca-svc"):
        assert means[method, 100] > means[method, 20]


def test_the_same_seed_gives_the_same_accuracies_to_the_last_digit(
    outcome: experiment.Outcome, tmp_path: Path
) -> None:
    assert accuracies(run(tmp_path)) == accuracies(outcome)


def test_another_seed_gives_others(outcome: experiment.Outcome, tmp_path: Path) -> None:
    assert accuracies(run(tmp_path, CONFIG.model_copy(update={"seed": 1}))) != accuracies(outcome)


class Stops(Silent):
    """Interrupts a task once so much of it is done."""

    def __init__(self, description: str, after: float) -> None:
        self.description, self.after = description, after

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Advance]:
        told = [float(done)]

        def advance(note: str, steps: float = 1) -> None:
            told.append(steps)
            if description == self.description and sum(told) > self.after:
                raise KeyboardInterrupt

        yield advance


@pytest.fixture
def saves_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu_ssl.training.vae.SAVE_SECONDS", 0.0)


@pytest.mark.usefixtures("saves_each_epoch")
@pytest.mark.parametrize(
    ("task", "after", "there"),
    [
        ("Training the VAE", 1.5, {CHECKPOINT}),
        ("hybrid: SVM on VAE latents and HOG", 2.5, {CHECKPOINT, "vae.json", "pca.json"}),
        ("SVM on ranks of pixels", 5.5, {CHECKPOINT, "vae.json", "pca.json"}),
    ],
)
def test_a_stopped_run_goes_on_to_the_same_accuracies(
    outcome: experiment.Outcome, tmp_path: Path, task: str, after: float, there: set[str]
) -> None:
    """Wherever it was: in an epoch of the VAE, or in a cell of a method."""
    with pytest.raises(KeyboardInterrupt):
        experiment.run(CONFIG, tmp_path, Stops(task, after))
    assert {path.name for path in tmp_path.glob("*.json")} == there
    assert accuracies(run(tmp_path)) == accuracies(outcome)


def test_finished_cells_of_other_settings_are_refused(tmp_path: Path) -> None:
    """They are in the folder of a run whose settings somebody changed."""
    config = ALONE.model_copy(update={"methods": ("raw-svc",), "labels": (20,)})
    done = run(tmp_path, config)
    assert run(tmp_path, config).report.results == done.report.results
    for change in ({"svm": SVMConfig(C=1)}, {"seed": 3}):
        with pytest.raises(StorageError, match="belongs to another run"):
            run(tmp_path, config.model_copy(update=change))


def test_cells_belong_to_what_decided_them(digits: Dataset, tmp_path: Path) -> None:
    """Settings of learning, the data, the device and the effort; not which and how many cells there are."""

    def origin(device: str = "cpu", data: Dataset = digits, **changes: object) -> str:
        config, place = CONFIG.model_copy(update=changes), torch.device(device)
        options = options_of(config, "auto", place)
        return experiment._store(config, options, data, place, tmp_path).origin

    same = origin()
    for changes in ({"labels": (20,)}, {"splits": 5}, {"baselines": False}, {"methods": ("m1",)}):
        assert origin(**changes) == same
    other_data = replace(digits, test=replace(digits.test, images=255 - digits.test.images))
    others = [
        origin("cuda", effort="quick"),
        origin(data=other_data),
        origin(effort="best"),
        origin(seed=1),
        origin(svm=SVMConfig(C=1)),
        origin(encoder="pca"),
        origin(preset="paper"),
        origin(train=TrainConfig(epochs=4)),
        origin(model=ModelConfig(latent_dim=8)),
    ]
    assert len({same, *others}) == 1 + len(others)


@pytest.mark.usefixtures("saves_each_epoch")
def test_a_stopped_vae_of_other_settings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        experiment.run(CONFIG, tmp_path, Stops("Training the VAE", 1.5))
    with pytest.raises(StorageError, match="belongs to another training: plan differ"):
        run(tmp_path, CONFIG.model_copy(update={"train": TrainConfig(epochs=4)}))


def with_test(dataset: Dataset, **changes: Any) -> Any:
    spoiled = replace(dataset, test=replace(dataset.test, **changes))
    return lambda *_: spoiled


def test_no_test_label_is_read_before_the_score(
    outcome: experiment.Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: Dataset
) -> None:
    """With other test labels the predictions are the same; only the score differs."""
    wrong = (digits.test.labels + 1) % 10
    monkeypatch.setattr(experiment, "load_dataset", with_test(digits, labels=wrong))
    other = run(tmp_path)
    for method, by_count in outcome.predictions.items():
        for count, predictions in by_count.items():
            for ours, theirs in zip(other.predictions[method][count], predictions, strict=True):
                assert np.array_equal(ours.classes, theirs.classes)
    mean = other.report.results[1].accuracy_mean
    expected = [(p.classes == wrong).mean() for p in outcome.predictions["m1"][100]]
    assert mean == pytest.approx(np.mean(expected))
    assert mean < 0.2


def test_the_choice_of_a_method_knows_no_test_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: Dataset
) -> None:
    config = ALONE.model_copy(update={"methods": ("auto",), "labels": (50,), "splits": 2})
    honest = run(tmp_path / "honest", config)
    wrong = np.zeros_like(digits.test.labels)
    monkeypatch.setattr(experiment, "load_dataset", with_test(digits, labels=wrong))
    other = run(tmp_path / "other", config)
    (one,), (two,) = honest.report.results, other.report.results
    assert one.reasons == two.reasons
    assert len(one.reasons) == 2
    for ours, theirs in zip(other.predictions["auto"][50], honest.predictions["auto"][50], strict=True):
        assert np.array_equal(ours.classes, theirs.classes)


def encoder_of(folder: Path, name: str = "vae") -> Any:
    saved, tensors = state.load(folder / f"{name}.json", ENCODER)
    return build_encoder(saved.encoder.model_dump(), tensors)


def test_no_test_image_is_seen_in_training(
    outcome: experiment.Outcome,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    digits: Dataset,
) -> None:
    monkeypatch.setattr(experiment, "load_dataset", with_test(digits, images=255 - digits.test.images))
    run(tmp_path, CONFIG.model_copy(update={"splits": 1}))
    for name in ("vae", "pca"):
        ours, theirs = encoder_of(tmp_path, name).state_dict(), encoder_of(folder, name).state_dict()
        for key, value in theirs.items():
            assert torch.equal(value, ours[key]), key
    for method in ("m1", "hybrid"):
        ours, theirs = (
            load_classifier(where / "classifiers" / f"{method}-100-labels.json", SklearnBackend(), CPU)
            for where in (tmp_path, folder)
        )
        for key, value in theirs.tensors().items():
            assert torch.equal(value, ours.tensors()[key]), (method, key)


def test_all_labels_are_one_split_without_a_deviation(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"labels": ("full",), "baselines": False, "methods": ("m1",)})
    (result,) = run(tmp_path, config).report.results
    assert (result.labels, result.splits, result.accuracy_std) == (1347, 1, None)


def test_the_report_holds_what_the_schema_promises(outcome: experiment.Outcome, digits: Dataset) -> None:
    report = json.loads(outcome.report.to_json())
    assert report["schema"] == 5
    assert report["config"]["data"]["dataset"] == "digits"
    assert report["config"]["methods"] == ["m1", "hybrid"]
    assert report["dataset"]["n_train"] == 1347
    assert report["dataset"]["sha256"] == digits.sha256
    assert set(report["device"]) == set(report["svm"]) == {"requested", "used", "reason"}
    assert report["environment"]["versions"]["torch"]
    assert report["training"]["epochs"] == len(report["training"]["history"]) == 3
    assert [(d["method"], d["against"], d["labels"]) for d in report["differences"]] == [
        ("hybrid", "m1", 20),
        ("hybrid", "m1", 100),
    ]
    assert Report.model_validate(report) == outcome.report


def test_no_second_is_in_two_phases(outcome: experiment.Outcome) -> None:
    phases = outcome.report.timings.model_dump()
    total = phases.pop("total")
    for phase in ("load", "upload", "train", "encode", "handoff", "fit", "score", "write"):
        assert phases[phase] > 0, phase
    assert phases["warm_up"] == 0  # the CPU needs none
    # What no phase names is little: files, and choices of rows.
    assert 0.3 * total < sum(phases.values()) <= total
    for result in outcome.report.results:
        assert all(0 < seconds < total for seconds in result.seconds)


def test_a_warm_up_changes_nothing(outcome: experiment.Outcome, tmp_path: Path, digits: Dataset) -> None:
    vae.warm_up(CONFIG, TrainingImages(digits.train.images, CPU, False, ""))
    assert accuracies(run(tmp_path)) == accuracies(outcome)


def test_the_vae_on_disk_is_the_one_that_encoded(
    outcome: experiment.Outcome, folder: Path, digits: Dataset
) -> None:
    encoder = encoder_of(folder)
    assert (encoder.name, encoder.image_shape, encoder.width) == ("vae", (1, 8, 8), 64)
    features = encode(encoder, torch.from_numpy(digits.test.images))
    # A run computes in bfloat16 where the hardware has it.
    torch.testing.assert_close(features, torch.from_numpy(outcome.test_features), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("method", ["m1", "hybrid"])
def test_the_classifiers_on_disk_are_the_ones_that_predicted(
    outcome: experiment.Outcome, folder: Path, digits: Dataset, method: str
) -> None:
    """Those of the first split of each number of labels, with their encoders; none of baselines."""
    images = torch.from_numpy(digits.test.images)
    for count in (20, 100):
        path = folder / "classifiers" / f"{method}-{count}-labels.json"
        classifier = load_classifier(path, SklearnBackend(), CPU)
        with torch.no_grad():
            decisions = classifier.module()(encode(classifier.encoder, images))
        agreeing = classifier.winners(decisions).numpy() == outcome.predictions[method][count][0].classes
        assert agreeing.mean() >= (0.98 if "vae" in classifier.encoder.name else 1)
    assert len(list((folder / "classifiers").glob("*.json"))) == 4


def test_features_for_the_plot_are_those_of_the_first_method(
    outcome: experiment.Outcome, tmp_path: Path, digits: Dataset
) -> None:
    assert outcome.test_features.shape == (450, 64)
    assert np.array_equal(outcome.test.labels, digits.test.labels)
    config = ALONE.model_copy(update={"methods": ("svm",), "encoder": "pca"})
    assert run(tmp_path, config).test_features.shape == (450, 50)


def test_an_encoder_that_is_asked_for_is_what_methods_work_on(
    outcome: experiment.Outcome, tmp_path: Path, digits: Dataset
) -> None:
    """Baselines stay what they are; and where nobody wants a VAE none is trained."""
    config = CONFIG.model_copy(update={"methods": ("svm", "graph"), "encoder": "hog+pca"})
    other = run(tmp_path, config)
    assert other.report.training is None
    assert not (tmp_path / "vae.json").exists()
    assert other.report.timings.train < outcome.report.timings.train
    for method in ("raw-svc", "pca-svc", "rank-svc"):
        for count in (20, 100):
            for ours, theirs in zip(
                other.predictions[method][count], outcome.predictions[method][count], strict=True
            ):
                assert np.array_equal(ours.classes, theirs.classes)
    for method in ("svm", "graph"):
        path = tmp_path / "classifiers" / f"{method}-100-labels.json"
        assert load_classifier(path, SklearnBackend(), CPU).encoder.name == "hog+pca"


def test_exhibits_are_those_of_the_encoders(outcome: experiment.Outcome) -> None:
    assert [exhibit.name for exhibit in outcome.exhibits()] == ["reconstructions", "prior-samples"]


NETWORKS = {"baselines": True, "methods": ("m2", "m1")}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["m1", "hybrid", "raw-svc", "pca-svc", "rank-svc"]),
        ({"baselines": False}, ["m1", "hybrid"]),
        # A network on labelled images only is listed after those that use all, before the SVMs.
        (NETWORKS, ["m2", "m1", "cnn", "raw-svc", "pca-svc", "rank-svc"]),
        # A requested baseline is listed once, in its place.
        ({"methods": ("pca-svc", "m1")}, ["pca-svc", "m1", "raw-svc", "rank-svc"]),
        ({"methods": ("cnn",)}, ["cnn", "raw-svc", "pca-svc", "rank-svc"]),
    ],
)
def test_baselines_stand_with_the_methods(changes: dict[str, object], expected: list[str]) -> None:
    assert [spec.name for spec in methods_of(CONFIG.model_copy(update=changes))] == expected


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"data": DataConfig(dataset="imagenet")}, UsageError, "unknown data set"),
        ({"labels": (5,)}, UsageError, "`labels=5`"),
        ({"svm_backend": "cuml"}, DeviceError, "`svm=cuml`"),
        ({"encoder": "pca"}, UsageError, "the method m1 works on vae, not on `encoder=pca`"),
        ({"encoder": "pca", "methods": ("svm", "m2")}, UsageError, "the method m2 works on pixels and vae"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, object], error: type[Exception], words: str
) -> None:
    config = CONFIG.model_copy(update=changes)
    with pytest.raises(error, match=words):
        experiment.check(config)
    with pytest.raises(error, match=words):
        run(tmp_path / "new", config)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("method", ["graph", "consistency", "cnn", "auto", "m1m2"])
def test_several_ranks_share_the_vae_and_nothing_else(method: str) -> None:
    """A method with other work that is long would let them wait; the message names what can be shared."""
    two = SimpleNamespace(size=2, leads=True, device=lambda requested: experiment.ALONE.device(requested))
    config = CONFIG.model_copy(update={"methods": ("m1", method)})
    if catalog.method(method).shared:
        experiment.check(config, two)  # type: ignore[arg-type]
        return
    with pytest.raises(UsageError, match=rf"`method={method}` .* may then be m1, hybrid, svm or \w+;"):
        experiment.check(config, two)  # type: ignore[arg-type]
    experiment.check(CONFIG, two)  # type: ignore[arg-type]
    experiment.check(config)


def test_only_the_first_of_several_ranks_needs_what_fits_the_svms() -> None:
    """cuML serves the first GPU, so the others would refuse."""
    used = Choice(requested="cuda", used="cuda:1", reason="usable")
    config = CONFIG.model_copy(update={"svm_backend": "cuml"})
    for leads in (False, True):
        ranks = SimpleNamespace(size=2, leads=leads, device=lambda requested: used)
        with pytest.raises(DeviceError) if leads else nullcontext():
            experiment.check(config, ranks)  # type: ignore[arg-type]


def test_counts_that_the_data_set_cannot_serve_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        experiment.check(CONFIG.model_copy(update={"labels": "all"}))
    assert caplog.messages == ["digits has 1347 training images: 3000 labels left out"]


def test_effort_auto_is_quick_on_a_cpu_and_best_on_a_gpu() -> None:
    for device, effort in ((CPU, "quick"), (torch.device("cuda"), "normal")):
        assert options_of(CONFIG, "auto", device).effort == effort
        for asked in ("quick", "normal", "best"):
            config = CONFIG.model_copy(update={"effort": asked})
            assert options_of(config, "auto", device).effort == asked


def test_scores_are_counted_right() -> None:
    labels = np.array([0, 1, 2, 3])
    splits = [
        Prediction(np.array([0, 1, 2, 0]), 2.0, "why", (3.0, 2.0)),
        Prediction(np.array([0, 0, 0, 0]), 4.0, "", (1.0,)),
    ]
    (result,) = experiment.score({"m": {7: splits}}, labels)
    assert (result.method, result.labels, result.splits) == ("m", 7, 2)
    assert (result.accuracies, result.accuracy_mean) == ((0.75, 0.25), 0.5)
    assert result.accuracy_std == pytest.approx(0.25 * 2**0.5)
    assert (result.seconds, result.reasons, result.curves) == ((2.0, 4.0), ("why",), ((3.0, 2.0), (1.0,)))


def test_the_network_of_the_paper_runs(tmp_path: Path) -> None:
    config = ALONE.model_copy(
        update={"model": ModelConfig(network="mlp"), "methods": ("m1",), "preset": "paper"}
    )
    outcome = run(tmp_path, config)
    assert outcome.test_features.shape == (450, 50)
    training = outcome.report.training
    assert training is not None
    assert not training.augment
