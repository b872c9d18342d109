"""Throughput of photographs through a pretrained network, compared with the network only.

    python -m benchmarks.photograph_rate
    python -m benchmarks.photograph_rate --images 1000

Photographs of 500 x 400 pixels are cut from two that scikit-learn ships, each with different noise, and
written as JPEG. Encoding them, including decoding, is timed between two timings of the network on a batch of
images in memory. Then `gpu-ssl fit --encoder pretrained` is run twice, the second time
with its features kept. Prints the figures, and writes ``benchmarks/results/photograph_rate.json``.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from benchmarks.embeddings import watched
from gpu_ssl.bench.worker import peak_bytes
from gpu_ssl.config import LearningConfig
from gpu_ssl.data.own import load_own
from gpu_ssl.encoders import pretrained
from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.encoders.feature_cache import features_of
from gpu_ssl.encoders.fitting import Training, TrainingImages
from gpu_ssl.encoders.pretrained import BATCH
from gpu_ssl.runtime.device import resolve_device
from gpu_ssl.runtime.environment import describe_environment
from gpu_ssl.runtime.progress import SILENT
from gpu_ssl.statistics import in_percent

RESULTS = Path(__file__).parent / "results" / "photograph_rate.json"
SIZE = 500, 400
LABELS = 80
BATCHES = 20
"""Number of timed passes of the network, after a warm-up."""


def make(folder: Path, n: int) -> None:
    """Write photographs, and labels for a few."""
    (folder / "photographs").mkdir()
    rng = np.random.default_rng(0)
    sources = [Image.fromarray(image) for image in load_sample_images().images]
    for number in range(n):
        source = sources[number % 2]
        width, height = (int(rng.uniform(0.4, 1) * side) for side in source.size)
        left = int(rng.integers(0, source.width - width + 1))
        top = int(rng.integers(0, source.height - height + 1))
        cut = source.crop((left, top, left + width, top + height)).resize(SIZE, Image.Resampling.BICUBIC)
        noisy = np.asarray(cut).astype(np.int16) + rng.integers(-12, 13, (SIZE[1], SIZE[0], 1))
        image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
        image.save(folder / "photographs" / f"{number:06d}.jpg", quality=85)
    rows = "".join(f"{number:06d}.jpg,{'ab'[number % 2]}\n" for number in range(min(LABELS, n)))
    (folder / "labels.csv").write_text("path,label\n" + rows, encoding="utf-8")


def rate_alone(encoder: Encoder, device: torch.device) -> float:
    """Return images per second of the network on images on the device."""
    images = torch.randint(0, 256, (BATCH, *encoder.image_shape), dtype=torch.uint8, device=device)
    with torch.no_grad():
        encoder(images).cpu()
        start = time.perf_counter()
        for _ in range(BATCHES):
            encoder(images).cpu()
    return BATCH * BATCHES / (time.perf_counter() - start)


def measure(folder: Path, n: int, name: str) -> dict[str, Any]:
    """Measure everything with `n` photographs."""
    make(folder, n)
    device = torch.device(resolve_device("auto").used)
    images = load_own(folder / "photographs", [folder / "labels.csv"])
    training = Training(LearningConfig(), folder / "checkpoint.json", variant=name.partition(":")[2])
    # Without a hash features are not cached.
    to_learn = TrainingImages(images.images, device, True, "", originals=images.originals)
    encoder = pretrained.fit(to_learn, training).to(device).eval()
    before = rate_alone(encoder, device)
    start = time.perf_counter()
    features_of(encoder, to_learn, SILENT)
    rate = n / (time.perf_counter() - start)
    alone = [before, rate_alone(encoder, device)]
    fit = [
        sys.executable,
        "-m",
        "gpu_ssl",
        "fit",
        "photographs",
        "--labels",
        "labels.csv",
        "--encoder",
        name,
        "-q",
    ]
    seconds, peak, _ = watched([*fit, "--output", "first"], folder)
    again, _, _ = watched([*fit, "--output", "second"], folder)
    return {
        "photographs": n,
        "encoder": name,
        "precision": str(encoder.precision),
        "encode_per_second": rate,
        "network_alone_per_second": alone,
        "share": rate / float(np.mean(alone)),
        "fit_seconds": seconds,
        "fit_private_bytes": peak,
        "second_fit_seconds": again,
        "peak_bytes_of_encoding": peak_bytes(),
        "environment": describe_environment(),
    }


@click.command()
@click.option("--images", "n", type=click.IntRange(LABELS), default=10_000, show_default=True)
@click.option("--encoder", default="pretrained", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS)
def main(n: int, encoder: str, output: Path) -> None:
    """Measure, print, and write the record."""
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), n, encoder)
    rates = ", ".join(f"{rate:.1f}" for rate in found["network_alone_per_second"])
    click.echo(f"encoding, with decoding   {found['encode_per_second']:8.1f} images a second")
    click.echo(f"without decoding          {rates} images a second (measured before and after)")
    click.echo(f"encoding reaches          {in_percent(found['share'], 0)} of the mean without decoding")
    click.echo(
        f"first fit                 {found['fit_seconds']:8.1f} s, {found['fit_private_bytes'] / 1e9:.2f} GB"
    )
    click.echo(f"second fit                {found['second_fit_seconds']:8.1f} s")
    output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
