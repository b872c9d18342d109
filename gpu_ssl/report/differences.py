"""How much better one method is than another on the same splits, and how sure that is."""

from collections.abc import Sequence

import numpy as np

from gpu_ssl.report.records import Difference, Result

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
    from scipy.stats import t

    accuracies = {(r.method, r.labels): np.array(r.accuracies) for r in results}
    differences = []
    for method in methods[1:]:
        for labels in dict.fromkeys(r.labels for r in results):
            paired = accuracies[method, labels] - accuracies[methods[0], labels]
            if len(paired) < 2:
                continue
            mean = float(paired.mean())
            error = float(paired.std(ddof=1)) / len(paired) ** 0.5
            reach = float(t.ppf((1 + CONFIDENCE) / 2, len(paired) - 1)) * error
            differences.append(
                Difference(
                    method=method,
                    against=methods[0],
                    labels=labels,
                    mean=mean,
                    low=mean - reach,
                    high=mean + reach,
                )
            )
    return tuple(differences)
