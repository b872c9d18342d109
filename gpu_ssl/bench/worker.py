"""Benchmark worker, which runs all phases once: ``python -m gpu_ssl.bench.worker DEVICE < settings``.

It prints the samples as JSON lines. The first operations of a process are slower (libraries load, memory is
allocated, algorithms are chosen), so some training steps and one encoding run before anything is timed.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from array_api_compat import device as device_of
from numpy.typing import NDArray
from torch import Tensor

from gpu_ssl.bench.records import BenchConfig, Phase, Sample
from gpu_ssl.config import ModelConfig, SVMConfig, TrainConfig
from gpu_ssl.data.catalog import find_spec
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.loading import load_dataset
from gpu_ssl.data.splits import labelled_indices
from gpu_ssl.encoders.encoder import encode
from gpu_ssl.encoders.vae import VAEEncoder
from gpu_ssl.runtime.arrays import Array, array_namespace
from gpu_ssl.runtime.device import resolve_device, synchronize
from gpu_ssl.svm.backend import SVMBackend, resolve_backend
from gpu_ssl.svm.kernels import Kernel, scale_gamma
from gpu_ssl.svm.model import OneVsOneModel
from gpu_ssl.svm.one_vs_one import fit_one_vs_one
from gpu_ssl.svm.pairs import Penalty
from gpu_ssl.training.batches import Resident
from gpu_ssl.training.plan import plan_vae
from gpu_ssl.training.vae import Trainer, build_vae

WARM_UP_STEPS = 20
SCORED_LABELS = 3000
"""Scoring is timed with the SVM of the largest fitted label count up to this one."""

MOST_BATCHED = {"cpu": 3000, "cuda": 60_000}
"""Maximum label count for timing the batched solver; on a CPU, more labels take minutes."""

NOISE = 8
"""Maximum change of each intensity in the noisy copies that extend the images to a larger number."""


class Probe:
    """Collects samples: time with the device synchronized, and peak resident memory."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.samples: list[Sample] = []

    @contextmanager
    def sample(self, phase: Phase, size: int) -> Iterator[None]:
        """Time the enclosed block."""
        has_peak = _reset_peak()
        synchronize(self.device)
        start = time.perf_counter()
        yield
        synchronize(self.device)
        seconds = time.perf_counter() - start
        peak = peak_bytes() if has_peak else None
        self.samples.append(Sample(phase=phase, size=size, seconds=seconds, peak_bytes=peak))

    def with_accuracy(self, accuracy: float) -> None:
        """Add the accuracy to the last sample."""
        self.samples[-1] = self.samples[-1].model_copy(update={"accuracy": accuracy})


def _reset_peak() -> bool:
    """Reset the peak resident memory of this process, if the system supports it (man 5 proc, clear_refs)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def peak_bytes() -> int:
    """Return the peak resident memory of this process in bytes, on Linux.

    getrusage is not used, because it inherits a larger peak of the parent process.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def tile(images: NDArray[np.uint8], n: int, seed: int) -> NDArray[np.uint8]:
    """Return `n` images: the given ones, then copies of them with noise."""
    tiled = images[np.arange(n) % len(images)]
    rng = np.random.default_rng(seed)
    for start in range(len(images), n, len(images)):
        copies = tiled[start : start + len(images)]
        noise = rng.integers(-NOISE, NOISE + 1, copies.shape, dtype=np.int16)
        copies[:] = np.clip(copies + noise, 0, 255).astype(np.uint8)
    return tiled


def measure(config: BenchConfig, device_name: str) -> list[Sample]:
    """Run all phases once on `device_name`."""
    choice = resolve_device(device_name)
    device = torch.device(choice.used)
    backend, _ = resolve_backend("auto", choice)
    probe = Probe(device)
    with probe.sample("load", find_spec(config.data.dataset).n_train):
        dataset = load_dataset(config.data)
    with probe.sample("upload", len(dataset.train)):
        images = torch.from_numpy(dataset.train.images).to(device)
    trainer = _warmed_up_trainer(dataset, images, config.seed)
    with probe.sample("train epoch", len(images)):
        trainer.epoch()
    encoder = _encoder(trainer)
    latents = _encode_all(probe, encoder, images.device, dataset, config)
    encoded = encode(encoder, images)
    with probe.sample("handoff", len(dataset.train)):
        points = backend.receive(encoded)
    test = backend.receive(encode(encoder, _test_images(dataset, device)))
    model = _fit_all(probe, backend, "fit", dataset, points, test, config)
    few = config.model_copy(
        update={"labels": tuple(n for n in config.labels if n <= MOST_BATCHED[device.type])}
    )
    if few.labels:
        batched, _ = resolve_backend("batched", choice)
        both = batched.receive(encoded), batched.receive(encode(encoder, _test_images(dataset, device)))
        _fit_all(probe, batched, "fit batched", dataset, *both, few)
    for n, tensor in latents.items():
        received = backend.receive(tensor)
        with probe.sample("score", n):
            backend.to_host(model.predict(received))
    return probe.samples


def _test_images(dataset: Dataset, device: torch.device) -> Tensor:
    return torch.from_numpy(dataset.test.images).to(device)


def _warmed_up_trainer(dataset: Dataset, images: Tensor, seed: int) -> Trainer:
    model = ModelConfig()
    vae = build_vae(model, dataset.train.image_shape, images.device, seed)
    resident = Resident(images)
    trainer = Trainer(vae, resident, plan_vae(TrainConfig(), model, resident, dataset.mirrored), seed)
    vae.train()
    for batch in islice(trainer.batches(trainer.generator), WARM_UP_STEPS):
        trainer.step(batch)
    encode(_encoder(trainer), images[:2000])
    return trainer


def _encoder(trainer: Trainer) -> VAEEncoder:
    encoder = VAEEncoder(trainer.vae, trainer.plan.augment)
    encoder.precision = trainer.plan.precision
    return encoder


def _encode_all(
    probe: Probe, encoder: VAEEncoder, device: torch.device, dataset: Dataset, config: BenchConfig
) -> dict[int, Tensor]:
    latents = {}
    for n in config.images:
        images = torch.from_numpy(tile(dataset.train.images, n, config.seed)).to(device)
        with probe.sample("encode", n):
            latents[n] = encode(encoder, images)
    return latents


def _fit_all(
    probe: Probe,
    backend: SVMBackend,
    phase: Phase,
    dataset: Dataset,
    points: Array,
    test: Array,
    config: BenchConfig,
) -> OneVsOneModel:
    """Fit at every label count; return the model for timing the scoring."""
    labels = dataset.train.labels
    xp = array_namespace(points)

    def take(rows: NDArray[np.int64]) -> Array:
        return xp.take(points, xp.asarray(rows, device=device_of(points)), axis=0)

    n_classes = len(dataset.train.class_names)

    def fit(rows: NDArray[np.int64], labelled: Array) -> OneVsOneModel:
        penalty = Penalty(SVMConfig().C, Kernel(gamma=scale_gamma(labelled)))
        return fit_one_vs_one(backend, labelled, labels[rows], n_classes, penalty)

    few = labelled_indices(labels, min(config.labels), config.seed, split=0)
    scored = fit(few, take(few))  # warms up
    for n in config.labels:
        rows = labelled_indices(labels, n, config.seed, split=0)
        labelled = take(rows)
        with probe.sample(phase, n):
            model = fit(rows, labelled)
        probe.with_accuracy(float(np.mean(backend.to_host(model.predict(test)) == dataset.test.labels)))
        if n <= SCORED_LABELS:
            scored = model
    return scored


def main() -> None:
    """Read the settings from stdin, measure, and print the samples."""
    config = BenchConfig.model_validate_json(sys.stdin.read())
    for sample in measure(config, sys.argv[1]):
        print(sample.model_dump_json())  # noqa: T201 - read by the parent process


if __name__ == "__main__":
    main()
