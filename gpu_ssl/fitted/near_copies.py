"""Grouping labelled images that are near duplicates, to keep them in one fold of a cross-validation.

Frames of a burst, copies of an image or members of a user's group are not independent: a model trained on one
classifies the others correctly, and the accuracy is overestimated. So each group is on one side of a fold and
counts as one trial. `data.near_duplicates`, which reports duplicates to the user, is stricter and compares
only pixels.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from gpu_ssl.data.linked import linked_groups
from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.encoders.pixels import Pixels
from gpu_ssl.encoders.vae import VAEEncoder
from gpu_ssl.methods.view import View
from gpu_ssl.training.augmentation import SHIFT

NEAR = 0.1
"""Fraction of the median feature distance below which two images are near duplicates."""

CORRELATION, WEAK_CORRELATION = 0.98, 0.95
"""Correlations of pixels, with one image shifted by up to `SHIFT`, above which two neighbours in feature
space are near duplicates. The lower one applies if both images have a near duplicate already, so that bursts
are not split. These and NEAR were chosen once, on data sets without duplicates and on synthetic bursts
(docs/experiments/own-images.md)."""

NEIGHBOURS = 10
"""Number of nearest labelled images that each is compared with; longer bursts are linked in a chain."""

SIDE = 32
"""Maximum side in pixels at which images are compared."""

USUAL = 1000
"""Number of images sampled for the median feature distance."""

BLOCK = 1000
SMALLEST_NORM = 1e-6


class Groups(NamedTuple):
    """Groups of labelled images.

    `of_images` (n,), int64, is the group of each image. `given` (n,), int64, ignores near duplicates: it
    combines only the user's groups and equal pixels. `n_near_copies` is the number of images with a near
    duplicate.
    """

    of_images: NDArray[np.int64]
    given: NDArray[np.int64]
    n_near_copies: int


def find_groups(
    view: View, rows: NDArray[np.int64], keys: NDArray[np.int64], groups: NDArray[np.int64] | None
) -> Groups:
    """Group labelled images by near duplicates, equal pixels and the user's groups.

    Parameters
    ----------
    view : View
        All images.
    rows : ndarray of shape (n,), int64
        Positions of the labelled images, ascending.
    keys : ndarray of shape (n,), int64
        Keys that are equal for images with equal pixels.
    groups : ndarray of shape (n,), int64, optional
        The user's group of each labelled image, -1 for none.
    """
    n = len(rows)
    links = [_same(keys)]
    if groups is not None:
        links.append(_same(np.where(groups < 0, np.arange(n) + groups.max() + 1, groups)))
    given = _joined(n, links)
    # Exact duplicates do not count as near duplicates.
    once = np.unique(keys, return_index=True)[1]
    once = once[np.argsort(rows[once])]
    pairs = once[near_copies(view, feature_encoder(view), rows[once])]
    return Groups(_joined(n, [*links, pairs]), given, len(np.unique(pairs)))


def feature_encoder(view: View) -> Encoder:
    """Return the VAE of a view, else its first encoder, else an encoder of pixels."""
    encoders = list(view.encoders.values())
    vaes: list[Encoder] = [encoder for encoder in encoders if isinstance(encoder, VAEEncoder)]
    return [*vaes, *encoders, Pixels(view.image_shape).to(view.device)][0]


def near_copies(view: View, encoder: Encoder, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return pairs of near duplicates among the images `rows` of a view, (m, 2), as positions in `rows`.

    Each image is compared with its nearest neighbours in the features of `encoder`. Two images are near
    duplicates if their feature distance is far below the median, or if their pixels are equal up to a small
    shift, contrast and slight noise. Rows of numbers have none, because with few columns similar rows occur
    by chance.
    """
    n, k = len(rows), min(NEIGHBOURS, len(rows) - 1)
    if not view.holds_images or k < 1:
        return np.empty((0, 2), np.int64)
    view.remember(rows)
    features = view.rows(encoder, rows).contiguous()
    nearest = [_nearest(features, start, k) for start in range(0, n, BLOCK)]
    distances, neighbours = (torch.cat(part) for part in zip(*nearest, strict=True))
    sample = torch.from_numpy(np.linspace(0, n - 1, min(n, USUAL)).astype(np.int64)).to(features.device)
    median = torch.cdist(features[sample], features[sample]).median()
    positions = torch.arange(n, device=features.device)[:, None].expand_as(neighbours)
    pairs = torch.stack([positions, neighbours], dim=-1)
    near = distances <= NEAR * median
    others = np.unique(np.sort(pairs[~near].cpu().numpy(), axis=1), axis=0)
    correlations = [_correlations(view, rows, others[i : i + BLOCK]) for i in range(0, len(others), BLOCK)]
    alike = np.concatenate([*correlations, np.empty(0, np.float32)])
    sure = np.concatenate([pairs[near].cpu().numpy(), others[alike >= CORRELATION]])
    likely = others[alike >= WEAK_CORRELATION]
    return np.concatenate([sure, likely[np.isin(likely, sure).all(axis=1)]])


def _nearest(features: Tensor, start: int, k: int) -> tuple[Tensor, Tensor]:
    """Return distances and positions of the `k` nearest other images for a block, both (b, k)."""
    distances = torch.cdist(features[start : start + BLOCK], features)
    rows = torch.arange(len(distances), device=features.device)
    distances[rows, start + rows] = torch.inf
    nearest = distances.topk(k, largest=False)
    return nearest.values, nearest.indices


def _correlations(view: View, rows: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the maximum correlation of pixels of pairs (m, 2), over shifts up to `SHIFT`, (m,)."""
    fixed, images = (_standardized(_small(view, rows[ends])) for ends in pairs.T)
    down, right = (int(SHIFT * side) for side in images.shape[2:])
    height, width = images.shape[2:]
    wide = F.pad(images, (right, right, down, down), mode="replicate")
    best = torch.zeros(len(pairs), device=view.device)
    for top in range(2 * down + 1):
        for left in range(2 * right + 1):
            moved = wide[:, :, top : top + height, left : left + width].flatten(1)
            norms = torch.linalg.vecdot(moved, moved).sqrt().clamp_min(SMALLEST_NORM)
            best = torch.maximum(best, torch.linalg.vecdot(fixed.flatten(1), moved) / norms)
    correlations: NDArray[np.float32] = best.cpu().numpy()
    return correlations


def _small(view: View, rows: NDArray[np.int64]) -> Tensor:
    """Return images (m, channels, height, width), float32, with sides of at most `SIDE`."""
    images = torch.from_numpy(view.pixels[rows]).to(view.device).float()
    factor = -(-max(images.shape[2:]) // SIDE)
    return images if factor == 1 else F.avg_pool2d(images, factor, ceil_mode=True)


def _standardized(images: Tensor) -> Tensor:
    """Return images with mean 0 and norm 1; single-colour images are zeros."""
    images = images - images.mean(dim=(1, 2, 3), keepdim=True)
    norms: Tensor = torch.linalg.vector_norm(images, dim=(1, 2, 3), keepdim=True)
    return images / norms.clamp_min(1.0)


def _same(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return pairs (m, 2) of positions that link all positions with equal numbers."""
    _, first, which = np.unique(numbers, return_index=True, return_inverse=True)
    return np.stack([first[which], np.arange(len(numbers))], axis=1)


def _joined(n: int, links: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the connected component of each of n positions, (n,), int64."""
    return linked_groups(n, *np.concatenate(links).T)
