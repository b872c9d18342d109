"""Does ``gpu-ssl suggest`` choose better images to label than random choice, on the same splits?

    python -m benchmarks.suggest

Starts from 100 labels of Fashion-MNIST and adds 50 at a time up to 500, chosen by each strategy; an SVM on
the latents of one VAE is fitted each time, and scored on the test images at the end. Prints means over 5
seeds and paired differences from random choice, with 95 % intervals, and writes
``benchmarks/results/suggest.json``. Fails if the suggestions are not better.
"""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from gpu_ssl.config import RunConfig
from gpu_ssl.data.loading import load_dataset
from gpu_ssl.data.splits import labelled_indices
from gpu_ssl.encoders import vae
from gpu_ssl.encoders.fitting import Training, TrainingImages
from gpu_ssl.fitted.estimate import judge
from gpu_ssl.fitted.suggestion import POOL, confidence_margins, spread
from gpu_ssl.methods.method import Labelled, Options, fit_method
from gpu_ssl.methods.view import View
from gpu_ssl.runtime.device import resolve_device
from gpu_ssl.runtime.environment import describe_environment
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.statistics import mean_and_interval
from gpu_ssl.svm.backend import resolve_backend

RESULT = Path(__file__).parent / "results" / "suggest.json"
FIRST, STEP, LAST = 100, 50, 500

Choice = Callable[[NDArray[np.float64], NDArray[np.float32], int], NDArray[np.int64]]
"""Selects images to label from the margins and latents of the unlabelled ones and a seed."""


def at_random(margins: NDArray[np.float64], latents: NDArray[np.float32], seed: int) -> NDArray[np.int64]:
    """Choose at random."""
    return np.random.default_rng(seed).choice(len(margins), STEP, replace=False)


def least_sure(margins: NDArray[np.float64], latents: NDArray[np.float32], seed: int) -> NDArray[np.int64]:
    """Choose those with the smallest margin."""
    return np.argsort(margins, kind="stable")[:STEP]


def suggested(margins: NDArray[np.float64], latents: NDArray[np.float32], seed: int) -> NDArray[np.int64]:
    """Choose as ``gpu-ssl suggest`` does."""
    pool = np.argsort(margins, kind="stable")[: POOL * STEP]
    return pool[spread(latents[pool], STEP, seed)]


STRATEGIES: dict[str, Choice] = {"random": at_random, "least sure": least_sure, "suggest": suggested}


class Trial:
    """Latents of one VAE, and the accuracies that strategies reach on them."""

    def __init__(self, config: RunConfig) -> None:
        device_choice = resolve_device("auto")
        device = torch.device(device_choice.used)
        backend, _ = resolve_backend("auto", device_choice)
        self.config, self.dataset = config, load_dataset(config.data)
        train, test, mirrored = self.dataset.train, self.dataset.test, self.dataset.mirrored
        images = TrainingImages(train.images, device, mirrored, self.dataset.sha256)
        with tempfile.TemporaryDirectory() as folder:
            self.encoder = vae.fit(images, Training(config, Path(folder) / "checkpoint.json"))
        self.encoder.precision = torch.float32  # As for a model.
        self.train, self.test = (
            View(part.images, {"vae": self.encoder}, backend, Stopwatch(device), mirrored, torch.float32)
            for part in (train, test)
        )
        self.train.features(self.encoder)  # Computed once for all steps.

    def accuracies(self, choose: Choice, seed: int) -> list[float]:
        """Return the test accuracy at each number of labels."""
        labels, found = self.dataset.train.labels, []
        options = Options("m1", svm=self.config.svm, seed=seed)
        rows = labelled_indices(labels, FIRST, seed, 0)
        while True:
            labelled = Labelled(rows, labels[rows])
            classifier = fit_method(self.train, labelled, options)
            found.append(float(np.mean(classifier.predict(self.test) == self.dataset.test.labels)))
            if len(rows) >= LAST:
                return found
            calibration = judge(self.train, labelled, options, self.dataset.train.class_names).calibration
            rest = np.setdiff1d(np.arange(len(labels)), rows)
            others = self.train.subset(rest)
            decisions = classifier.decisions(others).astype(np.float64)
            probabilities = calibration.probabilities(decisions, classifier.n_classes, classifier.pairwise)
            latents = others.features(self.encoder).cpu().numpy()
            rows = np.sort(np.append(rows, rest[choose(confidence_margins(probabilities), latents, seed)]))


@click.command()
@click.option("--seeds", type=click.IntRange(2), default=5, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=RESULT)
def main(seeds: int, output: Path) -> None:
    """Compare the strategies, print and write what they reach."""
    trial = Trial(RunConfig())
    counts = list(range(FIRST, LAST + 1, STEP))
    record: dict[str, Any] = {"environment": describe_environment(), "labels": counts, "accuracies": {}}
    for name, choose in STRATEGIES.items():
        record["accuracies"][name] = [trial.accuracies(choose, seed) for seed in range(seeds)]
        means = np.mean(record["accuracies"][name], axis=0)
        click.echo(f"{name:12s}" + "".join(f"{100 * mean:8.2f}" for mean in means))
    gains = np.subtract(record["accuracies"]["suggest"], record["accuracies"]["random"])
    worse = []
    for i, count in enumerate(counts[1:], start=1):
        mean, low, high = mean_and_interval(gains[:, i])
        interval = f"{100 * low:.2f} to {100 * high:.2f}"
        click.echo(f"{count} labels: suggest is {100 * mean:.2f} points better ({interval})")
        worse += [count] if low <= 0 else []
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if worse:
        raise click.ClickException(f"suggestions are not surely better at {worse} labels")


if __name__ == "__main__":
    main()
