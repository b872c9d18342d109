"""Finding near duplicates: images re-encoded, resized or brightened, or frames of a burst."""

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.data.linked import linked_groups
from gpu_ssl.runtime.memory_map import release

SIDE = 16
"""Side in pixels of the grey images that are compared."""

CORRELATION = 0.995
"""Correlation of grey levels above which two images are near duplicates. In Fashion-MNIST, 0.7 % of images
have such a neighbour among 20,000; in MNIST and scikit-learn's digits none has."""

ALL_PAIRS = 12_000
"""Maximum number of images for comparing all pairs; of more, only labelled images are compared with all."""

BLOCK = 1000

PAIRS, LEAST_ROWS = 2**20, 64
"""Number of pairs compared at a time, and minimum number of images that are compared with all."""


def near_duplicates(
    images: NDArray[np.uint8], rows: NDArray[np.int64], labels: NDArray[np.int64]
) -> list[list[int]]:
    """Return groups of near duplicates.

    Parameters
    ----------
    images : ndarray of shape (n, channels, height, width), uint8
        All images.
    rows : ndarray of shape (m,), int64
        Positions of the images to compare, in ascending order.
    labels : ndarray of shape (n,), int64
        Class of each image, -1 for unlabelled ones.

    Returns
    -------
    list of list of int
        Positions of the images of each group, in ascending order.
    """
    if len(rows) < 2:
        return []
    thumbnails = np.concatenate(
        [_thumbnails(images, rows[i : i + BLOCK]) for i in range(0, len(rows), BLOCK)]
    )
    labelled = np.flatnonzero(labels[rows] >= 0)
    queries = np.arange(len(rows)) if len(rows) <= ALL_PAIRS else labelled
    group = np.arange(len(rows))
    size = max(LEAST_ROWS, PAIRS // len(rows))
    for start in range(0, len(queries), size):
        block = queries[start : start + size]
        first, second = np.nonzero(thumbnails[block] @ thumbnails.T > CORRELATION)
        # Nearly all images of a still camera are similar; they are in one group after the first block.
        new = group[block[first]] != group[second]
        if new.any():
            group = linked_groups(len(rows), group[block[first[new]]], group[second[new]])[group]
    order = np.argsort(group, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    return [rows[part].tolist() for part in parts if len(part) > 1]


def _thumbnails(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return grey images of `SIDE` x `SIDE` pixels as rows, each with mean 0 and norm 1."""
    grey = images[rows].mean(axis=1, dtype=np.float32)
    release(images)
    flat = (_means(grey.shape[1]) @ grey @ _means(grey.shape[2]).T).reshape(len(grey), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    unit: NDArray[np.float32] = flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-3)
    return unit.astype(np.float32)


def _means(n: int) -> NDArray[np.float32]:
    """Return the matrix that averages `n` values in `SIDE` parts; the identity if `n` is smaller."""
    parts = np.arange(n) * min(SIDE, n) // n
    member = (parts == np.arange(min(SIDE, n))[:, None]).astype(np.float32)
    means: NDArray[np.float32] = member / member.sum(axis=1, keepdims=True)
    return means
