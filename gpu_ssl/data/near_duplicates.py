"""Finds images that are nearly copies: saved anew, scaled, brightened, or frames of one burst."""

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.runtime.memory_map import release

SIDE = 16
"""Images are compared at this size, in grey."""

CORRELATION = 0.995
"""Of grey levels, above which two images are nearly copies: of Fashion-MNIST 0.7 % have such a neighbour
among 20,000, of MNIST and scikit-learn's digits none."""

ALL_PAIRS = 12_000
"""Images up to which each is compared with each; of more, those with a label with all."""

BLOCK = 1000


def near_duplicates(
    images: NDArray[np.uint8], rows: NDArray[np.int64], labels: NDArray[np.int64]
) -> list[list[int]]:
    """Return groups of images that are nearly copies.

    Parameters
    ----------
    images : ndarray of shape (n, channels, height, width), uint8
        All images.
    rows : ndarray of shape (m,), int64
        Positions of those to compare, in ascending order.
    labels : ndarray of shape (n,), int64
        -1 for those without a label.

    Returns
    -------
    list of list of int
        Positions of the images of each group, in order.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if len(rows) < 2:
        return []
    own = np.concatenate([_described(images, rows[i : i + BLOCK]) for i in range(0, len(rows), BLOCK)])
    of_labelled = np.flatnonzero(labels[rows] >= 0)
    asked = np.arange(len(rows)) if len(rows) <= ALL_PAIRS else of_labelled
    pairs = []
    for start in range(0, len(asked), BLOCK):
        some = asked[start : start + BLOCK]
        first, second = np.nonzero(own[some] @ own.T > CORRELATION)
        pairs.append((some[first], second))
    first, second = (
        (np.concatenate(ends) for ends in zip(*pairs, strict=True)) if pairs else (rows[:0], rows[:0])
    )
    linked = coo_matrix((np.ones(len(first)), (first, second)), (len(rows), len(rows)))
    _, group = connected_components(linked, directed=False)
    order = np.argsort(group, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    return [rows[part].tolist() for part in parts if len(part) > 1]


def _described(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return grey images of `SIDE` x `SIDE` pixels, of mean 0 and norm 1, as rows."""
    grey = images[rows].mean(axis=1, dtype=np.float32)
    release(images)
    flat = (_means(grey.shape[1]) @ grey @ _means(grey.shape[2]).T).reshape(len(grey), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    described: NDArray[np.float32] = flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-3)
    return described.astype(np.float32)


def _means(n: int) -> NDArray[np.float32]:
    """Return the matrix that takes the means of `SIDE` parts of `n` numbers; of fewer, each number."""
    parts = np.arange(n) * min(SIDE, n) // n
    member = (parts == np.arange(min(SIDE, n))[:, None]).astype(np.float32)
    means: NDArray[np.float32] = member / member.sum(axis=1, keepdims=True)
    return means
