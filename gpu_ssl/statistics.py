"""Confidence intervals for accuracies and for paired differences between methods; shares as text."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.records import Difference, Result

CONFIDENCE = 0.95

STUDENT = (
    *(12.706204736174694, 4.302652729749462, 3.1824463052837078, 2.7764451051977934, 2.5705818356363146),
    *(2.4469118511449786, 2.364624251592784, 2.306004135204166, 2.262157162798205),
)
"""Student's t at (1 + CONFIDENCE) / 2 for 1 to 9 degrees of freedom, which 2 to 10 splits have."""


def in_percent(share: float, digits: int = 1) -> str:
    """Return a share in percent as text, such as ``66.1 %``."""
    return f"{100 * share:.{digits}f} %"


def paired_differences(results: Sequence[Result], methods: Sequence[str]) -> tuple[Difference, ...]:
    """Compare each of `methods` with the first one, paired by split.

    The interval is Student's t interval for the mean of paired differences. It covers the variation over
    choices of labelled images, not over VAE trainings or test images. Label counts with a single split have
    no interval and are left out.

    Parameters
    ----------
    results : sequence of Result
        Results of all methods; those of one label count come from the same splits.
    methods : sequence of str
        Names of methods; the first is the reference.
    """
    accuracies = {(r.method, r.labels): np.array(r.accuracies) for r in results}
    differences = []
    for method in methods[1:]:
        for labels in dict.fromkeys(r.labels for r in results):
            paired = accuracies[method, labels] - accuracies[methods[0], labels]
            if len(paired) < 2:
                continue
            mean, low, high = mean_and_interval(paired)
            differences.append(
                Difference(method=method, against=methods[0], labels=labels, mean=mean, low=low, high=high)
            )
    return tuple(differences)


def mean_and_interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean of at least two values, with the bounds of its 95 % Student's t interval."""
    mean, error = float(values.mean()), float(values.std(ddof=1)) / len(values) ** 0.5
    reach = _student(len(values) - 1) * error
    return mean, mean - reach, mean + reach


def _student(freedom: int) -> float:
    """Return Student's t at (1 + CONFIDENCE) / 2 for so many degrees of freedom."""
    if freedom <= len(STUDENT):
        return STUDENT[freedom - 1]
    from scipy.special import stdtrit  # The import takes time.

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))


def wilson_interval(share: float, n: float) -> tuple[float, float]:
    """Return the 95 % Wilson score interval (1927, eq. 5) for a proportion of `n` independent trials.

    Parameters
    ----------
    share : float
        Observed proportion, from 0 to 1.
    n : float
        Number of trials; the effective sample size if they are dependent.
    """
    square = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) ** 2 / n
    centre = (share + square / 2) / (1 + square)
    reach = math.sqrt(square * (share * (1 - share) + square / 4)) / (1 + square)
    # At the ends the sums are exact but for rounding.
    low = 0.0 if share == 0 else max(0.0, centre - reach)
    high = 1.0 if share == 1 else min(1.0, centre + reach)
    return low, high


def independent(groups: NDArray[np.int64]) -> float:
    """Return the effective sample size of grouped trials, if the outcomes within a group are equal.

    This is Kish's effective sample size (1965, *Survey Sampling*, section 8.2) with an intraclass correlation
    of 1, reduced for few groups as by Korn and Graubard (1998, *Confidence intervals for proportions with
    small expected number of positive counts estimated from survey data*). It is n if every group has one
    member.

    Parameters
    ----------
    groups : ndarray of shape (n,), int64
        Group of each trial.
    """
    sizes = np.bincount(groups).astype(np.float64)
    sizes = sizes[sizes > 0]
    if len(sizes) == len(groups):
        return float(len(groups))
    by_image, by_group = (_student(max(len(of) - 1, 1)) for of in (groups, sizes))
    return float(sizes.sum() ** 2 / np.square(sizes).sum() * (by_image / by_group) ** 2)
