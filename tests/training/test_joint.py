"""Training on labelled and unlabelled images together: batches, and the average of the weights."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.errors import TrainingError
from gpu_ssl.networks.classifier import ClassifierNetwork
from gpu_ssl.runtime.progress import SILENT, Advance
from gpu_ssl.training.consistency import SupervisedObjective
from gpu_ssl.training.joint import (
    AVERAGE,
    JointBatch,
    JointPlan,
    JointTrainer,
    balanced_rows,
    shuffled_rows,
)
from gpu_ssl.training.optimizers import build

CPU = torch.device("cpu")
PLAN = JointPlan(
    steps=60,
    labelled_batch=32,
    unlabelled_batch=16,
    learning_rate=2e-3,
    weight_decay=0.02,
    precision=torch.float32,
)


def silent() -> Advance:
    with SILENT.task("", 1) as advance:
        return advance


def make_trainer(digits: Dataset, plan: JointPlan = PLAN, seed: int = 0) -> JointTrainer[ClassifierNetwork]:
    images = torch.from_numpy(digits.train.images)
    labelled = np.arange(100)
    network = build(lambda: ClassifierNetwork((1, 8, 8), 10), CPU, seed)
    objective = SupervisedObjective(False, torch.Generator().manual_seed(seed))
    return JointTrainer(network, objective, images, labelled, digits.train.labels[labelled], plan, seed)


@given(n=st.integers(1, 30), steps=st.integers(1, 9), batch=st.integers(1, 9), seed=st.integers(0, 99))
def test_rows_go_through_all_images_again_and_again(n: int, steps: int, batch: int, seed: int) -> None:
    rows = shuffled_rows(n, steps, batch, np.random.default_rng(seed))
    assert rows.shape == (steps, batch)
    counts = np.bincount(rows.ravel(), minlength=n)
    assert counts.max() - counts.min() <= 1
    for start in range(0, rows.size - n + 1, n):
        assert sorted(rows.ravel()[start : start + n]) == list(range(n))


@given(
    classes=st.lists(st.integers(0, 4), min_size=1, max_size=40),
    steps=st.integers(1, 9),
    batch=st.integers(1, 9),
)
def test_labelled_batches_are_balanced_and_use_every_image_of_a_class_in_turn(
    classes: list[int], steps: int, batch: int
) -> None:
    labels = np.array(classes)
    rows = balanced_rows(labels, steps, batch, np.random.default_rng(0))
    assert rows.shape == (steps, batch)
    drawn = np.bincount(labels[rows.ravel()], minlength=5)[np.unique(labels)]
    assert drawn.max() - drawn.min() <= 1
    times = np.bincount(rows.ravel(), minlength=len(labels))
    for name in np.unique(labels):
        of_class = times[labels == name]
        assert of_class.max() - of_class.min() <= 1


def test_training_learns_and_gives_the_same_bits_for_the_same_seed(digits: Dataset) -> None:
    first, second, other = (make_trainer(digits, seed=seed) for seed in (0, 0, 1))
    for trainer in (first, second, other):
        curve = trainer.fit(silent())
    assert len(curve) == 1
    images = torch.from_numpy(digits.test.images).float() / 255
    accuracy = (first.average.eval()(images).argmax(1).numpy() == digits.test.labels).mean()
    assert accuracy > 0.7
    states = [trainer.average.state_dict() for trainer in (first, second, other)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not torch.equal(states[0]["head.weight"], states[2]["head.weight"])


def test_the_average_follows_the_weights_and_batch_norm(digits: Dataset) -> None:
    trainer = make_trainer(digits)
    trainer.network.train()
    before = {name: value.clone() for name, value in trainer.average.state_dict().items()}
    for number in range(3):
        trainer.step(number)
        decay = min(AVERAGE, (1 + number) / (10 + number))
        after, now = trainer.average.state_dict(), trainer.network.state_dict()
        for name, value in before.items():
            if value.dtype.is_floating_point:
                torch.testing.assert_close(after[name], decay * value + (1 - decay) * now[name])
        before = {name: value.clone() for name, value in after.items()}
    assert "trunk.2.running_mean" in before


def test_what_rests_on_unlabelled_images_comes_in_over_the_first_tenth(digits: Dataset) -> None:
    trainer, ramps = make_trainer(digits), []

    class Told(SupervisedObjective):
        def __call__(
            self, network: nn.Module, labelled: JointBatch, unlabelled: JointBatch, ramp: float | Tensor
        ) -> Tensor:
            ramps.append(float(ramp))
            return super().__call__(network, labelled, unlabelled, ramp)

    trainer.objective = Told(False, torch.Generator())
    trainer.fit(silent())
    assert ramps == pytest.approx([min(1.0, number / 6) for number in range(60)])


def test_progress_adds_up_to_one(digits: Dataset) -> None:
    told: list[tuple[str, float]] = []
    plan = JointPlan(**{**vars(PLAN), "steps": 250, "labelled_batch": 2})
    make_trainer(digits, plan).fit(lambda note, steps=1: told.append((note, steps)))
    assert [steps for _, steps in told] == pytest.approx([0, 0.4, 0.4, 0.2])
    assert re.fullmatch(r"250 steps, about \d+ s", told[0][0]), "what it will take is told soon"


def test_a_loss_that_is_no_number_is_an_error(digits: Dataset) -> None:
    def broken(network: nn.Module, labelled: JointBatch, unlabelled: JointBatch, progress: float) -> Tensor:
        return network(labelled.images).sum() * float("nan")

    trainer = make_trainer(digits)
    trainer.objective = broken
    with pytest.raises(TrainingError, match="not a finite number at step 60"):
        trainer.fit(silent())
