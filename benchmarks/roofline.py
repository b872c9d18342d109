"""How close each phase comes to the limits of this machine: counted operations, measured times and peaks.

Floating-point operations are those of matrix products and convolutions, counted by torch while a step
runs; bytes are what all operations read and write, as if no cache kept anything. The peaks are measured in
the same run: square matrix products of 2048 in the dtypes of the phases, and copying 256 MB.

    python -m benchmarks.roofline --device cpu

prints a table of medians, and writes raw values with ``--output``.
"""

import json
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from gpu_ssl.config import DataConfig, ModelConfig, SVMConfig, TrainConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.loading import load_dataset
from gpu_ssl.data.splits import labelled_indices
from gpu_ssl.encoders.encoder import encode
from gpu_ssl.encoders.vae import VAEEncoder
from gpu_ssl.runtime.device import resolve_device, synchronize
from gpu_ssl.runtime.environment import describe_environment
from gpu_ssl.statistics import in_percent
from gpu_ssl.svm.backend import resolve_backend
from gpu_ssl.svm.kernels import Kernel, scale_gamma
from gpu_ssl.svm.one_vs_one import fit_one_vs_one
from gpu_ssl.svm.pairs import Penalty
from gpu_ssl.training.batches import Resident
from gpu_ssl.training.plan import plan_vae
from gpu_ssl.training.vae import Trainer, build_vae

STEPS = 40
LABELS = 3000
SIDE = 2048
COPIED = 256 * 2**20


@dataclass(frozen=True)
class Work:
    """A phase: a function that runs it once, its number of images, operations and bytes."""

    run: Callable[[], Any]
    images: int
    flops: float
    bytes: float
    dtype: torch.dtype


class ByteCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of what operations read and write; views and allocations move none."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count it."""
        result = func(*args, **(kwargs or {}))
        if not func.is_view and "empty" not in str(func):
            tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
            self.total += sum(t.numel() * t.element_size() for t in {id(t): t for t in tensors}.values())
        return result


def counted(run: Callable[[], Any]) -> tuple[float, float]:
    """Return the floating-point operations of `run` and the bytes that it moves."""
    with FlopCounterMode(display=False) as flops:
        run()
    with ByteCounter() as moved:
        run()
    return float(flops.get_total_flops()), float(moved.total)


def training(data: Dataset, device: torch.device, network: Any) -> tuple[Trainer, Work]:
    """Return a trainer, and the work of `STEPS` of its steps."""
    config, images = ModelConfig(network=network), torch.from_numpy(data.train.images).to(device)
    resident = Resident(images)
    plan = plan_vae(TrainConfig(), config, resident, data.mirrored)
    trainer = Trainer(build_vae(config, data.train.image_shape, device, 0), resident, plan, 0)
    trainer.vae.train()
    batches = list(islice(trainer.batches(trainer.generator), STEPS))

    def run() -> None:
        for batch in batches:
            trainer.step(batch)

    flops, moved = counted(lambda: trainer.step(batches[0]))
    return trainer, Work(run, STEPS * plan.batch_size, STEPS * flops, STEPS * moved, plan.precision)


def encoder_of(trainer: Trainer, precision: torch.dtype) -> VAEEncoder:
    """Return the encoder of what is in training."""
    encoder = VAEEncoder(trainer.vae, trainer.plan.augment)
    encoder.precision = precision
    return encoder


def encoding(trainer: Trainer, images: Tensor) -> Work:
    """Return the work of encoding all images."""
    encoder = encoder_of(trainer, trainer.plan.precision)

    def run(images: Tensor) -> Tensor:
        return encode(encoder, images)

    flops, moved = counted(lambda: run(images[:1000]))
    n = len(images)
    return Work(lambda: run(images), n, flops * n / 1000, moved * n / 1000, trainer.plan.precision)


def scoring(data: Dataset, trainer: Trainer, device: str) -> Work:
    """Return the work of scoring all test images by an SVM of `LABELS` labels."""
    backend, _ = resolve_backend("auto", resolve_device(device))
    encoder = encoder_of(trainer, torch.float32)
    latents = [
        encode(encoder, torch.from_numpy(part.images).to(trainer.device)) for part in (data.train, data.test)
    ]
    train, test = map(backend.receive, latents)
    rows = labelled_indices(data.train.labels, LABELS, 0, 0)
    own = train[rows] if isinstance(train, np.ndarray) else train[backend.from_host(rows)]
    penalty = Penalty(SVMConfig().C, Kernel(gamma=scale_gamma(own)))
    model = fit_one_vs_one(backend, own, data.train.labels[rows], len(data.train.class_names), penalty)
    (m, classes), (n, d) = model.duals.shape, test.shape
    # The kernel matrix is written by a product, read and written by exp, and read by the next product.
    moved = 4 * (n * d + m * d + 4 * n * m + n * classes**2)
    return Work(lambda: model.predict(test), n, 2.0 * n * m * (d + 2 + classes), float(moved), torch.float32)


def seconds_of(run: Callable[[], Any], device: torch.device) -> float:
    """Return the seconds that `run` takes, the device included."""
    synchronize(device)
    start = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - start


def name_of(dtype: torch.dtype) -> str:
    """Return what a record calls a dtype."""
    return str(dtype).removeprefix("torch.")


def measured_peaks(device: torch.device, repeats: int, dtypes: Iterable[torch.dtype]) -> dict[str, float]:
    """Return the largest rates seen: operations a second by dtype, and bytes a second.

    Only the dtypes in use are measured: on a CPU without bfloat16 hardware, a few products of 2048 take
    minutes.
    """
    peaks = {}
    for dtype in dtypes:
        a = torch.randn(SIDE, SIDE, device=device).to(dtype)
        (a @ a).sum().item()  # warms up
        best = min(seconds_of(lambda a=a: a @ a, device) for _ in range(4 * repeats))  # type: ignore[misc]
        peaks[name_of(dtype)] = 2 * SIDE**3 / best
    source = torch.ones(COPIED, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    best = min(seconds_of(lambda: target.copy_(source), device) for _ in range(4 * repeats))
    return {**peaks, "bytes": 2 * COPIED / best}


def measure(device_name: str, repeats: int) -> dict[str, Any]:
    """Measure every phase and the peaks, in turn."""
    device = torch.device(resolve_device(device_name).used)
    data = load_dataset(DataConfig())
    trainer, ours = training(data, device, "conv")
    _, paper = training(data, device, "mlp")
    works = {
        "train, our network": ours,
        "train, the paper's": paper,
        "encode": encoding(trainer, torch.from_numpy(data.train.images).to(device)),
        f"score, {LABELS} labels": scoring(data, trainer, device_name),
    }
    for work in works.values():
        work.run()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            seconds[name].append(seconds_of(work.run, device))
    return {
        "device": str(device),
        "peaks": measured_peaks(device, repeats, dict.fromkeys(work.dtype for work in works.values())),
        "phases": {
            name: {
                "seconds": seconds[name],
                "images": work.images,
                "flops": work.flops,
                "bytes": work.bytes,
                "dtype": name_of(work.dtype),
            }
            for name, work in works.items()
        },
    }


def render(record: dict[str, Any]) -> str:
    """Return a table of medians in Markdown."""
    peaks = record["peaks"]
    lines = [
        "| phase | images/s | MFLOP an image | GFLOP/s | of the peak | KB an image | GB/s | of the peak |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, p in record["phases"].items():
        taken = statistics.median(p["seconds"])
        flops, moved = p["flops"] / taken, p["bytes"] / taken
        lines.append(
            f"| {name} ({p['dtype']}) | {p['images'] / taken:,.0f} | {p['flops'] / p['images'] / 1e6:.1f} | "
            f"{flops / 1e9:.0f} | {in_percent(flops / peaks[p['dtype']], 0)} | "
            f"{p['bytes'] / p['images'] / 1e3:.0f} | {moved / 1e9:.1f} | "
            f"{in_percent(moved / peaks['bytes'], 0)} |"
        )
    rates = [f"{peaks[name] / 1e9:,.0f} GFLOP/s in {name}" for name in sorted(peaks) if name != "bytes"]
    lines.append(
        f"\nPeaks measured beside it: {', '.join(rates)}, {peaks['bytes'] / 1e9:.1f} GB/s of copying."
    )
    return "\n".join(lines)


@click.command()
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Times of each.")
@click.option("--output", type=click.Path(path_type=Path), help="Where the record goes.")
def main(device: str, repeats: int, output: Path | None) -> None:
    """Measure, print the table and write the record."""
    record = {**measure(device, repeats), "environment": describe_environment()}
    click.echo(render(record))
    if output is not None:
        output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
