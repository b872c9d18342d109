"""A mixture of one Gaussian per class, fitted by EM to labelled and unlabelled latents.

A far simpler model of the latents than an M2, but EM takes seconds for it. An M2 whose q(y|x) starts from it
has fewer errors with few labels (docs/experiments/paper.md).
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import MultivariateNormal

from gpu_ssl.networks.vae import Posterior

ROUNDS = 20
"""E-steps. Twice as many lower the error by 0.2 points at most (docs/experiments/paper.md)."""

RIDGE = 1e-3
"""Added to the variances."""


def mixture_probabilities(posterior: Posterior, rows: Tensor, classes: Tensor, n_classes: int) -> Tensor:
    """Return p(y|z) of each image at its posterior mean, with classes equally frequent.

    The first estimate has the mean of each class's labelled images and one covariance for all classes, of the
    means of labelled images, shrunk towards that of all images. Later covariances include those of the
    posteriors, so they are those of samples.

    Parameters
    ----------
    posterior : Posterior
        Of all n images.
    rows, classes : Tensor of shape (m,), int64
        The labelled images, at least one of each class, and their classes, which get probability 1.
    n_classes : int
        Number of classes.

    Returns
    -------
    Tensor of shape (n, n_classes), float32
        Their rows sum to 1.
    """
    points, variances = posterior.mean.double(), posterior.log_variance.double().exp()
    known = F.one_hot(classes, n_classes).double()
    means = known.T @ points[rows] / known.sum(dim=0)[:, None]
    deviations = points[rows] - means[classes]
    scatter = deviations.T @ deviations + n_classes * _covariance(points, variances)
    covariances = (scatter / (len(rows) + n_classes)).expand(n_classes, -1, -1)
    probabilities = _expected(points, means, covariances, rows, known)
    for _ in range(ROUNDS - 1):
        weights = probabilities / probabilities.sum(dim=0)
        means = weights.T @ points
        covariances = torch.stack([_covariance(points, variances, weight) for weight in weights.T])
        probabilities = _expected(points, means, covariances, rows, known)
    return probabilities.float()


def _expected(points: Tensor, means: Tensor, covariances: Tensor, rows: Tensor, known: Tensor) -> Tensor:
    """Return the class probabilities of all points, of which `known` are those of some `rows`."""
    gaussians = map(partial(MultivariateNormal, validate_args=False), means, covariances)
    logs = torch.stack([gaussian.log_prob(points) for gaussian in gaussians], dim=1)  # type: ignore[no-untyped-call]
    probabilities = logs.softmax(dim=1)
    probabilities[rows] = known
    return probabilities


def _covariance(points: Tensor, variances: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the covariance of samples with these means and variances, (n, width), and weights (n,)."""
    width = points.shape[1]
    between = torch.cov(points.T, correction=0, aweights=weights).reshape(width, width)
    within = variances.mean(dim=0) if weights is None else weights @ variances
    covariance: Tensor = between + torch.diag(within + RIDGE)
    return covariance
