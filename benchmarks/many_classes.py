"""Votes, scores and probabilities with many classes: docs/experiments/many-classes.md.

    python -m benchmarks.many_classes [--dataset mnist --data-dir DIR]

Two or three images of ten classes side by side, at half their resolution, form images of 100 or 1000 classes.
SVMs (C = 5) on their 64 principal components are fitted to a few of each; the images to fit and to score are
built from separate halves of the training images. No test image is read.
"""

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from sklearn.decomposition import PCA

from gpu_ssl.config import DataConfig, SVMConfig
from gpu_ssl.data.image_set import ImageSet
from gpu_ssl.data.loading import load_dataset
from gpu_ssl.fitted.calibration import Calibration, expected_calibration_error, fit_calibration
from gpu_ssl.methods.svm import fit_svm
from gpu_ssl.statistics import in_percent
from gpu_ssl.svm._sklearn import SklearnBackend
from gpu_ssl.svm.many_classes import ClassScores, most_likely_first
from gpu_ssl.svm.model import OneVsOneModel, votes

CASES = ((2, 3), (2, 10), (2, 30), (3, 3), (3, 10))
"""Images side by side, and how many of each class are learned from."""

JUDGES = {2: 3000, 3: 1000}
Numbers = NDArray[np.float32]
Classes = NDArray[np.int64]


def compose(train: ImageSet, side_by_side: int, classes: Classes, half: int, seed: int) -> Numbers:
    """Return the pixels of an image of each of `classes`, made of every other image from `half` on."""
    rng = np.random.default_rng(seed)
    images, labels = train.images[half::2, 0, ::2, ::2], train.labels[half::2]
    members = [np.flatnonzero(labels == number) for number in range(10)]
    places = [classes // 10**place % 10 for place in range(side_by_side)]
    parts = [images[[rng.choice(members[number]) for number in numbers]] for numbers in places]
    pixels = np.concatenate(parts, axis=2).reshape(len(classes), -1)
    return pixels.astype(np.float32) / np.float32(255)


def all_pairs(model: OneVsOneModel, points: Numbers) -> tuple[Classes, dict[str, Numbers]]:
    """Return the winners of the votes of all pairs, and class scores from the decisions of all pairs."""
    margins, k = model.margin_rule(), model.n_classes

    def rule(values: Numbers) -> Numbers:
        found = margins(values)
        coupled = -np.logaddexp(0, -found).sum(axis=1)
        return np.stack([found.sum(axis=1), coupled, votes(found)], axis=1)

    scores = model.by_blocks(points, rule, k**2, (3, k))
    names = ("sums", "products of sigmoids", "votes")
    return scores[:, 2].argmax(axis=1), {name: scores[:, i] for i, name in enumerate(names)}


def least_squares(points: Numbers, classes: Classes, new: Numbers, model: OneVsOneModel) -> Classes:
    """Return the decisions of one-vs-rest by regularized least squares, with the kernel and C of `model`."""
    kernel = model.kernel.against(points.astype(np.float64))
    matrix = kernel(points.astype(np.float64)) + np.eye(len(points)) / SVMConfig().C
    targets = np.eye(model.n_classes)[classes]
    weights = cho_solve(cho_factor(matrix), targets - targets.mean(axis=0))
    named: Classes = (kernel(new.astype(np.float64)) @ weights).argmax(axis=1)
    return named


def measure(train: ImageSet, side_by_side: int, each: int) -> None:
    """Print accuracies, and log-loss and calibration error of probabilities."""
    k = 10**side_by_side
    classes = np.repeat(np.arange(k), each)
    truth = np.random.default_rng(1).integers(0, k, JUDGES[side_by_side])
    pixels = compose(train, side_by_side, classes, 0, 2), compose(train, side_by_side, truth, 1, 3)
    components = PCA(64, random_state=0).fit(pixels[0])
    points, new = (components.transform(part).astype(np.float32) for part in pixels)
    model = fit_svm(SVMConfig(), SklearnBackend(), points, classes)
    voted, scores = all_pairs(model, new)
    ours = ClassScores(model)(new)
    named = {
        "votes of all pairs": voted,
        "votes of candidates": ours.argmax(axis=1),
        "sums": scores["sums"].argmax(axis=1),
        "products of sigmoids": scores["products of sigmoids"].argmax(axis=1),
        "one-vs-rest, least squares": least_squares(points, classes, new, model),
    }
    agreement = in_percent(float(np.mean(named["votes of candidates"] == voted)), 2)
    print(f"{k} classes, {each} of each; {agreement} named as by all")
    for name, answers in named.items():
        print(f"  {name:28} {in_percent(float(np.mean(answers == truth)))} right")
    halves = np.arange(len(new)) % 2 == 0
    for name, values in {**scores, "ours": ours * (k - 1)}.items():
        values = values / (k - 1)
        calibration: Calibration = fit_calibration(values[halves], truth[halves], k, False)
        p = calibration.probabilities(values[~halves].astype(np.float64), k, False)
        p = most_likely_first(p, voted[~halves])
        loss = -np.log(p[np.arange(len(p)), truth[~halves]] + 1e-12).mean()
        error = expected_calibration_error(p.max(axis=1), p.argmax(axis=1) == truth[~halves])
        print(
            f"  {name:28} log-loss {loss:.3f}, calibration error {error:.3f}, power {calibration.power:.1f}"
        )


@click.command()
@click.option("--dataset", default="fashion-mnist", show_default=True)
@click.option("--data-dir", type=click.Path(path_type=Path))
def main(dataset: str, data_dir: Path | None) -> None:
    train = load_dataset(DataConfig(dataset=dataset, data_dir=data_dir)).train
    for side_by_side, each in CASES:
        measure(train, side_by_side, each)


if __name__ == "__main__":
    main()
