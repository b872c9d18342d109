"""Is the estimate of ``gpu-ssl fit`` reliable? Near duplicates, bursts with random labels, wrong labels.

    python -m benchmarks.estimate
    python -m benchmarks.estimate --data-set mnist --data-dir FOLDER    # another data set in addition

Counts near duplicates among ordinary images; measures how often the interval contains 1/2 if frames of a
burst share a random label, with bursts kept in one fold and without; and inserts wrong labels. Encoders are
those of ``fit``; no test image is used. Prints tables and writes ``benchmarks/results/estimate.json``."""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from gpu_ssl import catalog
from gpu_ssl.config import DataConfig, FitConfig
from gpu_ssl.data.loading import load_dataset
from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.encoders.fitting import Training, TrainingImages, fit_encoders
from gpu_ssl.fitted.estimate import judge
from gpu_ssl.fitted.near_copies import Groups, find_groups
from gpu_ssl.methods.method import Labelled, Options, encoders_of, fit_method, resolve
from gpu_ssl.methods.view import View
from gpu_ssl.runtime.device import resolve_device
from gpu_ssl.runtime.environment import describe_environment
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.svm.backend import resolve_backend

RESULT = Path(__file__).parent / "results" / "estimate.json"
LABELS = (100, 1000, 3000)
SCENES, LENGTH, SIDE = 20, 10, 32
ERRORS = (0.0, 0.05, 0.1)

Images = NDArray[np.uint8]
Scenes = Callable[[np.random.Generator], NDArray[np.float64]]
"""Makes `SCENES` images (n, channels, height, width) of intensities up to 255."""


def view_of(images: Images, mirror: bool) -> View:
    """Fit the encoders of ``auto`` as ``fit`` does, and return a view of the images."""
    choice = resolve_device("auto")
    device, config = torch.device(choice.used), FitConfig(mirror=mirror)
    names = encoders_of(catalog.method("auto"), None)
    parts = list(dict.fromkeys(part for name in names for part in catalog.encoder_parts(name)))
    with tempfile.TemporaryDirectory() as folder:
        training = Training(config, Path(folder) / "checkpoint.json")
        to_learn = TrainingImages(images, device, mirror, "")
        encoders: dict[str, Encoder] = fit_encoders(parts, to_learn, training)
        for encoder in encoders.values():
            encoder.precision = torch.float32
        encoders = fit_encoders([*parts, *names], to_learn, training, encoders.values())
    backend, _ = resolve_backend("auto", choice)
    return View(images, encoders, backend, Stopwatch(device), mirror, torch.float32)


def grouped(view: View, rows: NDArray[np.int64]) -> Groups:
    """Return the groups of images that no user has grouped."""
    return find_groups(view, rows, np.arange(len(rows)), None)


def ordinary(view: View, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Count the near duplicates among images of which none is meant to be one."""
    found = []
    for n in (n for n in LABELS if n <= len(view)):
        rows = np.sort(rng.choice(len(view), n, replace=False))
        start = time.perf_counter()
        groups = grouped(view, rows)
        seconds = time.perf_counter() - start
        largest = int(np.bincount(groups.of_images).max())
        found.append({"labels": n, "near": groups.n_near_copies, "largest": largest, "seconds": seconds})
    return found


def smooth(rng: np.random.Generator) -> NDArray[np.float64]:
    """Colour images of soft blobs."""
    from scipy.ndimage import gaussian_filter

    fields = gaussian_filter(rng.normal(size=(SCENES, 3, SIDE, SIDE)), (0, 0, 3, 3), mode="wrap")
    images: NDArray[np.float64] = 128 + 45 * fields / fields.std(axis=(2, 3), keepdims=True)
    return images


def photographs(rng: np.random.Generator) -> NDArray[np.float64]:
    """Patches of scikit-learn's two photographs."""
    from sklearn.datasets import load_sample_images

    images, patches = load_sample_images().images, []
    for _ in range(SCENES):
        image = images[rng.integers(2)]
        top, left = (rng.integers(side - 3 * SIDE) for side in image.shape[:2])
        patches.append(image[top : top + 3 * SIDE : 3, left : left + 3 * SIDE : 3].transpose(2, 0, 1))
    return np.stack(patches).astype(np.float64)


def clothes(rng: np.random.Generator) -> NDArray[np.float64]:
    """Training images of Fashion-MNIST."""
    images = load_dataset(DataConfig()).train.images
    return images[rng.choice(len(images), SCENES, replace=False)].astype(np.float64)


def bursts(
    scenes: NDArray[Any], noise: float, move: int, rng: np.random.Generator, length: int = LENGTH
) -> Images:
    """Return frames of each scene: noise, light up to 5 % and movement up to `move` pixels."""
    frames = np.repeat(scenes, length, axis=0).astype(np.float64)
    for frame in frames:
        frame[:] = np.roll(frame, rng.integers(-move, move + 1, 2), (1, 2)) * rng.uniform(0.95, 1.05)
    return (frames + rng.normal(0, noise, frames.shape)).clip(0, 255).round().astype(np.uint8)


def coins(view: View, method: str, seeds: int) -> dict[str, Any]:
    """Count how often the interval contains 1/2, the truth if each burst has a random label."""
    rows = np.arange(len(view))
    groups = grouped(view, rows).of_images
    same = groups[:, None] == groups
    scene = rows // LENGTH
    found: dict[str, Any] = {"linked": float(same[scene[:, None] == scene].mean())}
    for name, own in (("grouped", groups), ("alone", None)):
        held, shares = [], []
        for seed in range(seeds):
            classes = np.random.default_rng(seed).integers(0, 2, SCENES)[scene]
            labelled = Labelled(rows, classes, own)
            options, _ = resolve(view, labelled, Options(method, seed=seed))
            estimate = judge(view, labelled, options, ("a", "b")).estimate
            assert estimate is not None
            held.append(estimate.low <= 0.5 <= estimate.high)
            shares.append(estimate.accuracy)
        found[name] = {"held": float(np.mean(held)), "accuracy": float(np.mean(shares))}
    return found


def honest(view: View, labels: NDArray[np.int64], method: str, seeds: int) -> dict[str, Any]:
    """Compare the estimate from bursts of 5 with true labels with the accuracy on frames of other scenes."""
    n, length, n_others = 100, 5, 1500
    names = [str(number) for number in range(int(labels.max()) + 1)]
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(labels))[: n + n_others]
        scenes, others = order[:n], order[n:]
        own, fresh = (
            View(
                bursts(view.pixels[rows], 4, 1, rng, times),
                view.encoders,
                view.backend,
                view.stopwatch,
                view.mirror,
                view.precision,
            )
            for rows, times in ((scenes, length), (others, 1))
        )
        rows, classes = np.arange(n * length), np.repeat(labels[scenes], length)
        options = Options(method, seed=seed)
        classifier = fit_method(own, Labelled(rows, classes), options)
        truth = float(np.mean(classifier.predict(fresh) == labels[others]))
        row = [truth]
        for groups in (grouped(own, rows).of_images, None):
            estimate = judge(own, Labelled(rows, classes, groups), options, names).estimate
            assert estimate is not None
            row += [estimate.accuracy, estimate.low <= truth <= estimate.high]
        found.append(row)
    columns = ("truth", "grouped", "grouped_held", "alone", "alone_held")
    return {"method": method, **dict(zip(columns, np.mean(found, axis=0).tolist(), strict=True))}


def planted(
    view: View, labels: NDArray[np.int64], n: int, rate: float, seeds: int
) -> dict[str, float | None]:
    """Return how many of `n` labels look wrong, how many of these are, and how many of the wrong ones do.

    A wrong label is any other class.
    """
    listed = found = wrong = 0
    names = [str(number) for number in range(int(labels.max()) + 1)]
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        rows = np.sort(rng.choice(len(labels), n, replace=False))
        classes, changed = labels[rows], rng.choice(n, round(rate * n), replace=False)
        classes[changed] = (classes[changed] + rng.integers(1, len(names), len(changed))) % len(names)
        labelled = Labelled(rows, classes, grouped(view, rows).of_images)
        suspects = [own.row for own in judge(view, labelled, Options("hybrid", seed=seed), names).suspects]
        listed, wrong = listed + len(suspects), wrong + len(changed)
        found += int(np.isin(suspects, rows[changed]).sum())
    return {
        "listed": listed / seeds,
        "precision": found / listed if listed else None,
        "recall": found / wrong if wrong else None,
    }


@click.command()
@click.option("--seeds", type=click.IntRange(1), default=5, show_default=True, help="Of planted errors.")
@click.option("--tosses", type=click.IntRange(1), default=50, show_default=True, help="Of all coins.")
@click.option("--data-set", "others", multiple=True, help="Beside Fashion-MNIST and digits.")
@click.option("--data-dir", type=click.Path(path_type=Path))
@click.option("--coins/--no-coins", "toss", default=True, help="Whether to toss coins, the longest part.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULT)
def main(
    seeds: int, tosses: int, others: tuple[str, ...], data_dir: Path | None, toss: bool, output: Path
) -> None:
    """Measure, print and write the figures."""
    record: dict[str, Any] = {"environment": describe_environment()}
    record |= {"ordinary": {}, "coins": [], "honest": [], "wrong": {}}
    for name in ("digits", "fashion-mnist", *others):
        data = load_dataset(DataConfig(dataset=name, data_dir=data_dir))
        view, labels = view_of(data.train.images, data.mirrored), data.train.labels
        record["ordinary"][name] = ordinary(view, np.random.default_rng(0))
        click.echo(f"{name}: {json.dumps(record['ordinary'][name])}")
        for method in ("m1", "hybrid") if name == "fashion-mnist" else ():
            record["honest"].append(honest(view, labels, method, 2 * seeds))
            click.echo(json.dumps(record["honest"][-1]))
        n = min(1000, len(data.train) // 2)
        for rate in ERRORS if name not in others else ():
            found = {"labels": n, "rate": rate, **planted(view, labels, n, rate, seeds)}
            record["wrong"].setdefault(name, []).append(found)
            click.echo(f"{name}: {json.dumps(found)}")
    for scenes in (smooth, photographs, clothes) if toss else ():
        for noise, move in ((4, 0), (8, 0), (4, 1)):
            rng = np.random.default_rng(0)
            view = view_of(bursts(scenes(rng), noise, move, rng), True)
            for method in ("m1", "auto"):
                row = {"scenes": scenes.__name__, "noise": noise, "move": move, "method": method}
                record["coins"].append(row | coins(view, method, tosses))
                click.echo(json.dumps(record["coins"][-1]))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
