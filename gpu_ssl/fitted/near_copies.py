"""Groups of labelled images that tell of each other what they do not tell of new ones.

Frames of a burst, a picture saved twice, members of what the user calls one group: a model that has learned
from one names the others right, whatever their labels are worth. So no group is on both sides of a fold, and
it counts as one judgement. `data.near_duplicates`, which tells the user of copies among all images, asks more
of two images than this does, and looks at no features.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.encoders.pixels import Pixels
from gpu_ssl.encoders.vae import VAEEncoder
from gpu_ssl.methods.view import View
from gpu_ssl.training.augmentation import SHIFT

NEAR = 0.1
"""Share of the usual distance between features below which two images are near copies."""

CORRELATION, WEAK_CORRELATION = 0.98, 0.95
"""Of pixels, one image moved by up to `SHIFT`, above which two neighbours in feature space are near copies;
the lower is enough where both have a near copy already, so that a burst stays in one piece. These and NEAR
were chosen once, on data sets without copies and on bursts made of them (docs/experiments/own-images.md)."""

NEIGHBOURS = 10
"""Nearest labelled images that each is compared with: frames of longer bursts are linked in a chain."""

SIDE = 32
"""Longest side that pixels are compared at."""

USUAL = 1000
"""Images whose distances from all others tell what is usual."""

BLOCK = 1000
SMALLEST_NORM = 1e-6


class Groups(NamedTuple):
    """What labelled images belong to.

    `of_images` (n,), int64, is the group of each; `given` (n,), int64, without regard to near copies: by the
    user and by equal pixels. `n_near_copies` is the number of images with a near copy among the others.
    """

    of_images: NDArray[np.int64]
    given: NDArray[np.int64]
    n_near_copies: int


def find_groups(
    view: View, rows: NDArray[np.int64], keys: NDArray[np.int64], groups: NDArray[np.int64] | None
) -> Groups:
    """Group labelled images by near copies, equal pixels and what the user says.

    Parameters
    ----------
    view : View
        All images.
    rows : ndarray of shape (n,), int64
        Those with a label, ascending.
    keys : ndarray of shape (n,), int64
        The same for images of equal pixels.
    groups : ndarray of shape (n,), int64, optional
        Group of each that the user gives; -1 for none.
    """
    n = len(rows)
    links = [_same(keys)]
    if groups is not None:
        links.append(_same(np.where(groups < 0, np.arange(n) + groups.max() + 1, groups)))
    given = _joined(n, links)
    # What is equal in pixels is no *near* copy.
    once = np.unique(keys, return_index=True)[1]
    once = once[np.argsort(rows[once])]
    pairs = once[near_copies(view, feature_encoder(view), rows[once])]
    return Groups(_joined(n, [*links, pairs]), given, len(np.unique(pairs)))


def feature_encoder(view: View) -> Encoder:
    """Return the VAE of a view, where there is one, else its first encoder; without any that of pixels."""
    own = list(view.encoders.values())
    vaes: list[Encoder] = [encoder for encoder in own if isinstance(encoder, VAEEncoder)]
    return [*vaes, *own, Pixels(view.image_shape).to(view.device)][0]


def near_copies(view: View, encoder: Encoder, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return pairs of near copies among some images of a view, (m, 2), as positions in `rows`.

    Each image is compared with its nearest neighbours in the features of `encoder`. Two are near copies where
    these are much nearer than is usual, or where their pixels are the same but for a small movement, contrast
    and a little noise. Of rows of numbers there are none: few columns are alike by chance.
    """
    n, k = len(rows), min(NEIGHBOURS, len(rows) - 1)
    if not view.is_pictures or k < 1:
        return np.empty((0, 2), np.int64)
    view.remember(rows)
    features = view.rows(encoder, rows).contiguous()
    nearest = [_nearest(features, start, k) for start in range(0, n, BLOCK)]
    distances, neighbours = (torch.cat(part) for part in zip(*nearest, strict=True))
    some = torch.from_numpy(np.linspace(0, n - 1, min(n, USUAL)).astype(np.int64)).to(features.device)
    usual = torch.cdist(features[some], features[some]).median()
    own = torch.arange(n, device=features.device)[:, None].expand_as(neighbours)
    pairs = torch.stack([own, neighbours], dim=-1)
    near = distances <= NEAR * usual
    others = np.unique(np.sort(pairs[~near].cpu().numpy(), axis=1), axis=0)
    correlations = [_correlations(view, rows, others[i : i + BLOCK]) for i in range(0, len(others), BLOCK)]
    alike = np.concatenate([*correlations, np.empty(0, np.float32)])
    sure = np.concatenate([pairs[near].cpu().numpy(), others[alike >= CORRELATION]])
    likely = others[alike >= WEAK_CORRELATION]
    return np.concatenate([sure, likely[np.isin(likely, sure).all(axis=1)]])


def _nearest(features: Tensor, start: int, k: int) -> tuple[Tensor, Tensor]:
    """Return distances and positions of the `k` nearest others of a block of images, both (b, k)."""
    distances = torch.cdist(features[start : start + BLOCK], features)
    own = torch.arange(len(distances), device=features.device)
    distances[own, start + own] = torch.inf
    nearest = distances.topk(k, largest=False)
    return nearest.values, nearest.indices


def _correlations(view: View, rows: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return how far the pixels of pairs (m, 2) correlate, the second moved by up to `SHIFT`, (m,)."""
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
    """Return images of mean 0 and norm 1; one of a single colour as zeros."""
    images = images - images.mean(dim=(1, 2, 3), keepdim=True)
    norms: Tensor = torch.linalg.vector_norm(images, dim=(1, 2, 3), keepdim=True)
    return images / norms.clamp_min(1.0)


def _same(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return pairs (m, 2) of positions that link all that have the same number."""
    _, first, which = np.unique(numbers, return_index=True, return_inverse=True)
    return np.stack([first[which], np.arange(len(numbers))], axis=1)


def _joined(n: int, links: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the connected component of each of n, (n,), int64."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    first, second = np.concatenate(links).T
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(n, n))
    component: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return component
