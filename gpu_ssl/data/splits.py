"""Choosing the labelled images of a split (stratified, nested, seeded), and cross-validation folds."""

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.config import STANDARD_LABEL_COUNTS, LabelCounts
from gpu_ssl.errors import UsageError

FOLDS = 5
"""Maximum number of cross-validation folds."""

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Positions of the labelled images to train on, and of those to validate on."""


def resolve_label_counts(counts: LabelCounts, n_train: int, n_classes: int) -> tuple[int, ...]:
    """Resolve label counts to numbers that are valid for the data set.

    Parameters
    ----------
    counts : tuple of (int or "full"), or "all"
        ``"all"`` stands for those of 100, 600, 1000 and 3000 that are valid.
    n_train, n_classes : int
        Size of the training set and number of its classes.

    Returns
    -------
    tuple of int
        The counts without duplicates, in the given order.

    Raises
    ------
    UsageError
        If a count is smaller than the number of classes or larger than the training set.
    """
    if counts == "all":
        standard = tuple(n for n in STANDARD_LABEL_COUNTS if n_classes <= n <= n_train)
        if standard:
            return standard
        counts = STANDARD_LABEL_COUNTS
    resolved = dict.fromkeys(n_train if n == "full" else n for n in counts)
    for n in resolved:
        if not n_classes <= n <= n_train:
            bound = (
                f"fewer than one for each of the {n_classes} classes"
                if n < n_classes
                else "more than the number of training images"
            )
            raise UsageError(
                f"`labels={n}`: {bound}; this data set allows {n_classes} to {n_train} labels, or 'full'"
            )
    return tuple(resolved)


def labelling_order(labels: NDArray[np.int64], seed: int, split: int) -> NDArray[np.int64]:
    """Return a random order of the images in which the first n are a stratified sample, for every n.

    The order proceeds in rounds. Each round takes one remaining image of every class, with the classes in a
    new random order. So the first n images are balanced over the classes (up to one image, and up to classes
    that have run out), and the samples for two counts are nested.

    Parameters
    ----------
    labels : ndarray of shape (n,), int64
        Class of each image.
    seed, split : int
        Seed of the run and number of the split; each pair gives a different order.

    Returns
    -------
    ndarray of shape (n,), int64
        A permutation of the image indices.
    """
    rng = np.random.default_rng([seed, split])
    order = rng.permutation(len(labels))
    by_class = np.argsort(labels[order], kind="stable")
    counts = np.bincount(labels)
    starts = np.cumsum(counts) - counts
    rounds = np.empty(len(labels), np.int64)
    rounds[by_class] = np.arange(len(labels)) - np.repeat(starts, counts)
    turns = rng.permuted(np.tile(np.arange(len(counts)), (rounds.max(initial=0) + 1, 1)), axis=1)
    result: NDArray[np.int64] = order[np.lexsort((turns[rounds, labels[order]], rounds))]
    return result


def labelled_indices(labels: NDArray[np.int64], n: int, seed: int, split: int) -> NDArray[np.int64]:
    """Return the indices of the `n` labelled images of `split`, in ascending order."""
    return np.sort(labelling_order(labels, seed, split)[:n])


def stratified_folds(
    classes: NDArray[np.int64], seed: int, groups: NDArray[np.int64] | None = None, most: int = FOLDS
) -> list[Fold]:
    """Return stratified, grouped cross-validation folds that train on every class.

    A class whose images are all in one group cannot be validated, because its group would be on both sides.
    Such a group (for example, the only image of a class) is in the training part of every fold. All other
    images are validated once, except those that would leave no image of their class to train on.

    Parameters
    ----------
    classes : ndarray of shape (n,), int64
        Class of each image.
    seed : int
        Seed of the random assignment to folds.
    groups : ndarray of shape (n,), int64, optional
        Group of each image; None means that each image is its own group.
    most : int
        Maximum number of folds.

    Returns
    -------
    list of Fold
        At most `most` folds, with the groups of each class spread evenly; an empty list if fewer than two
        classes can be validated.
    """
    groups = np.arange(len(classes)) if groups is None else np.unique(groups, return_inverse=True)[1]
    group_of, class_of = np.unique(np.stack([groups, classes]), axis=1)
    n_groups = np.bincount(class_of)
    always_learned = group_of[n_groups[class_of] == 1]
    divided = np.setdiff1d(groups, always_learned)
    if len(divided) < 2:
        return []
    # A group with several classes is stratified by the class that occurs in the fewest groups.
    order = np.lexsort((n_groups[class_of], group_of))
    kinds = class_of[order][np.unique(group_of[order], return_index=True)[1]][divided]
    counts = np.bincount(kinds)
    kinds[counts[kinds] == 1] = counts.argmax()
    n_folds = min(most, int(np.bincount(kinds)[kinds].min()))
    folds = []
    fold_of = stratified_k_fold(kinds, n_folds, seed)
    for fold in range(n_folds):
        checked = np.isin(groups, divided[fold_of == fold])
        only_here = np.setdiff1d(classes, classes[~checked])
        checked &= ~np.isin(groups, groups[np.isin(classes, only_here)])
        if checked.any():
            folds.append((np.flatnonzero(~checked), np.flatnonzero(checked)))
    several = {int(number) for _, check in folds for number in classes[check]}
    return folds if len(several) > 1 else []


def stratified_k_fold(classes: NDArray[np.int64], n_folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each image (n,), as scikit-learn's shuffled `StratifiedKFold` assigns them.

    Importing that takes longer than most fits here.
    """
    rng = np.random.RandomState(seed)
    _, first, found = np.unique(classes, return_index=True, return_inverse=True)
    codes = np.argsort(np.argsort(first))[found]  # in the order in which classes come
    ordered = np.sort(codes)
    counts = np.stack([np.bincount(ordered[fold::n_folds], minlength=len(first)) for fold in range(n_folds)])
    folds = np.empty(len(classes), np.int64)
    for code, own in enumerate(counts.T):
        of_class = np.repeat(np.arange(n_folds), own)
        rng.shuffle(of_class)
        folds[codes == code] = of_class
    return folds


def stratified_split(
    classes: NDArray[np.int64], n_test: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of a training and a test set, as scikit-learn's stratified `train_test_split` does."""
    rng = np.random.RandomState(seed)
    counts = np.bincount(classes)
    n_train = _shares_of(counts, len(classes) - n_test, rng)
    n_tested = _shares_of(counts - n_train, n_test, rng)
    train, test = [], []
    for code, count in enumerate(counts):
        rows = np.flatnonzero(classes == code)[rng.permutation(count)]
        train.append(rows[: n_train[code]])
        test.append(rows[n_train[code] : n_train[code] + n_tested[code]])
    return rng.permutation(np.concatenate(train)), rng.permutation(np.concatenate(test))


def _shares_of(counts: NDArray[np.int64], n: int, rng: np.random.RandomState) -> NDArray[np.int64]:
    """Divide `n` among classes in proportion to `counts`; what is over goes to the largest remainders."""
    exact = counts / counts.sum() * n
    shares: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    remainders = exact - shares
    for value in np.unique(remainders)[::-1]:
        left = n - int(shares.sum())
        if not left:
            break
        tied = np.flatnonzero(remainders == value)
        shares[rng.choice(tied, min(len(tied), left), replace=False)] += 1
    return shares
