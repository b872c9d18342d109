"""Out-of-distribution (OOD) scores."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.methods.view import View
from gpu_ssl.training.batches import blocks_of

REFERENCES = 10_000
"""Maximum number of training features that are kept for comparison."""

TYPICAL = 0.95
BLOCK = 1000


@dataclass(frozen=True)
class OODScore:
    """The larger of two normalized quantities: feature distance and reconstruction error.

    The distance is that to the nearest training image in feature space (Sun et al. 2022, with k = 1). The
    error is the sum of squares, if the encoder has a decoder. Each detects what the other misses
    (docs/experiments/): objects of unknown classes may be reconstructed well, and noise may have typical
    features. The ELBO is not used, because it rates simple images as likely (Nalisnick et al. 2019).

    Parameters
    ----------
    encoder : Encoder
        Encoder of the features: the VAE if there is one.
    references : Tensor of shape (m, d), float32
        Features of training images.
    reach : float
        The distance at a score of 1.
    usual_error : float or None
        The reconstruction error at a score of 1; None without a decoder.
    """

    encoder: Encoder
    references: Tensor
    reach: float
    usual_error: float | None

    def __call__(self, images: Tensor, features: Tensor) -> Tensor:
        """Return the scores (n,) of uint8 images (n, ...) with features (n, d); above 1 is unusual.

        `score_blocks` does the same with constant memory.
        """
        ratio = nearest(features, self.references) / self.reach
        errors = self.encoder.reconstruction_errors(images, features)
        if errors is None or self.usual_error is None:
            return ratio
        return torch.maximum(ratio, errors / self.usual_error)


@torch.no_grad()
def score_blocks(score: OODScore, images: Tensor, features: Tensor) -> Tensor:
    """Return the scores of images with their features, computed in blocks of constant size."""
    blocks = zip(torch.split(images, BLOCK), torch.split(features, BLOCK), strict=True)
    scores = [score(block, part) for block, part in blocks]
    return torch.cat(scores) if scores else features.new_empty(0)


def nearest(features: Tensor, references: Tensor) -> Tensor:
    """Return the Euclidean distance of each of `features` (n, d) to the nearest of `references` (m, d)."""
    # Squared distances without the norm of the query, which is constant: enough to find the nearest
    # reference, but too inaccurate for the distance, because they are differences of large numbers.
    # The mean is subtracted first: embeddings may be far from the origin.
    centre = references.mean(dim=0)
    centred = references - centre
    squares = torch.addmm(centred.square().sum(dim=1), features - centre, centred.T, alpha=-2)
    found = references[squares.argmin(dim=1)]
    return (features - found).square().sum(dim=1).sqrt()


@torch.no_grad()
def fit_ood_score(view: View, encoder: Encoder, seed: int) -> OODScore:
    """Fit a score to training images, at most twice `REFERENCES`.

    A part of the images, at most half, are references. Distance and error are divided by their 95th
    percentiles on the others, and the larger of both by its own, so 95 % of these have a score up to 1.

    Parameters
    ----------
    view : View
        The training images.
    encoder : Encoder
        Fitted encoder; see `OODScore`.
    seed : int
        Seed of the choice of references.
    """
    rng = np.random.default_rng(seed)
    rows = np.arange(len(view))
    if len(view) > 2 * REFERENCES:
        rows = np.sort(rng.choice(len(view), 2 * REFERENCES, replace=False))
    features = view.rows(encoder, rows)
    errors = []
    blocks = blocks_of(view.pixels, rows, BLOCK, view.device)
    for block, part in zip(blocks, torch.split(features, BLOCK), strict=True):
        error = encoder.reconstruction_errors(block, part)
        if error is None:
            break
        errors.append(error)
    order = np.random.default_rng(seed).permutation(len(features))
    m = min(REFERENCES, (len(features) + 1) // 2)
    chosen, others = (
        torch.from_numpy(part).to(view.device) for part in (order[:m], order[m : m + REFERENCES])
    )
    references = features[chosen].contiguous()
    if not len(others):  # of one image
        return OODScore(encoder, references, 1.0, _typical(torch.cat(errors)) if errors else None)
    distances = torch.cat([nearest(part, references) for part in torch.split(features[others], BLOCK)])
    reach = _typical(distances)
    if not errors:
        return OODScore(encoder, references, reach, None)
    of_others = torch.cat(errors)[others]
    usual_error = _typical(of_others)
    both = _typical(torch.maximum(distances / reach, of_others / usual_error))
    return OODScore(encoder, references, both * reach, both * usual_error)


def _typical(values: Tensor) -> float:
    return max(float(torch.quantile(values, TYPICAL)), 1e-6)
