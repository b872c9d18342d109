"""How unlike an image is to all that a model has seen: out-of-distribution (OOD) scores."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.methods.view import View
from gpu_ssl.training.batches import blocks_of

REFERENCES = 10_000
"""Most features that are kept to compare with."""

TYPICAL = 0.95
BLOCK = 1000


@dataclass(frozen=True)
class OODScore:
    """The larger of two ratios to what is usual: distance of the features, and error of the reconstruction.

    The distance is that to the nearest of many training images (Sun et al. 2022, with k = 1); the error is
    the sum of squares, where the encoder has a decoder. Each misses what the other sees (docs/experiments/):
    objects of another kind are reconstructed well, and noise may lie among the features. A plain ELBO rates
    simple images as likely (Nalisnick et al. 2019).

    Parameters
    ----------
    encoder : Encoder
        Makes the features: the VAE where there is one.
    references : Tensor of shape (m, d), float32
        Features of training images.
    reach : float
        Distance that 95 % of the other training images do not exceed.
    usual_error : float or None
        The same of the error; None without a decoder.
    """

    encoder: Encoder
    references: Tensor
    reach: float
    usual_error: float | None

    def __call__(self, images: Tensor, features: Tensor) -> Tensor:
        """Return a score for each uint8 image (n, ...) with its features (n, d): above 1 is unusual.

        In one piece; `score_blocks` does it in constant memory.
        """
        ratio = nearest(features, self.references) / self.reach
        errors = self.encoder.reconstruction_errors(images, features)
        if errors is None or self.usual_error is None:
            return ratio
        return torch.maximum(ratio, errors / self.usual_error)


@torch.no_grad()
def score_blocks(score: OODScore, images: Tensor, features: Tensor) -> Tensor:
    """Return the scores of images with their features, worked out in blocks of constant size."""
    blocks = zip(torch.split(images, BLOCK), torch.split(features, BLOCK), strict=True)
    scores = [score(some, part) for some, part in blocks]
    return torch.cat(scores) if scores else features.new_empty(0)


def nearest(features: Tensor, references: Tensor) -> Tensor:
    """Return the Euclidean distance of each of `features` (n, d) to the nearest of `references` (m, d)."""
    # Squares but for those of the features, which are the same for each reference: they tell which is the
    # nearest, but not how far it is, and are differences of large numbers.
    squares = torch.addmm(references.square().sum(dim=1), features, references.T, alpha=-2)
    found = references[squares.argmin(dim=1)]
    return (features - found).square().sum(dim=1).sqrt()


@torch.no_grad()
def fit_ood_score(view: View, encoder: Encoder, seed: int) -> OODScore:
    """Fit a score to training images: to twice `REFERENCES` of them, where there are more.

    Some are references, and what is usual is measured on the others. Of few images half are references, so
    that there are others.

    Parameters
    ----------
    view : View
        The training images.
    encoder : Encoder
        Fitted; see `OODScore`.
    seed : int
        Of the choice of references.
    """
    rng = np.random.default_rng(seed)
    some = np.arange(len(view))
    if len(view) > 2 * REFERENCES:
        some = np.sort(rng.choice(len(view), 2 * REFERENCES, replace=False))
    features = view.rows(encoder, some)
    errors = []
    blocks = blocks_of(view.pixels, some, BLOCK, view.device)
    for block, own in zip(blocks, torch.split(features, BLOCK), strict=True):
        error = encoder.reconstruction_errors(block, own)
        if error is None:
            break
        errors.append(error)
    order = np.random.default_rng(seed).permutation(len(features))
    m = min(REFERENCES, (len(features) + 1) // 2)
    chosen, others = (
        torch.from_numpy(rows).to(view.device) for rows in (order[:m], order[m : m + REFERENCES])
    )
    references = features[chosen].contiguous()
    apart = [nearest(part, references) for part in torch.split(features[others], BLOCK) if len(part)]
    reach = _typical(torch.cat(apart)) if apart else 1.0
    return OODScore(encoder, references, reach, _typical(torch.cat(errors)) if errors else None)


def _typical(values: Tensor) -> float:
    return max(float(torch.quantile(values, TYPICAL)), 1e-6)
