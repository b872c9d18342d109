"""Which method should ``auto`` choose? Accuracies of candidates and of rules on held-out training images.

    python -m benchmarks.auto_rules --dataset digits
    python -m benchmarks.auto_rules --dataset fashion-mnist --labels 50,100,200,400,600,1000,3000 --splits 6

A sixth of the training images, 10,000 at most, is held out: no test image is touched. For each number of
labels and split the candidates of `methods.auto` are cross-validated on the labelled images, as it does, and
scored on the held-out images. Prints mean accuracies of the candidates, of the one that cross-validation
puts first, of the rule of `auto`, and of the best of each split.
"""

import dataclasses
import tempfile
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray

from gpu_ssl.config import DataConfig, LearningConfig
from gpu_ssl.data.loading import load_dataset
from gpu_ssl.data.splits import labelled_indices
from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.encoders.fitting import Training, TrainingImages, fit_encoders
from gpu_ssl.methods import auto
from gpu_ssl.methods.evaluation import Cell, cell_seed
from gpu_ssl.methods.method import Labelled, Options, fit_method
from gpu_ssl.methods.view import View
from gpu_ssl.runtime.device import resolve_device
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.svm.backend import resolve_backend

SEED = 7
HELD_OUT, MOST = 6, 10_000
"""Fraction of the training images that is held out, and its maximum number."""


def accuracies(
    train: View, test: View, labelled: Labelled, truth: NDArray[np.int64], seed: int
) -> list[float]:
    """Return accuracies on held-out images: of each candidate, of both rules, and of the best candidate."""
    options = Options("auto", seed=seed)
    own, chosen = auto.choose(train, labelled, options)
    found = {
        name: float(
            np.mean(
                fit_method(train, labelled, dataclasses.replace(options, method=name)).predict(test) == truth
            )
        )
        for name in auto.QUICK
    }
    first = max(chosen.shares, key=lambda name: chosen.shares[name])
    return [*found.values(), found[first], found[own.method], max(found.values())]


@click.command()
@click.option("--dataset", default="digits", show_default=True)
@click.option("--labels", default="20,50,100,200,300,600", show_default=True)
@click.option("--splits", type=click.IntRange(1), default=10, show_default=True)
def main(dataset: str, labels: str, splits: int) -> None:
    """Measure and print; one line for each number of labels."""
    data = load_dataset(DataConfig(dataset=dataset))
    order = np.random.default_rng(SEED).permutation(len(data.train))
    n_held = min(MOST, len(order) // HELD_OUT)
    held, kept = np.sort(order[:n_held]), np.sort(order[n_held:])
    choice = resolve_device("auto")
    device, (backend, _) = torch.device(choice.used), resolve_backend("auto", choice)
    pixels = np.ascontiguousarray(data.train.images[kept])
    images = TrainingImages(pixels, device, data.mirrored, "")
    with tempfile.TemporaryDirectory() as folder:
        training = Training(LearningConfig(seed=SEED), Path(folder) / "checkpoint.json")
        encoders: dict[str, Encoder] = fit_encoders(["vae", "vae+hog"], images, training)

    def view(part: NDArray[np.uint8]) -> View:
        return View(part, encoders, backend, Stopwatch(device), data.mirrored, torch.float32)

    train, test = view(pixels), view(np.ascontiguousarray(data.train.images[held]))
    train.features(encoders["vae"])
    click.echo("labels  " + "".join(f"{name:>10}" for name in (*auto.QUICK, "CV's first", "auto", "best")))
    for count in map(int, labels.split(",")):
        rows = []
        for split in range(splits):
            chosen = labelled_indices(data.train.labels[kept], count, SEED, split)
            labelled = Labelled(chosen, data.train.labels[kept][chosen])
            seed = cell_seed(SEED, Cell(count, split))
            rows.append(accuracies(train, test, labelled, data.train.labels[held], seed))
        click.echo(f"{count:6}  " + "".join(f"{100 * mean:10.2f}" for mean in np.mean(rows, axis=0)))


if __name__ == "__main__":
    main()
