"""Collects the content of a run's page beyond its report."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.encoders.encoder import Exhibit
from gpu_ssl.experiment import Outcome
from gpu_ssl.report.data_address import LARGEST, address_of, image_of, sheet_of
from gpu_ssl.report.details import Confusion, Mistake, RunDetails, Shown
from gpu_ssl.report.feature_map import make_map

MISTAKES = 30
"""Maximum number of misclassified images on a page."""

IN_A_ROW = 10
"""Images in a row of an exhibit."""


def details_of_run(outcome: Outcome) -> RunDetails:
    """Return counts and images of a run; test labels are read, as for its score."""
    return RunDetails(
        confusions=tuple(_confusions(outcome)),
        mistakes=tuple(_mistakes(outcome)),
        exhibits=tuple(map(_shown, outcome.exhibits())),
        map=make_map(
            outcome.test_features,
            outcome.test.images,
            outcome.test.labels,
            outcome.report.device.used,
        ),
    )


def _confusions(outcome: Outcome) -> list[Confusion]:
    """Return the confusions of each method at the largest number of labels."""
    n = len(outcome.report.dataset.classes)
    found = []
    for method, by_count in outcome.predictions.items():
        count = max(by_count)
        cells: Counter[int] = Counter()
        for predicted in by_count[count]:
            cells.update((outcome.test.labels * n + predicted.classes).tolist())
        triples = tuple((cell // n, cell % n, number) for cell, number in sorted(cells.items()))
        found.append(Confusion(method=method, labels=count, cells=triples))
    return found


def _mistakes(outcome: Outcome) -> list[Mistake]:
    """Return the errors shared by most predictions of the requested methods with most labels."""
    asked = outcome.report.config.get("methods") or list(outcome.predictions)
    said = [
        predicted.classes
        for method in asked
        if method in outcome.predictions
        for predicted in outcome.predictions[method][max(outcome.predictions[method])]
    ]
    votes = _votes(np.stack(said), len(outcome.report.dataset.classes))
    votes[np.arange(len(votes)), outcome.test.labels] = 0
    named, most = votes.argmax(axis=1), votes.max(axis=1)
    order = np.argsort(-most, kind="stable")[:MISTAKES]
    return [
        Mistake(
            true=int(outcome.test.labels[row]),
            named=int(named[row]),
            votes=int(most[row]),
            of=len(said),
            image=address_of(image_of(outcome.test.images[row], LARGEST)),
        )
        for row in order.tolist()
        if most[row]
    ]


def _votes(said: NDArray[np.int64], n_classes: int) -> NDArray[np.int64]:
    """Return the number of predictions of each class for each image, (n, n_classes), from (m, n)."""
    votes = np.zeros((said.shape[1], n_classes), np.int64)
    for classes in said:
        votes[np.arange(len(classes)), classes] += 1
    return votes


def _shown(exhibit: Exhibit) -> Shown:
    rows = [[image_of(image, 56) for image in row[:IN_A_ROW]] for row in exhibit.rows]
    whole = sheet_of([image for row in rows for image in row], len(rows[0]), gap=2, ground=128)
    return Shown(title=exhibit.title, image=address_of(whole))
