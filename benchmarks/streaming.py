"""Data larger than memory: the cost of streaming.

    python -m benchmarks.streaming

Writes 5,000,000 images of 28 x 28 (Fashion-MNIST, tiled with noise; 3.9 GB), fits a model to them for one
epoch and predicts them all, as a user would, and reports the peak memory of both. With 300,000 of them,
training and prediction from disk and from memory are compared in turns. Writes
``benchmarks/results/streaming.json``; takes about 20 minutes on two cores.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from gpu_ssl.bench.worker import tile
from gpu_ssl.config import DataConfig, ModelConfig, TrainConfig
from gpu_ssl.data.image_set import ImageSet
from gpu_ssl.data.loading import load_dataset
from gpu_ssl.data.splits import labelled_indices
from gpu_ssl.data.stream import BLOCK, ImageStream
from gpu_ssl.fitted.storage import load
from gpu_ssl.runtime.environment import describe_environment
from gpu_ssl.runtime.files import write_text
from gpu_ssl.statistics import in_percent
from gpu_ssl.training.batches import Images, Resident, Streamed
from gpu_ssl.training.plan import plan_vae
from gpu_ssl.training.vae import Trainer, build_vae

RESULT = Path(__file__).parent / "results" / "streaming.json"
LABELS = 1000
COMPARED = 300_000
"""Images that training from disk and from memory is compared on: two chunks."""

PREDICTED = 50_000
MOST_BYTES, LEAST_RATIO = 2e9, 0.85
"""Targets: peak memory, and throughput as a fraction of that from memory."""


def write_images(source: ImageSet, n: int, path: Path) -> None:
    """Write `n` images: those of `source` again and again, each time with other noise."""
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (n, *source.image_shape))
    for number, start in enumerate(range(0, n, len(source))):
        part = tile(source.images, 2 * len(source), number)[len(source) :] if number else source.images
        images[start : start + len(source)] = part[: n - start]
    images.flush()


def program(folder: Path, *arguments: str) -> tuple[float, int]:
    """Run gpu-ssl, and return the seconds and the peak memory in bytes."""
    code = (
        "import sys; from gpu_ssl.cli import main; main(sys.argv[1:], standalone_mode=False); "
        "from gpu_ssl.bench.worker import peak_bytes; print(peak_bytes(), file=sys.stderr)"
    )
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return time.perf_counter() - start, int(done.stderr.split()[-1])


def one_epoch(images: Images) -> float:
    """Return the seconds of an epoch."""
    model = ModelConfig()
    plan = plan_vae(TrainConfig(epochs=1), model, images, mirrored=True)
    return Trainer(build_vae(model, images.shape, images.device, 0), images, plan, 0).epoch().seconds


def predict_all(model: Any, blocks: Any) -> float:
    """Return the seconds of predicting all blocks."""
    start = time.perf_counter()
    for images in blocks:
        model.predict(images)
    return time.perf_counter() - start


def in_turns(repeats: int, ways: dict[str, Callable[[], float]]) -> dict[str, Any]:
    """Time several ways of the same work in turns, and compare the first with the others."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            seconds[name].append(way())
    from_disk, from_memory = (statistics.median(values) for values in seconds.values())
    return {"seconds": seconds, "throughput_ratio": from_memory / from_disk}


def compare(path: Path, model_folder: Path, repeats: int) -> dict[str, Any]:
    """Train and predict from disk and from memory, in turns."""
    mapped: NDArray[np.uint8] = np.load(path, mmap_mode="c")
    few = np.array(mapped[:COMPARED])
    device = torch.device("cpu")
    training = in_turns(
        repeats,
        {
            "disk": lambda: one_epoch(Streamed(mapped[:COMPARED], device)),
            "memory": lambda: one_epoch(Resident(torch.from_numpy(few))),
        },
    )
    model, _ = load(model_folder, "cpu")
    small = path.with_name("few.npy")
    np.save(small, few[:PREDICTED])
    starts = range(0, PREDICTED, BLOCK)
    prediction = in_turns(
        repeats,
        {
            "disk": lambda: predict_all(
                model, (block.images for block in ImageStream(small, model.image_shape))
            ),
            "memory": lambda: predict_all(
                model, (few[start : min(start + BLOCK, PREDICTED)] for start in starts)
            ),
        },
    )
    return {
        "train": {"images": COMPARED, **training},
        "encode_and_score": {"images": PREDICTED, **prediction},
    }


def measure(folder: Path, n: int, repeats: int) -> dict[str, Any]:
    """Write the images, measure everything, and return the figures."""
    train = load_dataset(DataConfig()).train
    path = folder / "many.npy"
    click.echo(f"writing {n:,} images", err=True)
    write_images(train, n, path)
    rows = labelled_indices(train.labels, LABELS, 0, 0)
    lines = [f"{row},{train.class_names[train.labels[row]]}" for row in rows]
    (folder / "labels.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    click.echo("gpu-ssl fit", err=True)
    fit, fit_peak = program(
        folder,
        *[
            "fit",
            "many.npy",
            "--labels",
            "labels.csv",
            "--epochs",
            "1",
            "--output",
            "model",
            "--quiet",
            "--device",
            "cpu",
        ],
    )
    record = json.loads((folder / "model" / "model.json").read_text())
    epoch = record["training"]["history"][0]["seconds"]
    click.echo("gpu-ssl predict", err=True)
    predict, predict_peak = program(
        folder, *["predict", "model", "many.npy", "--output", "answers.csv", "--device", "cpu"]
    )
    click.echo("from disk and from memory", err=True)
    return {
        "images": n,
        "bytes": path.stat().st_size,
        "fit": {"seconds": fit, "epoch_seconds": epoch, "rate": n / epoch, "peak_bytes": fit_peak},
        "predict": {"seconds": predict, "rate": n / predict, "peak_bytes": predict_peak},
        "turns": compare(path, folder / "model", repeats),
    }


def shortfalls(figures: dict[str, Any]) -> list[str]:
    """Return the missed targets."""
    least = in_percent(LEAST_RATIO, 0)
    wanted = {
        f"peak memory of fit below {MOST_BYTES:.0e} bytes": figures["fit"]["peak_bytes"] < MOST_BYTES,
        f"peak memory of predict below {MOST_BYTES:.0e} bytes": figures["predict"]["peak_bytes"] < MOST_BYTES,
        **{
            f"{work} from disk at {least} of the throughput from memory": turn["throughput_ratio"]
            >= LEAST_RATIO
            for work, turn in figures["turns"].items()
        },
    }
    return [what for what, reached in wanted.items() if not reached]


@click.command()
@click.option("--images", type=click.IntRange(min=COMPARED), default=5_000_000, show_default=True)
@click.option("--repeats", type=int, default=3, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=RESULT)
def main(images: int, repeats: int, output: Path) -> None:
    """Measure, print the figures, and write them to a file."""
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), images, repeats)
    write_text(output, json.dumps({"environment": describe_environment(), **figures}, indent=2) + "\n")
    click.echo(json.dumps(figures, indent=2))
    for what in shortfalls(figures):
        click.echo(f"wanted: {what}", err=True)


if __name__ == "__main__":
    main()
