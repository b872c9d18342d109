"""An M2 that has not learned anything about its inputs is reported; one that has is not."""

import logging

import numpy as np
import pytest
import torch

from gpu_ssl.networks.m2 import M2, M2Spec
from gpu_ssl.networks.m2_bounds import Estimate
from gpu_ssl.networks.vae import Posterior
from gpu_ssl.training.joint import JointTrainer
from gpu_ssl.training.m2_check import bound_and_blind, warn_if_blind
from gpu_ssl.training.m2_published import PosteriorSamples, PublishedObjective, Recipe

N, CLASSES = 600, 3


def test_only_an_m2_that_ignores_its_inputs_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Points around three centres: knowing the nearest is worth more than one nat."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(N) % CLASSES
    centres = torch.tensor([[2.0, 0.0, 1.0, 0.0], [-1.0, 2.0, -1.0, 0.0], [-1.0, -2.0, 0.0, 0.0]])
    means = centres[classes] + 0.3 * torch.randn(N, 4, generator=generator)
    posterior = Posterior(means, torch.full((N, 4), -4.0))
    objective = PublishedObjective(
        PosteriorSamples(posterior, generator), 30, N, generator, Estimate(1, 0.25)
    )
    torch.manual_seed(0)
    network = M2(M2Spec((4,), CLASSES, 2, "gaussian", False, 32))
    images = torch.zeros(N, 1, 1, 1, dtype=torch.uint8)

    with caplog.at_level(logging.WARNING):
        warn_if_blind("m1m2", network, objective, images)
    assert "m1m2 has not learned anything about its inputs: its bound is" in caplog.text
    assert "give it more `steps`" in caplog.text

    caplog.clear()
    recipe = Recipe(400, growth=0.0, learning_rate=6e-3, warm_up=0.3, ramp=0.1, exact=1, sampled=0.25)
    plan = recipe.plan(N, 10, torch.float32)
    rows = np.arange(30)
    trainer = JointTrainer(network, objective, images, rows, classes[:30].numpy(), plan, seed=0)
    trainer.fit(lambda note, steps=1: None)
    with caplog.at_level(logging.WARNING):
        warn_if_blind("m1m2", trainer.average.eval(), objective, images)
    assert not caplog.records
    bound, blind = bound_and_blind(trainer.average, objective, images)
    assert bound < blind - 1
    assert (trainer.average(means).argmax(1) == classes).float().mean() > 0.98
