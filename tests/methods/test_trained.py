"""Methods that spread or train with labels: better than M1 on digits, honest, and stopped losing no cell."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from gpu_ssl import experiment
from gpu_ssl.config import DataConfig, MethodName, RunConfig, TrainConfig
from gpu_ssl.errors import StorageError
from gpu_ssl.methods import consistency, joint, m2
from gpu_ssl.methods.evaluation import Cell
from gpu_ssl.methods.joint import make_plan, teacher_weight
from gpu_ssl.models.classifier import EVERY
from gpu_ssl.report.plots import _by_class, write_plots
from gpu_ssl.runtime.progress import Silent

TRAINED: tuple[MethodName, ...] = ("m1", "m2", "m1m2", "graph", "consistency", "auto")
# Of six seeds, one whose methods are far apart: another machine's rounding moves each by a point.
CONFIG = RunConfig(data=DataConfig(dataset="digits"), methods=TRAINED, labels=(50,), splits=1, seed=3)


@pytest.fixture(scope="module", autouse=True)
def fewer_steps() -> Iterator[None]:
    """Half the least number of steps: digits are small enough, and the tests soon done."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joint, "FEWEST", 200)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def outcome(folder: Path) -> experiment.Outcome:
    return experiment.run(CONFIG, folder, Silent())


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
    assert reason.startswith("consistency: its teacher is sound (50 labels")
    chosen = outcome.predictions["consistency"][50][0].classes
    assert np.array_equal(outcome.predictions["auto"][50][0].classes, chosen)


def test_every_network_tells_how_it_learned(outcome: experiment.Outcome) -> None:
    curves = {r.method: r.curves for r in outcome.report.results if r.curves}
    assert set(curves) == {"m2", "m1m2", "consistency", "auto", "cnn"}
    for method, (curve,) in curves.items():
        assert len(curve) == joint.FEWEST // EVERY, method
        assert min(curve) < curve[0], method


def test_m2_draws_each_class_and_lies_on_disk(
    outcome: experiment.Outcome, folder: Path, tmp_path: Path
) -> None:
    path = m2.m2_path(folder, "m2", Cell(50, 0))
    read, trained = m2.load_m2(path), outcome.generators["m2"]
    for name, value in trained.state_dict().items():
        assert torch.equal(read.state_dict()[name], value), name
    for method in ("m2", "m1m2"):
        rows = _by_class(outcome, outcome.generators[method], torch.zeros(1, m2.LATENT_DIM))
        images = torch.from_numpy(np.stack(rows))
        assert images.shape == (10, 1, 1, 8, 8)
        # To the other method, what is drawn of a class looks like that class.
        judge = outcome.generators["m1m2" if method == "m2" else "m2"]
        with torch.no_grad():
            inputs = outcome.vae.eval().encode(images[:, 0]).mean if method == "m2" else images[:, 0]
            named = judge(inputs).argmax(1)
        assert (named == torch.arange(10)).sum() >= 7
    write_plots(outcome, tmp_path)
    names = {f"{method}-{kind}.png" for method in ("m2", "m1m2") for kind in ("samples", "analogies")}
    names.add("learning-curves.png")
    assert names <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("damage", ["{}", '{"spec": 3}'])
def test_a_file_that_holds_no_m2_is_refused(
    outcome: experiment.Outcome, folder: Path, tmp_path: Path, damage: str
) -> None:
    good = m2.m2_path(folder, "m2", Cell(50, 0))
    description = json.loads(good.read_text()) | {"spec": None} | json.loads(damage)
    bad = tmp_path / "bad.json"
    tensors = good.with_name(description["tensors"]["file"])
    (tmp_path / tensors.name).write_bytes(tensors.read_bytes())
    bad.write_text(json.dumps(description))
    with pytest.raises(StorageError, match="does not hold an M2 of this version"):
        m2.load_m2(bad)


def test_m2_as_published_does_not_collapse(tmp_path: Path) -> None:
    config = CONFIG.model_copy(
        update={
            "preset": "paper",
            "methods": ("m2",),
            "labels": (100,),
            "baselines": False,
            "train": TrainConfig(epochs=1),
        }
    )
    (result,) = experiment.run(config, tmp_path, Silent()).report.results
    assert result.accuracy_mean > 0.75


def test_finished_cells_are_not_trained_again(
    outcome: experiment.Outcome, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a finished cell was trained again")

    monkeypatch.setattr(consistency, "JointTrainer", refuse)
    monkeypatch.setattr(m2, "JointTrainer", refuse)
    again = experiment.run(CONFIG, folder, Silent())
    assert again.report.results[:7] == outcome.report.results[:7]


def test_a_network_depends_on_its_split_and_seed_alone(outcome: experiment.Outcome, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"methods": ("m1m2",), "splits": 2, "baselines": False})
    alone = experiment.run(config, tmp_path, Silent())
    first, second = alone.predictions["m1m2"][50]
    assert np.array_equal(first.classes, outcome.predictions["m1m2"][50][0].classes)
    assert not np.array_equal(first.classes, second.classes)


def test_the_teacher_counts_less_as_labels_become_many() -> None:
    weights = [teacher_weight(m) for m in (1, 10, 60, 300, 6000)]
    assert weights == sorted(weights, reverse=True)
    assert weights[0] == 0.7
    assert weights[-1] < 0.05


def test_steps_grow_with_labels_within_bounds() -> None:
    steps = [make_plan(1500, 60_000, m, torch.float32).steps for m in (10, 60, 300, 6000)]
    assert steps[0] == 1500
    assert steps == sorted(steps)
    small = make_plan(1500, 60, 6, torch.float32)
    assert (small.steps, small.unlabelled_batch) == (joint.FEWEST, 60)
