"""Colour images of eight kinds, few of them labelled: the gain of a pretrained network.

    python -m benchmarks.photographs
    python -m benchmarks.photographs --labels 10 --splits 3

The images are drawings of Debian's package openclipart-png, which is fetched into the cache where it is not
installed: at most 100 of each kind, those of more than 20 million pixels left out. For each number of labels
per class and each split all methods get the same labelled images, and predict all others. Prints accuracies
as mean and standard deviation over the splits, with the seconds that a method takes for a split once the
encoders are fitted, and writes ``benchmarks/results/photographs.json``."""

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from gpu_ssl.bench.worker import peak_bytes
from gpu_ssl.config import LearningConfig
from gpu_ssl.data.opening import opened
from gpu_ssl.data.own import OwnImages, load_own
from gpu_ssl.data.splits import labelling_order
from gpu_ssl.encoders.fitting import Training, TrainingImages, fit_encoders
from gpu_ssl.encoders.pretrained import usual_at_hand
from gpu_ssl.methods.method import Labelled, Options, fit_method, resolve
from gpu_ssl.methods.view import View
from gpu_ssl.runtime.cache import cache_folder
from gpu_ssl.runtime.device import resolve_device, resolve_precision
from gpu_ssl.runtime.environment import describe_environment
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.svm.backend import resolve_backend

RESULTS = Path(__file__).parent / "results" / "photographs.json"
INSTALLED = Path("/usr/share/openclipart/png")
KINDS = (
    "animals/birds",
    "animals/bugs",
    "animals/mammals",
    "food/fruit",
    "recreation/music",
    "recreation/sports",
    "transportation/roadsigns",
    "transportation/vehicles",
)
MOST, LARGEST = 100, 20_000_000
"""Images of a kind, and pixels of one."""

SEED = 0


def drawings() -> Path:
    """Return the folder of drawings, fetching Debian's package where it is not installed."""
    if INSTALLED.is_dir():
        return INSTALLED
    folder = cache_folder("openclipart")
    found = folder / INSTALLED.relative_to("/")
    if not found.is_dir():
        subprocess.run(["apt-get", "download", "openclipart-png"], cwd=folder, check=True)
        (package,) = folder.glob("openclipart-png_*.deb")
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    return found


def chosen(source: Path) -> Iterator[tuple[str, Path]]:
    """Yield the kind and the file of each selected image."""
    for kind in KINDS:
        files = sorted((source / kind).rglob("*.png"))
        order = np.random.default_rng(SEED).permutation(len(files))
        taken = 0
        for number in order:
            with opened(files[number], True) as image:
                if taken == MOST or image.width * image.height > LARGEST:
                    continue
            taken += 1
            yield kind, files[number]


@contextmanager
def sorted_images() -> Iterator[OwnImages]:
    """Yield a folder with the images in subfolders named after their kinds."""
    with tempfile.TemporaryDirectory() as folder:
        for kind, file in chosen(drawings()):
            place = Path(folder) / kind.replace("/", "-")
            place.mkdir(exist_ok=True)
            (place / f"{file.parent.name}-{file.name}").symlink_to(file.resolve())
        yield load_own(Path(folder))


def methods(pretrained: str) -> dict[str, Options]:
    """Return the contenders."""
    return {
        "SVM on raw pixels": Options("svm", "pixels"),
        "m1: SVM on VAE latents": Options("m1"),
        "SVM on HOG": Options("svm", "hog"),
        "hybrid: SVM on both": Options("hybrid"),
        "graph on VAE latents": Options("graph"),
        "SVM on a pretrained network": Options("svm", pretrained),
        "graph on a pretrained network": Options("graph", pretrained),
        "SVM on pretrained+hog": Options("svm", f"{pretrained}+hog"),
        "SVM on pretrained+vae": Options("svm", f"{pretrained}+vae"),
        "auto": Options("auto"),
    }


def view_of(images: OwnImages, names: list[str]) -> tuple[View, dict[str, float]]:
    """Fit encoders, and return a view of the images with the seconds that each encoder took."""
    choice = resolve_device("auto")
    device, (backend, _) = torch.device(choice.used), resolve_backend("auto", choice)
    to_learn = TrainingImages(images.images, device, True, "", originals=images.originals)
    encoders: dict[str, Any] = {}
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        training = Training(LearningConfig(seed=SEED), Path(folder) / "checkpoint.json")
        for name in names:
            start = time.perf_counter()
            encoders |= fit_encoders([name], to_learn, training, encoders.values())
            seconds[name] = time.perf_counter() - start
    precision = resolve_precision("auto", device)
    view = View(images.images, encoders, backend, Stopwatch(device), True, precision)
    for encoder, features in to_learn.known.items():
        view.keep(encoder, features)
    for encoder in encoders.values():
        view.features(encoder)
    return view, seconds


def measure(view: View, images: OwnImages, compared: dict[str, Options], per_class: int, splits: int) -> Any:
    """Return accuracies by split, and mean seconds of a split, of each method."""
    classes = images.labels
    accuracies: dict[str, list[float]] = {name: [] for name in compared}
    seconds = dict.fromkeys(compared, 0.0)
    for split in range(splits):
        rows = np.sort(labelling_order(classes, SEED, split)[: per_class * len(images.class_names)])
        labelled = Labelled(rows, classes[rows])
        others: NDArray[np.int64] = np.setdiff1d(np.arange(len(images)), rows)
        for name, options in compared.items():
            start = time.perf_counter()
            own, _ = resolve(view, labelled, options)
            predicted = fit_method(view, labelled, own).predict(view)
            seconds[name] += (time.perf_counter() - start) / splits
            accuracies[name].append(float(np.mean(predicted[others] == classes[others])))
    return {name: {"accuracies": accuracies[name], "seconds": seconds[name]} for name in compared}


def cell(found: Any) -> str:
    """Return the table cell of a method and a number of labels."""
    mean, deviation = 100 * np.mean(found["accuracies"]), 100 * np.std(found["accuracies"])
    return f"{mean:5.1f} ± {deviation:3.1f}{found['seconds']:4.1f} s"


@click.command()
@click.option("--labels", default="5,10,20", show_default=True, help="Labels of each class.")
@click.option("--splits", type=click.IntRange(1), default=5, show_default=True)
def main(labels: str, splits: int) -> None:
    """Measure, print a table, and write the record."""
    (pretrained,) = usual_at_hand() or ("pretrained",)
    compared = methods(pretrained)
    with sorted_images() as images:
        names = ["vae", "hog", "pixels", "vae+hog", pretrained, f"{pretrained}+hog", f"{pretrained}+vae"]
        view, encoders = view_of(images, names)
        found = {count: measure(view, images, compared, int(count), splits) for count in labels.split(",")}
    click.echo(f"{len(images)} images of {len(images.class_names)} kinds; {pretrained}")
    click.echo(f"{'labels a class':34}" + "".join(f"{count:>16}" for count in found))
    for name in compared:
        cells = [found[count][name] for count in found]
        click.echo(f"{name:34}" + "".join(map(cell, cells)))
    click.echo("encoders: " + ", ".join(f"{name} {taken:.1f} s" for name, taken in encoders.items()))
    record = {
        "pictures": len(images),
        "kinds": KINDS,
        "pretrained": pretrained,
        "splits": splits,
        "by_labels": found,
        "encoder_seconds": encoders,
        "peak_bytes": peak_bytes(),
        "environment": describe_environment(),
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
