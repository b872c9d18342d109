"""A method and an encoder that are added by a module and an entry each work everywhere the others do."""

from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from gpu_ssl import catalog, experiment
from gpu_ssl.catalog import EncoderSpec, MethodSpec
from gpu_ssl.config import DataConfig, FitConfig, RunConfig, TrainConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.own import UNLABELLED, OwnImages
from gpu_ssl.errors import UsageError
from gpu_ssl.fitted.fitting import fit
from gpu_ssl.fitted.storage import load, save
from gpu_ssl.methods.saving import load_classifier
from gpu_ssl.report.plots import write_plots
from gpu_ssl.report.table import render
from gpu_ssl.runtime.progress import SILENT
from gpu_ssl.svm._sklearn import SklearnBackend
from tests.methods import CPU, choose
from tests.methods.toy_method import NearestMean

METHOD = MethodSpec(
    "means",
    "toy: nearest mean",
    "the class whose mean is nearest",
    module="tests.methods.toy_method",
    encoder="vae",
    free=True,
    svm=False,
)
ENCODER = EncoderSpec("profiles", "sums of rows and columns", "tests.encoders.toy_encoder")


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two entries, and nothing else."""
    monkeypatch.setattr(catalog, "METHODS", (*catalog.METHODS, METHOD))
    monkeypatch.setattr(catalog, "ENCODERS", (*catalog.ENCODERS, ENCODER))


def test_a_run_has_the_toys_beside_the_others(tmp_path: Path, digits: Dataset) -> None:
    """In the report, in the table and in the plots; on the toy's features, and on a sum with these."""
    config = RunConfig(
        data=DataConfig(dataset="digits"),
        methods="svm,graph,means",  # type: ignore[arg-type]
        encoder="profiles+hog",
        labels=(50, 200),
        splits=2,
        device="cpu",
    )
    outcome = experiment.run(config, tmp_path, SILENT)
    results = {(r.method, r.labels): r.accuracy_mean for r in outcome.report.results}
    assert [method for method, labels in results if labels == 50] == [
        *("svm", "graph", "means"),
        *("raw-svc", "pca-svc", "rank-svc"),
    ]
    assert 0.75 < results["means", 50] < results["means", 200]
    console = Console(record=True, width=120)
    console.print(render(outcome.report))
    printed = console.export_text()
    assert "toy: nearest mean" in printed
    assert f"{100 * results['means', 200]:.2f} ±" in printed
    assert "means " in printed.partition("Seconds per split")[2]
    write_plots(outcome, tmp_path / "plots")
    # The saved classifier is the one that predicted.
    classifier = load_classifier(tmp_path / "classifiers" / "means-200-labels.json", SklearnBackend(), CPU)
    assert isinstance(classifier, NearestMean)
    assert classifier.encoder.name == "profiles+hog"
    images = torch.from_numpy(digits.test.images)
    with torch.no_grad():
        decisions = classifier.module()(classifier.encoder(images))
    assert np.array_equal(decisions.argmax(1), outcome.predictions["means"][200][0].classes)
    # The trained encoder is also written by itself.
    assert (tmp_path / "profiles.json").is_file()


def test_without_an_encoder_asked_for_the_toy_shares_the_vae(tmp_path: Path) -> None:
    config = RunConfig(
        data=DataConfig(dataset="digits"),
        methods=("m1", "means"),
        train=TrainConfig(epochs=2),
        labels=(100,),
        splits=1,
        baselines=False,
        device="cpu",
    )
    report = experiment.run(config, tmp_path, SILENT).report
    assert [result.method for result in report.results] == ["m1", "means"]
    assert report.training is not None
    assert report.results[1].accuracy_mean > 0.6


@pytest.mark.parametrize("encoder", ["profiles", "profiles+hog"])
def test_a_model_of_the_toys_is_fitted_saved_and_loaded(
    digits: Dataset, tmp_path: Path, encoder: str
) -> None:
    """With probabilities, an estimate and a score for what it has never seen, as a model of any other."""
    rows, classes, _ = choose(digits, 100)
    labels = np.full(len(digits.train), UNLABELLED)
    labels[rows] = classes
    names = tuple(str(number) for number in range(len(labels)))
    images = OwnImages(names, digits.train.images, labels, digits.train.class_names, {})
    config = FitConfig(method="means", encoder=encoder, mirror=False, device="cpu")
    fitted = fit(images, config, tmp_path / "checkpoint.json", SILENT)
    assert fitted.record.chosen.method == "means"
    assert fitted.record.estimate is not None
    answers = fitted.model.predict(digits.test.images)
    accuracy = float(np.mean(answers.classes == digits.test.labels))
    assert accuracy > 0.75
    assert fitted.record.estimate.low - 0.05 < accuracy < fitted.record.estimate.high + 0.05
    np.testing.assert_allclose(answers.probabilities.sum(1), 1)
    assert np.array_equal(answers.probabilities.argmax(1), answers.classes)

    save(tmp_path, fitted.model, fitted.record)
    read, record = load(tmp_path, "cpu")
    assert record.model_dump_json() == fitted.record.model_dump_json()
    again = read.predict(digits.test.images)
    for one, other in zip(again, answers, strict=True):
        assert np.array_equal(one, other)


def test_the_toys_are_offered_where_a_name_is_wrong() -> None:
    with pytest.raises(UsageError, match=r"allowed are m1, .*, rank-svc, means"):
        RunConfig.of(methods="mean")
    with pytest.raises(UsageError, match=r"allowed are vae, .*, given, profiles"):
        RunConfig.of(encoder="profile")
