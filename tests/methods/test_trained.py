"""Methods that spread or train with labels: better than M1 on digits, honest, and stopped losing no cell."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from gpu_ssl import catalog, experiment
from gpu_ssl.config import DataConfig, Effort, ModelConfig, Preset, RunConfig, TrainConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.encoders.encoder import encode
from gpu_ssl.errors import TrainingError
from gpu_ssl.methods import m2, network
from gpu_ssl.methods.consistency import growth_of
from gpu_ssl.methods.m2 import M2Classifier
from gpu_ssl.methods.network import plan_joint, teacher_weight
from gpu_ssl.methods.saving import load_classifier
from gpu_ssl.records import CURVE_STEPS
from gpu_ssl.report.plots import write_plots
from gpu_ssl.runtime.progress import SILENT
from gpu_ssl.svm._sklearn import SklearnBackend
from gpu_ssl.training import m2_published
from gpu_ssl.training.augmentation import canonical
from tests.methods import CPU, view_of

STEPS = 60
TRAINED = ("m1", "hybrid", "m2", "m1m2", "graph", "consistency", "auto")
# Of three seeds, the one whose methods are far apart: another machine's rounding moves each by a point.
CONFIG = RunConfig(
    data=DataConfig(dataset="digits"),
    methods=TRAINED,
    effort="normal",
    labels=(50,),
    splits=1,
    seed=0,
    device="cpu",
)


@pytest.fixture(scope="module", autouse=True)
def fewer_steps() -> Iterator[None]:
    """A seventh of the least number of steps, of half as many images: digits are small enough."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "FEWEST": STEPS,
            "PASSES": 1,
            "LABELLED_BATCH": 32,
            "UNLABELLED_BATCH": 128,
        }.items():
            patch.setattr(network, name, value)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def outcome(folder: Path) -> experiment.Outcome:
    return experiment.run(CONFIG, folder, SILENT)


def test_unlabelled_images_earn_their_keep(outcome: experiment.Outcome) -> None:
    means = {result.method: result.accuracy_mean for result in outcome.report.results}
    assert means["graph"] > means["m1"] + 0.03
    assert means["m1m2"] > means["m1"]
    for method in ("m2", "consistency", "auto"):
        assert means[method] > means["graph"]
        assert means[method] > means["cnn"] + 0.02
        assert means[method] > 0.9


def test_every_method_stands_beside_the_network_without_unlabelled_images(
    outcome: experiment.Outcome,
) -> None:
    methods = [result.method for result in outcome.report.results]
    assert methods == [*TRAINED, "cnn", "raw-svc", "pca-svc", "rank-svc"]


def test_auto_tells_what_it_chose_and_answers_as_that_does(outcome: experiment.Outcome) -> None:
    (result,) = (r for r in outcome.report.results if r.method == "auto")
    (reason,) = result.reasons
    assert reason.startswith(
        "consistency: a network, as the graph is accurate (50 labelled images held out in turn"
    )
    chosen = outcome.predictions["consistency"][50][0].classes
    assert np.array_equal(outcome.predictions["auto"][50][0].classes, chosen)


def test_every_network_tells_how_it_learned(outcome: experiment.Outcome) -> None:
    curves = {r.method: r.curves for r in outcome.report.results if r.curves}
    assert set(curves) == {"m2", "m1m2", "consistency", "auto", "cnn"}
    for method, (curve,) in curves.items():
        assert len(curve) == -(-STEPS // CURVE_STEPS), method
        assert all(np.isfinite(curve)), method


def read(folder: Path, method: str) -> M2Classifier:
    classifier = load_classifier(folder / "classifiers" / f"{method}-50-labels.json", SklearnBackend(), CPU)
    assert isinstance(classifier, M2Classifier)
    return classifier


def less_the_mean(pictures: torch.Tensor) -> torch.Tensor:
    return pictures - pictures.mean(0)


@pytest.mark.parametrize("method", ["m2", "m1m2"])
def test_m2_draws_each_class_and_lies_on_disk(
    outcome: experiment.Outcome, folder: Path, digits: Dataset, method: str
) -> None:
    """Generated images of a class differ from the others as its real images do."""
    classifier = read(folder, method)
    with torch.no_grad():
        rows = classifier._by_class(torch.zeros(1, m2.LATENT_DIM))
    drawn = torch.from_numpy(np.stack(rows)).flatten(1)
    pictures = canonical(torch.from_numpy(digits.train.images)).flatten(1)
    means = torch.stack([pictures[digits.train.labels == number].mean(0) for number in range(10)])
    nearest = (less_the_mean(drawn) @ less_the_mean(means).T).argmax(1)
    assert (nearest == torch.arange(10)).sum() >= 8
    view = view_of(digits.test.images, [classifier.encoder])
    same = classifier.predict(view) == outcome.predictions[method][50][0].classes
    # The run encodes in bfloat16 where a CPU computes with it, the loaded encoder in float32.
    assert same.mean() >= 0.99


def test_pictures_of_methods_and_encoders_are_plotted(outcome: experiment.Outcome, tmp_path: Path) -> None:
    write_plots(outcome, tmp_path)
    names = {f"{method}-{kind}.png" for method in ("m2", "m1m2") for kind in ("samples", "analogies")}
    names |= {"learning-curves.png", "reconstructions.png", "prior-samples.png", "training.png"}
    assert names <= {path.name for path in tmp_path.iterdir()}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[experiment.Outcome, Path, list[str]]:
    """M2 and M1+M2 as published, with the warnings that they gave."""
    folder = tmp_path_factory.mktemp("published")
    model = ModelConfig(network="mlp", latent_dim=16, kl_weight=0.2)
    config = CONFIG.model_copy(
        update={
            "preset": "paper",
            "methods": ("m1", "m2", "m1m2"),
            "labels": (20,),
            "baselines": False,
            "model": model,
            "train": TrainConfig(epochs=15, kl_warm_up=0.0),
            "steps": 1200,
        }
    )
    warnings = Warnings()
    logging.getLogger("gpu_ssl").addHandler(warnings)
    try:
        return experiment.run(config, folder, SILENT), folder, warnings.lines
    finally:
        logging.getLogger("gpu_ssl").removeHandler(warnings)


class Warnings(logging.Handler):
    """Keeps what was warned of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def test_models_as_published_learn_more_than_m1_from_few_labels(
    published: tuple[experiment.Outcome, Path, list[str]],
) -> None:
    means = {result.method: result.accuracy_mean for result in published[0].report.results}
    assert means["m1m2"] > means["m1"]
    assert means["m2"] > means["m1"]
    assert not any("has not learned anything about its inputs" in line for line in published[2])


def test_finished_cells_are_not_trained_again(
    outcome: experiment.Outcome, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a finished cell was trained again")

    monkeypatch.setattr(network, "JointTrainer", refuse)
    monkeypatch.setattr(m2, "JointTrainer", refuse)
    again = experiment.run(CONFIG, folder, SILENT)
    assert again.report.results == outcome.report.results
    assert [exhibit.name for exhibit in again.exhibits()] == [exhibit.name for exhibit in outcome.exhibits()]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[experiment.Outcome, Path]:
    folder = tmp_path_factory.mktemp("alone")
    config = CONFIG.model_copy(update={"methods": ("cnn",), "splits": 2, "baselines": False})
    return experiment.run(config, folder, SILENT), folder


def test_a_network_depends_on_its_split_and_seed_alone(
    outcome: experiment.Outcome, alone: tuple[experiment.Outcome, Path]
) -> None:
    """Not on what else is in the run, or was trained before."""
    first, second = alone[0].predictions["cnn"][50]
    assert np.array_equal(first.classes, outcome.predictions["cnn"][50][0].classes)
    assert not np.array_equal(first.classes, second.classes)


def test_a_network_alone_needs_no_vae(
    alone: tuple[experiment.Outcome, Path], tmp_path: Path, digits: Dataset
) -> None:
    """`cnn` sees the labelled images only: nothing else is fitted, and the report says so by null."""
    outcome, folder = alone
    assert outcome.report.training is None
    assert [result.method for result in outcome.report.results] == ["cnn"]
    assert sorted(path.name for path in folder.iterdir()) == ["classifiers", "predictions"]
    np.testing.assert_array_equal(outcome.test_features, digits.test.images.reshape(450, 64))
    write_plots(outcome, tmp_path / "plots")
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {
        *("accuracy.png", "confusion-matrix.png", "feature-map.png", "learning-curves.png"),
    }


@pytest.mark.parametrize(
    ("method", "preset"),
    [*((spec.name, "modern") for spec in catalog.METHODS), ("m2", "paper"), ("m1m2", "paper")],
)
def test_every_method_of_the_catalog_runs_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, preset: Preset
) -> None:
    """With the encoders that it needs, and no others."""
    monkeypatch.setattr(network, "FEWEST", 5)
    monkeypatch.setattr(m2_published, "FEWEST", 5)
    monkeypatch.setattr(m2_published, "PASSES", 0)
    config = CONFIG.model_copy(
        update={
            "methods": (method,),
            "preset": preset,
            "baselines": False,
            "labels": (20,),
            "effort": "quick",
            "train": TrainConfig(epochs=1),
        }
    )
    report = experiment.run(config, tmp_path, SILENT).report
    (result,) = report.results
    assert result.method == method
    assert 0 < result.accuracy_mean < 1
    needed = {catalog.method(method).encoder, catalog.method(method).teacher_with(preset)}
    assert (report.training is None) == (not any("vae" in name for name in needed))
    assert (tmp_path / "vae.json").is_file() == (report.training is not None)
    timings = report.timings.model_dump()
    total = timings.pop("total")
    assert 0 < sum(timings.values()) <= total


def test_with_best_effort_three_networks_decide_together(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "FEWEST", 25)
    config = CONFIG.model_copy(update={"methods": ("consistency",), "effort": "best", "baselines": False})
    (result,) = experiment.run(config, tmp_path, SILENT).report.results
    assert result.accuracy_mean > 0.9
    path = tmp_path / "classifiers" / "consistency-50-labels.json"
    encoder = load_classifier(path, SklearnBackend(), CPU).encoder
    assert encoder.name == "network+network+network+hog"
    heads = [part.state_dict()["network.head.weight"] for part in encoder.parts[:3]]
    assert not torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[1], heads[2])
    features = encode(encoder, torch.from_numpy(digits.test.images))
    hog = features[:, -encoder.parts[3].width :]  # weighs as much as the networks, each of which has 1
    assert float(hog.norm(dim=1).mean()) == pytest.approx(3**0.5, rel=0.1)


def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "LEARNING_RATE", 1e30)
    config = CONFIG.model_copy(update={"methods": ("cnn",), "baselines": False})
    with pytest.raises(TrainingError, match="the loss is not a finite number at step"):
        experiment.run(config, tmp_path, SILENT)
    assert not (tmp_path / "classifiers").exists()


def test_the_teacher_counts_less_as_labels_become_many() -> None:
    weights = [teacher_weight(m) for m in (1, 10, 60, 300, 6000)]
    assert weights == sorted(weights, reverse=True)
    assert weights[0] == 0.7
    assert weights[-1] < 0.05


def test_steps_grow_with_labels_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"FEWEST": 400, "PASSES": 30, "UNLABELLED_BATCH": 256}.items():
        monkeypatch.setattr(network, name, value)
    steps = [plan_joint(1500, 60_000, m, torch.float32, 1e-2, 0.02).steps for m in (10, 60, 300, 6000)]
    assert steps[0] == 1500
    assert steps == sorted(steps)
    assert steps[-1] == 30 * 60_000 // 256
    small = plan_joint(1500, 60, 6, torch.float32, 1e-2, 0.02)
    assert (small.steps, small.unlabelled_batch) == (400, 60)


def test_with_best_effort_networks_train_longer_from_ten_labels_per_class_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(network, "PASSES", 30)

    def steps(labels_per_class: float, effort: Effort) -> int:
        growth = growth_of(effort, labels_per_class)
        return plan_joint(750, 60_000, labels_per_class, torch.float32, 1e-2, 0.02, growth=growth).steps

    assert steps(300, "quick") == steps(300, "normal") < steps(300, "best") < 1.5 * steps(300, "normal")
    for few in (3, 10):
        assert steps(few, "normal") == steps(few, "best")


def test_batches_have_more_labelled_images_where_there_are_many() -> None:
    batches = [
        plan_joint(1500, 60_000, m, torch.float32, 1e-2, 0.02).labelled_batch for m in (1, 999, 1000, 6000)
    ]
    few = network.LABELLED_BATCH
    assert batches == [few, few, 2 * few, 2 * few]
