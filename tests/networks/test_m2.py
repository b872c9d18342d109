"""M2's terms against closed forms, brute force and Monte Carlo, and its objectives against their parts."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from gpu_ssl.networks.m2 import (
    M2,
    Examples,
    Likelihood,
    M2Spec,
    m2_bounds,
    unlabelled_bound,
)
from gpu_ssl.training import m2_objectives
from gpu_ssl.training.consistency import PseudoLabels
from gpu_ssl.training.joint import JointBatch
from gpu_ssl.training.m2_objectives import ALPHA, ImageSource, ModernObjective, PublishedObjective

K, LATENT, INPUTS = 3, 2, 4


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(likelihood: Likelihood = "gaussian", seed: int = 0) -> M2:
    torch.manual_seed(seed)
    return M2(M2Spec((INPUTS,), K, LATENT, likelihood, False, 16)).eval()


def one_hot(classes: list[int]) -> Tensor:
    return F.one_hot(torch.tensor(classes), K).float()


def test_a_gaussian_likelihood_is_that_of_torch() -> None:
    parameters, targets = torch.randn(5, 2 * INPUTS), torch.randn(5, INPUTS)
    mean, log_variance = parameters.chunk(2, dim=1)
    expected = -Normal(mean, (0.5 * log_variance).exp()).log_prob(targets).sum(1)
    torch.testing.assert_close(make().negative_log_likelihood(parameters, targets), expected)


def test_a_bernoulli_likelihood_is_cross_entropy_in_nats() -> None:
    logits, targets = torch.randn(5, INPUTS), torch.rand(5, 1, 2, 2)
    p = torch.sigmoid(logits)
    flat = targets.flatten(1)
    expected = -(flat * p.log() + (1 - flat) * (1 - p).log()).sum(1)
    torch.testing.assert_close(make("bernoulli").negative_log_likelihood(logits, targets), expected)


@torch.no_grad()
def test_the_bound_is_that_of_equation_6_by_monte_carlo() -> None:
    network, inputs, y = make(), torch.randn(1, INPUTS), one_hot([1])
    hidden = network.to_hidden(inputs)
    mean, log_variance = network.posterior(hidden, y)
    q = Normal(mean, (0.5 * log_variance).exp())
    n = 20_000
    ours = network.bound(hidden.expand(n, -1), y.expand(n, -1), inputs.expand(n, -1), seeded()).mean()
    z = q.sample((n,)).squeeze(1)
    parameters = network.decode(z, y.expand(n, -1))
    log_likelihood = -network.negative_log_likelihood(parameters, inputs.expand(n, -1))
    terms = log_likelihood + math.log(1 / K) + Normal(0, 1).log_prob(z).sum(1) - q.log_prob(z).sum(1)
    assert float(ours) == pytest.approx(float(-terms.mean()), rel=0.02)
    closed_form = kl_divergence(q, Normal(torch.zeros(1, LATENT), torch.ones(1, LATENT))).sum()
    expected = -log_likelihood.mean() + closed_form + math.log(K)
    assert float(ours) == pytest.approx(float(expected), rel=0.02)


@torch.no_grad()
def test_the_bound_lies_above_the_negative_log_likelihood() -> None:
    network, inputs, y = make(), torch.randn(1, INPUTS), one_hot([2])
    n = 20_000
    z = torch.randn(n, LATENT, generator=seeded())
    log_p = -network.negative_log_likelihood(network.decode(z, y.expand(n, -1)), inputs.expand(n, -1))
    log_joint = torch.logsumexp(log_p, 0) - math.log(n) + math.log(1 / K)
    hidden = network.to_hidden(inputs).expand(n, -1)
    bound = network.bound(hidden, y.expand(n, -1), inputs.expand(n, -1), seeded()).mean()
    assert float(bound) > float(-log_joint)


@torch.no_grad()
def test_marginalization_is_the_sum_over_classes_by_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without noise the bound of each class can be had one at a time.
    monkeypatch.setattr("gpu_ssl.networks.m2.sample", lambda posterior, generator: posterior.mean)
    network, inputs = make(), torch.randn(6, INPUTS)
    hidden, q = network.to_hidden(inputs), network(inputs).softmax(1)
    every = network.bounds(hidden, inputs, seeded())
    expected = torch.zeros(6)
    for i in range(6):
        for k in range(K):
            bound = network.bound(hidden[i : i + 1], one_hot([k]), inputs[i : i + 1], seeded())
            torch.testing.assert_close(every[i, k], bound[0])
            expected[i] += q[i, k] * (bound[0] + q[i, k].log())
    torch.testing.assert_close(unlabelled_bound(every, q.log()), expected)


def test_a_sure_class_leaves_its_bound_alone() -> None:
    bounds = torch.tensor([[3.0, 7.0]])
    log_q = torch.tensor([[0.0, -200.0]])
    torch.testing.assert_close(unlabelled_bound(bounds, log_q), torch.tensor([3.0]))


def batches() -> tuple[JointBatch, JointBatch]:
    labelled = torch.rand(3, 1, 2, 2, generator=seeded(1))
    unlabelled = torch.rand(4, 1, 2, 2, generator=seeded(2))
    return (
        JointBatch(labelled, torch.tensor([0, 1, 2]), torch.tensor([2, 0, 1])),
        JointBatch(unlabelled, torch.tensor([5, 3, 0, 1])),
    )


def test_the_published_objective_is_equation_9_for_an_image() -> None:
    network, (labelled, unlabelled) = make("bernoulli"), batches()
    source = ImageSource(torch.zeros(6, 1, 2, 2, dtype=torch.uint8), False, seeded())
    loss = PublishedObjective(source, 0.25, seeded(7))(network, labelled, unlabelled, 0.5)
    known, unknown = (Examples(batch.images.flatten(1), batch.images) for batch in (labelled, unlabelled))
    assert labelled.classes is not None
    bounds = m2_bounds(network, known, labelled.classes, unknown, seeded(7))
    expected = 0.25 * bounds.labelled + 0.75 * bounds.unlabelled + ALPHA * bounds.classification
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(
        bounds.classification, F.cross_entropy(network(labelled.images), labelled.classes)
    )


def test_the_modern_objective_begins_with_the_labels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(m2_objectives, "weak_view", lambda images, mirror, generator: images)
    network, (labelled, unlabelled) = make("bernoulli"), batches()
    source = ImageSource(torch.zeros(6, 1, 2, 2, dtype=torch.uint8), False, seeded())
    objective = ModernObjective(source, PseudoLabels(torch.full((6, K), 1 / K), 0.5), INPUTS, seeded())
    assert labelled.classes is not None
    supervised = F.cross_entropy(network(labelled.images), labelled.classes)
    torch.testing.assert_close(objective(network, labelled, unlabelled, 0.0), supervised)
    assert objective(network, labelled, unlabelled, 0.5) > supervised


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 17, 40)])
def test_convolutions_take_images_of_any_shape_and_every_weight_learns(shape: tuple[int, int, int]) -> None:
    network = M2(M2Spec(shape, K, LATENT, "bernoulli", True))
    pictures = torch.randint(0, 256, (6, *shape), dtype=torch.uint8)
    source = ImageSource(pictures, True, seeded())
    objective = ModernObjective(
        source, PseudoLabels(torch.full((6, K), 1 / K), 0.5), math.prod(shape), seeded()
    )
    labelled = JointBatch(torch.rand(3, *shape), torch.tensor([0, 1, 2]), torch.tensor([2, 0, 1]))
    unlabelled = JointBatch(torch.rand(4, *shape), torch.tensor([5, 3, 0, 1]))
    objective(network, labelled, unlabelled, 1.0).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_examples_of_latents_are_samples_around_the_posterior_mean() -> None:
    class VAE(nn.Module):
        def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return images.flatten(1), torch.full((len(images), INPUTS), math.log(0.04))

    labelled, _ = batches()
    many = JointBatch(labelled.images[:1].expand(5000, -1, -1, -1), torch.zeros(5000, dtype=torch.int64))
    latents = torch.arange(4.0)[None]
    source = m2_objectives.LatentSource(VAE(), latents, False, seeded())  # type: ignore[arg-type]
    plain = source.plain(many)
    torch.testing.assert_close(plain.mean(0), many.images[0].flatten(), atol=0.02, rtol=0)
    torch.testing.assert_close(plain.std(0), torch.full((INPUTS,), 0.2), atol=0.02, rtol=0)
    assert torch.equal(source.targets(many), latents.expand(5000, -1))
