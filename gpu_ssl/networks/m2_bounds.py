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


@dataclass(frozen=True)
class Estimate:
    """How to estimate the sum over the classes of the images of a batch.

    Parameters
    ----------
    exact : int
        Number of most probable classes of each image whose bounds are always computed, at least 1.
    sampled : float
        Number of sampled pairs of an image and another of its classes, per image of the batch.
    """

    exact: int
    sampled: float


class Pairs(NamedTuple):
    """Pairs of an image and a hypothetical class. The first n contain each of the n images once, in order.

    `rows` and `classes` (n_pairs,), int64, are the image and the class of each pair; `shares` (n_pairs,),
    float32, is the weight of its bound L(x, y) in the sum of q(y|x) L(x, y) over all images and classes, or
    in an estimate of that sum.
    """

    rows: Tensor
    classes: Tensor
    shares: Tensor


def all_pairs(log_probabilities: Tensor) -> Pairs:
    """Return each image with each class; see `sample_pairs`."""
    n, n_classes = log_probabilities.shape
    images, classes = (torch.arange(k, device=log_probabilities.device) for k in (n, n_classes))
    shares = log_probabilities.detach().exp().t().flatten()
    return Pairs(images.repeat(n_classes), classes.repeat_interleave(n), shares)


def sample_pairs(log_probabilities: Tensor, estimate: Estimate, generator: torch.Generator) -> Pairs:
    """Choose the most probable classes of each image, and sample pairs of an image and another class.

    Pairs are sampled in proportion to q(y|x): once it is certain of most images, the others get nearly all
    samples. Sampling is stratified: the pairs, ordered by image, are divided into intervals of equal total
    probability, and one pair is sampled from each. The sum of shares times bounds, and its gradient, are
    unbiased estimates of those over all classes.

    Parameters
    ----------
    log_probabilities : Tensor of shape (n, n_classes)
        log q(y|x).
    estimate : Estimate
        How many; fewer exact classes than all.
    generator : torch.Generator
        On the same device.
    """
    n, n_classes = log_probabilities.shape
    probabilities = log_probabilities.detach().exp()
    most = probabilities.topk(estimate.exact, dim=1).indices
    others = probabilities.scatter(1, most, 0.0).flatten().cumsum(0)
    count = max(1, round(estimate.sampled * n))
    share = others[-1] / count
    places = torch.arange(count, device=others.device)
    uniform = torch.rand(count, generator=generator, device=others.device)
    # Above 0 and at most the sum: only there is the first pair that reaches it never one without probability.
    found = torch.searchsorted(others, torch.minimum((places + 1 - uniform) * share, others[-1]))
    return Pairs(
        rows=torch.cat([torch.arange(n, device=others.device).repeat(estimate.exact), found // n_classes]),
        classes=torch.cat([most.t().flatten(), found % n_classes]),
        shares=torch.cat([probabilities.gather(1, most).t().flatten(), share.expand(count)]),
    )


def unlabelled_bound(bounds: Tensor, log_probabilities: Tensor) -> Tensor:
    """Return U(x) = sum_y q(y|x) L(x, y) - H(q(y|x)) of each image (Kingma et al. 2014, eq. 7).

    Parameters
    ----------
    bounds : Tensor of shape (n, n_classes)
        L(x, y).
    log_probabilities : Tensor of shape (n, n_classes)
        log q(y|x).
    """
    return (log_probabilities.exp() * (bounds + log_probabilities)).sum(dim=1)


def mean_unlabelled_bound(bounds: Tensor, log_probabilities: Tensor, pairs: Pairs) -> Tensor:
    """Return the mean of U(x) over a batch from the bounds L(x, y) of pairs (n_pairs,).

    See `unlabelled_bound`. From sampled pairs it is an unbiased estimate, and so is its gradient.

    Parameters
    ----------
    bounds : Tensor of shape (n_pairs,)
        L(x, y) of each pair, in nats.
    log_probabilities : Tensor of shape (n, n_classes)
        log q(y|x).
    pairs : Pairs
        The pairs.
    """
    n, n_classes = log_probabilities.shape
    logs = _rows_of(log_probabilities.flatten(), pairs.rows * n_classes + pairs.classes)
    probabilities = pairs.shares * torch.exp(logs - logs.detach())
    # A control variate: q sums to 1, so a constant per image may be subtracted from its bounds.
    baseline = bounds[:n].detach()
    above = (bounds - baseline.index_select(0, pairs.rows)) * probabilities
    return baseline.mean() + (above.sum() + (log_probabilities.exp() * log_probabilities).sum()) / n


def m2_bounds(
    network: M2,
    labelled: Examples,
    classes: Tensor,
    unlabelled: Examples,
    generator: torch.Generator,
    estimate: Estimate | None = None,
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
    estimate : Estimate, optional
        Estimate the sum over the classes, where it leaves out more than one; see `sample_pairs`.
    trust : float or Tensor, optional
        Factor of the gradient of the bounds through q(y|x); their values, and the gradients of the other
        networks, stay the same.
    """
    n, n_classes = len(classes), network.n_classes
    features = torch.cat([labelled.features, unlabelled.features])
    logits = network.classifier(features).float()
    log_probabilities = logits[n:].log_softmax(dim=1)
    if estimate is not None and estimate.exact + 1 < n_classes:
        pairs = sample_pairs(log_probabilities, estimate, generator)
    else:
        pairs = all_pairs(log_probabilities)

    def per_bound(known: Tensor, unknown: Tensor) -> Tensor:
        return torch.cat([known, unknown, _rows_of(unknown, pairs.rows[len(unknown) :])])

    hidden = network.to_hidden(features)
    bounds = network.bound(
        per_bound(hidden[:n], hidden[n:]),
        F.one_hot(torch.cat([classes, pairs.classes]), n_classes).float(),
        per_bound(labelled.targets, unlabelled.targets),
        generator,
    )
    trusted = log_probabilities
    if trust is not None:
        fixed = log_probabilities.detach()
        trusted = fixed + trust * (log_probabilities - fixed)
    return Bounds(
        labelled=bounds[:n].mean(),
        unlabelled=mean_unlabelled_bound(bounds[n:], trusted, pairs),
        classification=F.cross_entropy(logits[:n], classes),
        log_probabilities=log_probabilities,
    )


def _rows_of(values: Tensor, rows: Tensor) -> Tensor:
    """Return some rows, which may repeat; a GPU, too, sums their gradients in a fixed order."""
    return values[rows] if values.is_cuda else values.index_select(0, rows)


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
