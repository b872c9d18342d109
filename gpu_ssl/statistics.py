"""How much better one method is than another on the same splits, and how sure that is."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.records import Difference, Result

CONFIDENCE = 0.95


def paired_differences(results: Sequence[Result], methods: Sequence[str]) -> tuple[Difference, ...]:
    """Compare each of `methods` with the first of them, split by split.

    The interval is Student's for the mean of paired differences: it covers what another choice of labels
    would change, not another VAE or other test images. A single split has no interval and is left out.

    Parameters
    ----------
    results : sequence of Result
        Of all methods; those of one number of labels come from the same splits.
    methods : sequence of str
        Names; the first is the one to compare with.
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
    """Return the mean of at least two values, and Student's interval for it with 95 % confidence."""
    from scipy.stats import t

    mean, error = float(values.mean()), float(values.std(ddof=1)) / len(values) ** 0.5
    reach = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * error
    return mean, mean - reach, mean + reach


def wilson_interval(share: float, n: float) -> tuple[float, float]:
    """Return Wilson's score interval (1927, eq. 5) for a share of `n` independent judgements.

    Parameters
    ----------
    share : float
        What was found, from 0 to 1.
    n : float
        Number of judgements; of those that depend on each other, as many as they are worth.
    """
    from scipy.stats import norm

    square = float(norm.ppf((1 + CONFIDENCE) / 2)) ** 2 / n
    centre = (share + square / 2) / (1 + square)
    reach = math.sqrt(square * (share * (1 - share) + square / 4)) / (1 + square)
    return max(0.0, centre - reach), min(1.0, centre + reach)


def independent(groups: NDArray[np.int64]) -> float:
    """Return as how many independent judgements those of groups (n,) count, if all of a group come out alike.

    That is Kish's effective sample size (1965, *Survey Sampling*, section 8.2) with an intraclass correlation
    of 1, reduced where groups are few, as Korn and Graubard have it (1998, *Confidence intervals for
    proportions with small expected number of positive counts estimated from survey data*). It is n where
    each is alone.
    """
    from scipy.stats import t

    sizes = np.bincount(groups).astype(np.float64)
    sizes = sizes[sizes > 0]
    by_image, by_group = t.ppf((1 + CONFIDENCE) / 2, [max(len(groups) - 1, 1), max(len(sizes) - 1, 1)])
    return float(sizes.sum() ** 2 / np.square(sizes).sum() * (by_image / by_group) ** 2)
