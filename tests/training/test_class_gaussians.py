"""EM of a Gaussian per class: few labels and many points come close to the best possible classifier."""

import math

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from gpu_ssl.networks.vae import Posterior
from gpu_ssl.training.class_gaussians import RIDGE, mixture_probabilities

N, K = 3000, 3


def rotation(angle: float) -> Tensor:
    return torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


@pytest.fixture(scope="module")
def points() -> tuple[Tensor, Tensor]:
    """Three long Gaussians, each in a direction of its own, and their classes."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(N) % K
    standard = torch.randn(N, 2, generator=generator) * torch.tensor([2.0, 0.3])
    turned = torch.stack([rotation(2 * math.pi * k / K) for k in range(K)])[classes] @ standard[:, :, None]
    centres = torch.tensor([[0.0, 3.5], [-3.5, -2.0], [3.5, -2.0]])
    return centres[classes] + turned[:, :, 0], classes


def certain(points: Tensor) -> Posterior:
    return Posterior(points, torch.full_like(points, -30.0))


@pytest.mark.parametrize("per_class", [1, 5])
def test_few_labels_are_enough(points: tuple[Tensor, Tensor], per_class: int) -> None:
    where, classes = points
    rows = torch.arange(per_class * K)
    found = mixture_probabilities(certain(where), rows, classes[rows], K)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(dim=1), torch.ones(N))
    half = N // 2
    best = mixture_probabilities(certain(where), torch.arange(half), classes[:half], K)
    few, many = ((part.argmax(dim=1) == classes)[half:].float().mean() for part in (found, best))
    assert few > many - 0.01
    assert many > 0.97


def test_labelled_points_keep_their_classes(points: tuple[Tensor, Tensor]) -> None:
    where, classes = points
    rows, wrong = torch.arange(30), (classes[:30] + 1) % K
    found = mixture_probabilities(certain(where), rows, wrong, K)
    assert torch.equal(found[rows], torch.nn.functional.one_hot(wrong, K).float())


def test_the_fixed_point_is_that_of_scikit_learn(points: tuple[Tensor, Tensor]) -> None:
    """With hardly any labels and equally frequent classes, both are the same mixture."""
    where, classes = points
    rows = torch.arange(K)
    found = mixture_probabilities(certain(where), rows, classes[rows], K)
    mixture = GaussianMixture(K, reg_covar=RIDGE, tol=1e-8, max_iter=500, means_init=where[rows].numpy())
    theirs = mixture.fit(where.double().numpy()).predict_proba(where.double().numpy())
    assert np.abs(found.numpy() - theirs).mean() < 0.01


def test_the_posteriors_widen_the_gaussians(points: tuple[Tensor, Tensor]) -> None:
    where, classes = points
    rows = torch.arange(300)
    sure = mixture_probabilities(certain(where), rows, classes[rows], K)
    wide = mixture_probabilities(Posterior(where, torch.full_like(where, 3.0)), rows, classes[rows], K)
    assert wide[300:].max(dim=1).values.mean() < sure[300:].max(dim=1).values.mean() - 0.05


def test_a_latent_that_repeats_another_and_a_single_one_are_no_obstacle(
    points: tuple[Tensor, Tensor],
) -> None:
    where, classes = points
    rows = torch.arange(30)
    for given in (where[:, :1], where[:, [0, 1, 1]]):
        found = mixture_probabilities(certain(given), rows, classes[rows], K)
        assert found.isfinite().all()
        assert (found.argmax(dim=1) == classes).float().mean() > 0.5
