"""The terms of the objective of M2 (Kingma et al. 2014, eq. 6 to 9), and the sum over an unknown class.

The sum is exact, or it is estimated from a few classes of each image: once q(y|x) knows most images, nearly
all of the sum's work is for classes that hardly count.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_ssl.networks.m2 import M2, Likelihood
from gpu_ssl.networks.vae import LOG_VARIANCE_RANGE


class Bounds(NamedTuple):
    """Mean bounds of a batch in nats, the cross-entropy of q(y|x) on the labelled images, and log q(y|x) of
    the unlabelled ones, (n, n_classes).
    """

    labelled: Tensor
    unlabelled: Tensor
    classification: Tensor
    log_probabilities: Tensor


@dataclass(frozen=True)
class Examples:
    """The trunk's features of a batch, and the reconstruction targets."""

    features: Tensor
    targets: Tensor


class SampledClasses(NamedTuple):
    """Some classes (n, k) of each image, and weights (n, k) that make of a sum over them one over all."""

    classes: Tensor
    weights: Tensor


def sample_classes(log_probabilities: Tensor, exact: int, generator: torch.Generator) -> SampledClasses:
    """Choose the `exact` most probable classes of each image, and sample one of the others.

    The sum over y of q(y) f(y) has the same expectation as that of the chosen classes' w(y) q(y) f(y): w is 1
    for the most probable, and one over its probability to be sampled for the other. So has its gradient.

    Parameters
    ----------
    log_probabilities : Tensor of shape (n, n_classes)
        log q(y|x).
    exact : int
        Below the number of classes less 1.
    generator : torch.Generator
        On the same device.
    """
    logs = log_probabilities.detach()
    most = logs.topk(exact, dim=1).indices
    others = logs.scatter(1, most, -torch.inf)
    uniform = torch.rand(others.shape, generator=generator, device=others.device)
    noise = -(-uniform.clamp(1e-20, 1 - 1e-7).log()).log()  # Gumbel's: the largest sum is a sample.
    sampled = (others + noise).argmax(dim=1, keepdim=True)
    weights = torch.exp(others.logsumexp(dim=1, keepdim=True) - others.gather(1, sampled))
    ones = torch.ones(most.shape, device=logs.device)
    return SampledClasses(torch.cat([most, sampled], dim=1), torch.cat([ones, weights], dim=1))


def unlabelled_bound(
    bounds: Tensor, log_probabilities: Tensor, sampled: SampledClasses | None = None
) -> Tensor:
    """Return U(x) = sum_y q(y|x) L(x, y) - H(q(y|x)) of each image (Kingma et al. 2014, eq. 7).

    Parameters
    ----------
    bounds : Tensor of shape (n, n_classes), or (n, k) of sampled classes
        L(x, y).
    log_probabilities : Tensor of shape (n, n_classes)
        log q(y|x).
    sampled : SampledClasses, optional
        Of which classes the bounds are. U(x) is then an estimate without bias.
    """
    probabilities = log_probabilities.exp()
    if sampled is None:
        return (probabilities * (bounds + log_probabilities)).sum(dim=1)
    # q sums to 1, so any constant may be taken from the bounds: this one makes for little variance.
    likeliest = bounds[:, 0].detach()
    above = (bounds - likeliest[:, None]) * sampled.weights * probabilities.gather(1, sampled.classes)
    return likeliest + above.sum(dim=1) + (probabilities * log_probabilities).sum(dim=1)


def m2_bounds(
    network: M2,
    labelled: Examples,
    classes: Tensor,
    unlabelled: Examples,
    generator: torch.Generator,
    exact: int | None = None,
    trust: float | Tensor | None = None,
) -> Bounds:
    """Return the terms of the objective of M2 (Kingma et al. 2014, eq. 8 and 9).

    All images pass the networks together: a step of small networks costs as much as its number of calls.

    Parameters
    ----------
    network : M2
        The model.
    labelled, unlabelled : Examples
        Features of the inputs by its trunk, and their targets.
    classes : Tensor of shape (n_labelled,), int64
        Classes of the labelled images.
    generator : torch.Generator
        Source of randomness, on the same device.
    exact : int, optional
        Estimate the sum over the classes from so many and one more; see `sample_classes`.
    trust : float or Tensor, optional
        Factor of the gradient of the bounds through q(y|x); their values, and the gradients of the other
        networks, stay the same.
    """
    n, n_classes = len(classes), network.n_classes
    features = torch.cat([labelled.features, unlabelled.features])
    logits = network.classifier(features).float()
    log_probabilities = logits[n:].log_softmax(dim=1)
    sampled = None
    if exact is not None and exact + 1 < n_classes:
        sampled = sample_classes(log_probabilities, exact, generator)
        supposed = sampled.classes
    else:
        supposed = torch.arange(n_classes, device=classes.device).expand(len(log_probabilities), -1)
    k = supposed.shape[1]

    def per_bound(known: Tensor, unknown: Tensor) -> Tensor:
        return torch.cat([known, unknown.repeat_interleave(k, dim=0)])

    hidden = network.to_hidden(features)
    bounds = network.bound(
        per_bound(hidden[:n], hidden[n:]),
        F.one_hot(torch.cat([classes, supposed.flatten()]), n_classes).float(),
        per_bound(labelled.targets, unlabelled.targets),
        generator,
    )
    trusted = log_probabilities
    if trust is not None:
        fixed = log_probabilities.detach()
        trusted = fixed + trust * (log_probabilities - fixed)
    return Bounds(
        labelled=bounds[:n].mean(),
        unlabelled=unlabelled_bound(bounds[n:].reshape(-1, k), trusted, sampled).mean(),
        classification=F.cross_entropy(logits[:n], classes),
        log_probabilities=log_probabilities,
    )


def blind_bound(targets: Tensor, likelihood: Likelihood) -> float:
    """Return the least bound, in nats, of an M2 whose decoder ignores both class and latents.

    It predicts one distribution for all `targets` (n, ...): of each number the entropy of a Gaussian with its
    variance, 0.5 log(2 pi e variance), which is 1.419 nats where the variance is 1; or the cross-entropy of
    intensities with their mean. An M2 whose bound is not below it has learned nothing of its inputs.
    """
    flat = targets.flatten(1).double()
    mean = flat.mean(dim=0)
    if likelihood == "bernoulli":
        return float(-(torch.xlogy(mean, mean) + torch.special.xlog1py(1 - mean, -mean)).sum())
    log_variance = flat.var(dim=0, correction=0).log().clamp(*LOG_VARIANCE_RANGE)
    squares = (flat - mean).square().mean(dim=0) * torch.exp(-log_variance)
    return float(0.5 * (squares + log_variance + math.log(2 * math.pi)).sum())
