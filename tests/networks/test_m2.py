"""M2's terms against closed forms, brute force and Monte Carlo, and its objectives against their parts."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from gpu_ssl.networks.m2 import M2, Likelihood, M2Spec, with_z_in_use
from gpu_ssl.networks.m2_bounds import (
    Estimate,
    Examples,
    all_pairs,
    blind_bound,
    m2_bounds,
    mean_unlabelled_bound,
    sample_pairs,
    unlabelled_bound,
)
from gpu_ssl.networks.vae import Posterior
from gpu_ssl.training import m2_objectives
from gpu_ssl.training.consistency import PseudoLabels
from gpu_ssl.training.joint import JointBatch
from gpu_ssl.training.m2_objectives import ImageSource, ModernObjective
from gpu_ssl.training.m2_published import ALPHA, PosteriorSamples, PublishedObjective

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


@torch.no_grad()
@pytest.mark.parametrize("estimate", [None, Estimate(1, 0.5), Estimate(1, 3.0), Estimate(2, 0.5)])
def test_the_bounds_of_a_batch_are_those_of_its_images_one_at_a_time(
    monkeypatch: pytest.MonkeyPatch, estimate: Estimate | None
) -> None:
    monkeypatch.setattr("gpu_ssl.networks.m2.sample", lambda posterior, generator: posterior.mean)
    network, known, unknown = make(), torch.randn(3, INPUTS), torch.randn(5, INPUTS)
    classes = torch.tensor([1, 0, 2])

    def bound(x: Tensor, k: int) -> Tensor:
        return network.bound(network.to_hidden(x[None]), one_hot([k]), x[None], seeded())[0]

    found = m2_bounds(
        network, Examples(known, known), classes, Examples(unknown, unknown), seeded(1), estimate
    )
    labelled = torch.stack([bound(x, int(k)) for x, k in zip(known, classes, strict=True)])
    torch.testing.assert_close(found.labelled, labelled.mean())

    log_q = network(unknown).log_softmax(1)
    every = torch.stack([torch.stack([bound(x, k) for k in range(K)]) for x in unknown])
    if estimate is None or estimate.exact + 1 >= K:
        expected = unlabelled_bound(every, log_q).mean()
    else:
        pairs = sample_pairs(log_q, estimate, seeded(1))
        expected = mean_unlabelled_bound(every[pairs.rows, pairs.classes], log_q, pairs)
    torch.testing.assert_close(found.unlabelled, expected)
    torch.testing.assert_close(found.classification, F.cross_entropy(network(known), classes))


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


def images_themselves(batch: JointBatch) -> Tensor:
    return batch.images


def test_the_published_objective_is_equation_9_for_an_image_with_a_prior_on_the_weights() -> None:
    network, (labelled, unlabelled) = make("bernoulli"), batches()
    objective = PublishedObjective(images_themselves, n_labelled=2, n_images=8, generator=seeded(7))
    loss = objective(network, labelled, unlabelled, 1.0)
    known, unknown = (Examples(batch.images.flatten(1), batch.images) for batch in (labelled, unlabelled))
    assert labelled.classes is not None
    bounds = m2_bounds(network, known, labelled.classes, unknown, seeded(7))
    expected = 0.25 * bounds.labelled + 0.75 * bounds.unlabelled + ALPHA * bounds.classification
    for weight in network.parameters():
        prior = Normal(0, 1).log_prob(weight) - Normal(0, 1).log_prob(torch.zeros(()))
        expected = expected - prior.sum() / 8
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(
        bounds.classification, F.cross_entropy(network(labelled.images), labelled.classes)
    )


def test_the_bounds_come_in_by_the_third_power_and_the_labels_count_from_the_beginning() -> None:
    network, (labelled, unlabelled) = make("bernoulli"), batches()

    def loss_at(ramp: float) -> Tensor:
        objective = PublishedObjective(images_themselves, 2, 8, generator=seeded(7))
        return objective(network, labelled, unlabelled, ramp).detach()

    none, half, whole = (loss_at(ramp) for ramp in (0.0, 0.5, 1.0))
    torch.testing.assert_close(8 * (half - none), whole - none)
    assert labelled.classes is not None
    prior = sum(weight.square().sum() for weight in network.parameters()) / 16
    supervised = F.cross_entropy(network(labelled.images), labelled.classes)
    torch.testing.assert_close(none, ALPHA * supervised + prior)


def test_trust_scales_the_gradient_of_the_classifier_and_of_nothing_else() -> None:
    (labelled, unlabelled), classes = torch.randn(2, 5, INPUTS), torch.tensor([1, 0, 2, 1, 0])

    def gradients(trust: float | None) -> tuple[Tensor, dict[str, Tensor]]:
        network = make()
        known, unknown = (Examples(part, part) for part in (labelled, unlabelled))
        bounds = m2_bounds(network, known, classes, unknown, seeded(1), Estimate(1, 0.5), trust)
        bounds.unlabelled.backward()
        return bounds.unlabelled.detach(), {name: weight.grad for name, weight in network.named_parameters()}

    value, whole = gradients(None)
    half_value, half = gradients(0.5)
    torch.testing.assert_close(half_value, value)
    for name, gradient in whole.items():
        scale = 0.5 if name.startswith("classifier.") else 1.0
        torch.testing.assert_close(half[name], scale * gradient)
    assert whole["classifier.0.weight"].abs().max() > 0


@torch.no_grad()
def test_z_can_be_in_use_from_the_first_step() -> None:
    """Which means that q(z|x, y) is narrow, and that the decoder's parameters change with z."""

    def spread(network: M2) -> tuple[float, float]:
        inputs, y = torch.randn(50, INPUTS, generator=seeded()), one_hot([0] * 50)
        posterior = network.posterior(network.to_hidden(inputs), y)
        z = torch.randn(50, LATENT, generator=seeded(1))
        return float(posterior.log_variance.mean()), float(network.decode(z, y).std(dim=0).mean())

    usual, ready = spread(make()), spread(with_z_in_use(make()))
    assert ready[0] < usual[0] - 1.5
    assert ready[1] > 2 * usual[1]


def test_a_start_is_followed_at_first_and_forgotten_in_the_end() -> None:
    network, (labelled, unlabelled) = make("bernoulli"), batches()
    start = torch.rand(8, K, generator=seeded(3)).softmax(dim=1)

    def loss_at(ramp: float, start: Tensor | None) -> Tensor:
        objective = PublishedObjective(images_themselves, 2, 8, seeded(7), start=start)
        return objective(network, labelled, unlabelled, ramp)

    torch.testing.assert_close(loss_at(1.0, start), loss_at(1.0, None))
    log_q = network(unlabelled.images).log_softmax(dim=1)
    cross_entropy = -(start[unlabelled.rows] * log_q).sum(dim=1).mean()
    torch.testing.assert_close(loss_at(0.0, start), loss_at(1.0, None) + cross_entropy)
    assert labelled.classes is not None
    supervised = F.cross_entropy(network(labelled.images), labelled.classes)
    weights = [weight for name, weight in network.named_parameters() if name.startswith("classifier.")]
    prior = sum(weight.square().sum() for weight in weights) / 16
    expected = torch.autograd.grad(cross_entropy + ALPHA * supervised + prior, weights)
    for found, one in zip(torch.autograd.grad(loss_at(0.0, start), weights), expected, strict=True):
        torch.testing.assert_close(found, one)


@pytest.mark.parametrize(
    "estimate", [Estimate(1, 0.25), Estimate(1, 1.0), Estimate(2, 0.25), Estimate(4, 0.1)]
)
def test_a_sum_over_some_classes_is_that_over_all_without_bias(estimate: Estimate) -> None:
    """So is its gradient, by which q(y|x) and the other networks learn."""
    n, k, repeats = 8, 6, 1500
    logits = torch.randn(n, k, generator=seeded(1)).mul(2).requires_grad_()
    bounds = torch.randn(n, k, generator=seeded(2)).mul(2).requires_grad_()
    log_q = logits.log_softmax(1)
    exactly = unlabelled_bound(bounds, log_q).mean()
    expected = torch.autograd.grad(exactly, [logits, bounds], retain_graph=True)
    generator, total = seeded(), torch.zeros(())
    for _ in range(repeats):
        pairs = sample_pairs(log_q, estimate, generator)
        total = total + mean_unlabelled_bound(bounds[pairs.rows, pairs.classes], log_q, pairs)
    found = torch.autograd.grad(total, [logits, bounds])
    assert float(total.detach()) / repeats == pytest.approx(float(exactly.detach()), abs=0.06)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one / repeats, other, atol=0.06, rtol=0)


def test_sampled_pairs_are_all_of_the_likeliest_classes_and_some_of_the_others() -> None:
    log_q = torch.randn(20, 7, generator=seeded()).log_softmax(1)
    pairs = sample_pairs(log_q, Estimate(exact=2, sampled=0.25), seeded(1))
    most = log_q.topk(2, dim=1).indices
    assert pairs.rows.tolist()[:40] == 2 * list(range(20))
    assert pairs.classes.tolist()[:40] == most.t().flatten().tolist()
    assert len(pairs.rows) == 45
    assert not (pairs.classes[40:, None] == most[pairs.rows[40:]]).any()
    assert float(pairs.shares.sum()) == pytest.approx(20, rel=1e-5)


@pytest.mark.parametrize("gap", [0.0, 50.0, 200.0])
def test_images_of_sure_classes_leave_nothing_to_sample_and_no_number_that_is_not_finite(gap: float) -> None:
    logits = (gap * F.one_hot(torch.arange(5) % K, K)).float().requires_grad_()
    log_q = logits.log_softmax(1)
    bounds = torch.arange(5.0 * K).reshape(5, K)
    pairs = sample_pairs(log_q, Estimate(1, 0.4), seeded())
    found = mean_unlabelled_bound(bounds[pairs.rows, pairs.classes], log_q, pairs)
    found.backward()
    assert found.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    if gap:
        torch.testing.assert_close(found, bounds[torch.arange(5), torch.arange(5) % K].mean())


def test_the_bounds_of_all_pairs_give_the_sum_itself() -> None:
    log_q, bounds = torch.randn(5, K).log_softmax(1), torch.randn(5, K)
    pairs = all_pairs(log_q)
    found = mean_unlabelled_bound(bounds[pairs.rows, pairs.classes], log_q, pairs)
    torch.testing.assert_close(found, unlabelled_bound(bounds, log_q).mean())


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_a_decoder_that_ignores_its_input_reaches_the_blind_bound_at_best(likelihood: Likelihood) -> None:
    generator = seeded()
    targets = torch.rand(500, 4, generator=generator) * torch.tensor([1.0, 0.5, 0.1, 0.9])
    targets = targets.reshape(500, 1, 2, 2) if likelihood == "bernoulli" else targets
    network = make(likelihood)
    constant = torch.zeros(2 * INPUTS if likelihood == "gaussian" else INPUTS, requires_grad=True)
    optimizer = torch.optim.Adam([constant], lr=0.05)
    for _ in range(500):
        optimizer.zero_grad()
        loss = network.negative_log_likelihood(constant.expand(500, -1), targets).mean()
        loss.backward()
        optimizer.step()
    assert blind_bound(targets, likelihood) == pytest.approx(float(loss.detach()), abs=0.01)


def test_the_blind_bound_of_standard_normal_numbers_is_the_entropy_of_a_gaussian() -> None:
    latents = torch.randn(100_000, 5, generator=seeded())
    assert blind_bound(latents, "gaussian") == pytest.approx(5 * 1.4189, abs=0.01)


@torch.no_grad()
def test_numbers_that_are_not_modelled_change_nothing() -> None:
    torch.manual_seed(0)
    network = M2(M2Spec((INPUTS,), K, LATENT, "gaussian", False, 16, positions=(0, 2))).eval()
    inputs = torch.randn(5, INPUTS)
    others = inputs.clone()
    others[:, [1, 3]] = 7.0
    torch.testing.assert_close(network(inputs), network(others))
    assert network.modelled(inputs).tolist() == inputs[:, [0, 2]].tolist()
    drawn = network.most_likely(torch.randn(5, LATENT), one_hot([0, 1, 2, 0, 1]))
    assert drawn.shape == (5, INPUTS)
    assert (drawn[:, [1, 3]] == 0).all()
    assert (drawn[:, [0, 2]] != 0).all()


def test_the_modern_objective_begins_with_the_labels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(m2_objectives, "weak_view", lambda images, mirror, generator: images)
    network, (labelled, unlabelled) = make("bernoulli"), batches()
    source = ImageSource(torch.zeros(6, 1, 2, 2, dtype=torch.uint8), False, seeded())
    objective = ModernObjective(source, PseudoLabels(torch.full((6, K), 1 / K), 0.5), INPUTS, seeded())
    assert labelled.classes is not None
    supervised = F.cross_entropy(network(labelled.images), labelled.classes)
    torch.testing.assert_close(objective(network, labelled, unlabelled, 0.0), supervised)
    assert objective(network, labelled, unlabelled, 0.5) > supervised


@pytest.mark.parametrize(("n_classes", "bounds"), [(5, 5), (11, 11), (12, 11), (200, 11)])
def test_the_modern_objective_computes_few_bounds_of_many_classes(
    monkeypatch: pytest.MonkeyPatch, n_classes: int, bounds: int
) -> None:
    """Else a step of a thousand classes would decode 64,000 images."""
    decoded = []
    decode = M2.decode

    def spy(network: M2, latents: Tensor, classes: Tensor) -> Tensor:
        decoded.append(len(latents))
        return decode(network, latents, classes)

    monkeypatch.setattr(M2, "decode", spy)
    network, (labelled, unlabelled) = M2(M2Spec((1, 2, 2), n_classes, LATENT, "bernoulli", False)), batches()
    source = ImageSource(torch.zeros(6, 1, 2, 2, dtype=torch.uint8), False, seeded())
    teacher = PseudoLabels(torch.full((6, n_classes), 1 / n_classes), 0.5)
    ModernObjective(source, teacher, INPUTS, seeded())(network, labelled, unlabelled, 1.0).backward()
    assert sum(decoded) == 3 + 4 * bounds


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
    means = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    posterior = Posterior(means, torch.full((2, INPUTS), math.log(0.04)))
    rows = torch.ones(5000, dtype=torch.int64)
    samples = PosteriorSamples(posterior, seeded())
    found = samples(JointBatch(torch.zeros(5000, 1, 2, 2), rows))
    torch.testing.assert_close(found.mean(0), means[1], atol=0.02, rtol=0)
    torch.testing.assert_close(found.std(0), torch.full((INPUTS,), 0.2), atol=0.02, rtol=0)
    assert not torch.equal(found, samples(JointBatch(torch.zeros(5000, 1, 2, 2), rows)))
