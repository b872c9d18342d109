"""What a training does where the settings leave it open: plans that fit the images."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpu_ssl.config import ModelConfig, TrainConfig
from gpu_ssl.errors import UsageError
from gpu_ssl.training.batches import Resident
from gpu_ssl.training.plan import plan_vae


def images_of(n: int) -> Resident:
    return Resident(torch.zeros(1, 1, 28, 28, dtype=torch.uint8).expand(n, 1, 28, 28))


def test_the_plan_of_fashion_mnist() -> None:
    plan = plan_vae(TrainConfig(), ModelConfig(), images_of(60_000), mirrored=True)
    assert (plan.steps_per_epoch, plan.augment, plan.mirror) == (234, True, True)
    assert (plan.epochs, plan.muon) == (2, True)


def test_digits_are_not_mirrored_and_the_paper_augments_nothing() -> None:
    assert not plan_vae(TrainConfig(), ModelConfig(), images_of(1000), mirrored=False).mirror
    paper = plan_vae(TrainConfig(), ModelConfig(network="mlp"), images_of(1000), mirrored=True)
    assert (paper.augment, paper.mirror) == (False, False)
    assert (paper.steps, paper.kl_warm_up, paper.beta2, paper.muon) == (2000, 0.5, 0.95, False)


def test_binarized_images_are_not_augmented() -> None:
    binarized = plan_vae(TrainConfig(binarize=True), ModelConfig(), images_of(1000), mirrored=True)
    assert (binarized.binarize, binarized.augment, binarized.mirror) == (True, False, False)
    assert not plan_vae(TrainConfig(), ModelConfig(network="mlp"), images_of(1000), True).binarize
    with pytest.raises(UsageError, match="`binarize` True: images are either binarized or augmented"):
        TrainConfig.of(binarize=True, augment=True)


def test_few_images_are_gone_through_more_often() -> None:
    plan = plan_vae(TrainConfig(), ModelConfig(), images_of(1000), mirrored=False)
    assert (plan.batch_size, plan.steps_per_epoch, plan.steps) == (50, 20, 300)
    assert plan_vae(TrainConfig(epochs=2), ModelConfig(), images_of(1000), False).epochs == 2


def test_tiny_images_take_fewer_steps() -> None:
    """Their VAE overfits sooner; that of the paper is as it was published."""
    tiny = Resident(torch.zeros(1000, 1, 10, 10, dtype=torch.uint8))
    assert plan_vae(TrainConfig(), ModelConfig(), tiny, mirrored=False).steps == 200
    assert plan_vae(TrainConfig(), ModelConfig(network="mlp"), tiny, mirrored=False).steps == 2000
    larger = Resident(torch.zeros(1000, 1, 10, 11, dtype=torch.uint8))
    assert plan_vae(TrainConfig(), ModelConfig(), larger, mirrored=False).steps == 300


@given(st.integers(2, 5000))
def test_every_plan_has_batches_that_fit(n: int) -> None:
    plan = plan_vae(TrainConfig(), ModelConfig(), images_of(n), mirrored=False)
    assert 2 <= plan.batch_size <= n
    assert plan.batch_size * plan.steps_per_epoch <= n
    assert plan.steps >= 300


def test_fewer_images_than_a_batch_are_one_batch() -> None:
    plan = plan_vae(TrainConfig(batch_size=256), ModelConfig(), images_of(40), mirrored=False)
    assert (plan.batch_size, plan.steps_per_epoch) == (40, 1)
