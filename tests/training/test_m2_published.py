"""How long an M2 is trained as published."""

import pytest
import torch

from gpu_ssl.networks.m2_bounds import Estimate
from gpu_ssl.training.m2_published import FEWEST, MANY_STEPS, OF_IMAGES, OF_LATENTS, PASSES, Recipe


def steps(recipe: Recipe, n_images: int, labels_per_class: float) -> int:
    return recipe.plan(n_images, labels_per_class, torch.float32).steps


def test_m1m2_takes_more_steps_with_more_labels() -> None:
    found = [steps(OF_LATENTS, 60_000, labels) for labels in (1, 10, 60, 100)]
    assert found[1] == OF_LATENTS.steps
    assert found == sorted(set(found))
    assert steps(OF_IMAGES, 60_000, 1) == steps(OF_IMAGES, 60_000, 300) == OF_IMAGES.steps


@pytest.mark.parametrize("recipe", [OF_LATENTS, OF_IMAGES])
@pytest.mark.parametrize("n_images", [7, 500, 5000, 60_000, 10_000_000])
@pytest.mark.parametrize("labels", [1.0, 10.0, 300.0, 6000.0])
def test_few_images_are_not_repeated_without_end(recipe: Recipe, n_images: int, labels: float) -> None:
    plan = recipe.plan(n_images, labels, torch.float32)
    assert plan.unlabelled_batch <= n_images
    assert plan.steps > 0
    assert plan.steps <= FEWEST or plan.steps * plan.unlabelled_batch <= PASSES * n_images


def test_fewer_bounds_are_computed_only_in_long_trainings() -> None:
    assert OF_LATENTS.estimate(OF_LATENTS.steps) == Estimate(1, 0.25)
    assert OF_LATENTS.estimate(MANY_STEPS - 1) == Estimate(1, 1.0)
    assert OF_IMAGES.estimate(OF_IMAGES.steps) == OF_IMAGES.estimate(1000) == Estimate(2, 1.0)
