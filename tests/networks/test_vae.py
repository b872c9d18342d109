"""The objective is the published one, the networks take any image, and a step never waits for the device."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Normal
from torch.distributions import kl_divergence as kl_of_distributions

from gpu_ssl.config import ModelConfig
from gpu_ssl.networks.vae import (
    VAE,
    Posterior,
    kl_divergence,
    reconstruction_loss,
    sample,
    training_losses,
)
from gpu_ssl.training.vae import build_vae

CPU = torch.device("cpu")


def posterior(seed: int = 0, n: int = 5, d: int = 7) -> Posterior:
    generator = torch.Generator().manual_seed(seed)
    return Posterior(torch.randn(n, d, generator=generator), torch.randn(n, d, generator=generator))


def test_the_kl_divergence_is_that_of_the_distributions() -> None:
    mean, log_variance = q = posterior()
    expected = kl_of_distributions(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl_divergence(q), expected)


def test_the_kl_divergence_is_that_of_a_monte_carlo_estimate() -> None:
    mean, log_variance = q = posterior(n=1, d=3)
    many = Posterior(mean.expand(400_000, 3), log_variance.expand(400_000, 3))
    z = sample(many, torch.Generator().manual_seed(1))
    density = Normal(mean, (0.5 * log_variance).exp()).log_prob(z) - Normal(0.0, 1.0).log_prob(z)
    assert density.sum(1).mean().item() == pytest.approx(kl_divergence(q).item(), rel=0.01)


def test_samples_have_the_posteriors_moments() -> None:
    many = Posterior(torch.full((200_000, 1), 2.0), torch.full((200_000, 1), math.log(9.0)))
    z = sample(many, torch.Generator().manual_seed(0))
    assert z.mean().item() == pytest.approx(2, abs=0.03)
    assert z.std().item() == pytest.approx(3, abs=0.03)


def test_the_reconstruction_loss_is_the_bernoulli_likelihood() -> None:
    logits = torch.randn(4, 3, 5, 6)
    images = torch.bernoulli(torch.full((4, 3, 5, 6), 0.5))
    expected = -Bernoulli(logits=logits).log_prob(images).sum((1, 2, 3))
    torch.testing.assert_close(reconstruction_loss(logits, images), expected)


def test_both_losses_are_means_over_the_batch_of_one_bound() -> None:
    vae = build_vae(ModelConfig(network="mlp"), (1, 6, 6), CPU, 0)
    images = torch.rand(8, 1, 6, 6)
    parts = training_losses(vae, images, images, torch.Generator().manual_seed(3), len(images))
    q = vae.encode(images)
    logits = vae.decode(sample(q, torch.Generator().manual_seed(3)))
    torch.testing.assert_close(parts.reconstruction, reconstruction_loss(logits, images).mean())
    torch.testing.assert_close(parts.kl, kl_divergence(q).mean())


def test_the_papers_network_is_one_of_softplus_units_with_other_biases() -> None:
    """What makes it train faster takes nothing from what it can be."""
    vae = build_vae(ModelConfig(network="mlp"), (1, 6, 6), CPU, 0)
    images = torch.rand(5, 1, 6, 6)
    features: torch.Tensor = images.flatten(1)
    linear = [layer for layer in vae.trunk if isinstance(layer, torch.nn.Linear)]  # type: ignore[union-attr]
    shift = torch.zeros(())
    for layer in linear:
        bias = layer.bias - shift * layer.weight.sum(dim=1)
        features = torch.nn.functional.softplus(features @ layer.weight.T + bias)
        shift = torch.tensor(2.0).log()
    torch.testing.assert_close(vae.trunk(images), features - shift)
    at_nothing = vae.trunk[2](torch.zeros(3))  # type: ignore[index]
    torch.testing.assert_close(at_nothing, torch.zeros(3))


def test_the_papers_network_has_the_papers_sizes() -> None:
    vae = VAE(ModelConfig(network="mlp"), (1, 28, 28))
    shapes = [tuple(p.shape) for p in vae.parameters() if p.ndim == 2]
    assert sorted(shapes) == sorted([(600, 784), (600, 600), (100, 600), (600, 50), (600, 600), (784, 600)])


@settings(max_examples=25)
@given(
    shape=st.tuples(st.sampled_from([1, 3, 4]), st.integers(1, 70), st.integers(1, 70)),
    network=st.sampled_from(["conv", "mlp"]),
    latent_dim=st.integers(1, 9),
)
def test_any_image_size_and_channel_count_works(
    shape: tuple[int, int, int], network: str, latent_dim: int
) -> None:
    vae = build_vae(ModelConfig(network=network, latent_dim=latent_dim), shape, CPU, 0)
    images = torch.rand(2, *shape)
    q = vae.encode(images)
    assert q.mean.shape == q.log_variance.shape == (2, latent_dim)
    assert vae.decode(q.mean).shape == images.shape
    parts = training_losses(vae, images, images, torch.Generator(), len(images))
    (parts.reconstruction + parts.kl).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vae.parameters())


def test_the_first_weights_depend_on_the_seed_alone() -> None:
    def weights(seed: int) -> torch.Tensor:
        return build_vae(ModelConfig(), (1, 8, 8), CPU, seed).head.weight

    torch.manual_seed(123)
    state = torch.get_rng_state()
    first = weights(7)
    assert torch.equal(torch.get_rng_state(), state), "the global generator was touched"
    assert torch.equal(first, weights(7))
    assert not torch.equal(first, weights(8))


def test_an_extreme_posterior_overflows_nothing() -> None:
    vae = build_vae(ModelConfig(network="mlp"), (1, 4, 4), CPU, 0)
    with torch.no_grad():
        vae.head.bias.fill_(1e4)
    q = vae.encode(torch.rand(3, 1, 4, 4))
    assert kl_divergence(q).isfinite().all()
    assert sample(q, torch.Generator()).isfinite().all()
