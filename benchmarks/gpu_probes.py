"""Effects of a GPU on training and encoding, each measured by a short program.

    python -m benchmarks.gpu_probes facts      what the card is, and seconds of imports and of CUDA's context
    python -m benchmarks.gpu_probes replay     a step as a CUDA graph, compared with single kernel launches
    python -m benchmarks.gpu_probes streams    1, 2, 4, 8 trainers, each with its graph, replayed in turn
    python -m benchmarks.gpu_probes cell       bytes that one cell copies to the host, and synchronizations
    python -m benchmarks.gpu_probes sizes      encoding by block, steps by batch, float32 and TF32

Images are random, since timings do not depend on their content. Nothing is downloaded. With ``--device cpu``
everything also runs, on smaller sizes, for tests without a GPU.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import numpy as np
import torch
from torch import Tensor

from gpu_ssl.config import ModelConfig, TrainConfig
from gpu_ssl.encoders import vae as vae_encoder
from gpu_ssl.encoders.vae import VAEEncoder
from gpu_ssl.networks.classifier import ClassifierNetwork
from gpu_ssl.runtime.device import resolve_device, synchronize
from gpu_ssl.runtime.environment import describe_environment
from gpu_ssl.svm.backend import resolve_backend
from gpu_ssl.svm.kernels import Kernel
from gpu_ssl.svm.one_vs_one import fit_one_vs_one
from gpu_ssl.svm.pairs import Penalty
from gpu_ssl.training.batches import Resident
from gpu_ssl.training.consistency import ConsistencyObjective, PseudoLabels
from gpu_ssl.training.joint import JointPlan, JointTrainer
from gpu_ssl.training.optimizers import build
from gpu_ssl.training.plan import plan_vae
from gpu_ssl.training.vae import Trainer, build_vae

SHAPE = (1, 28, 28)
IMPORTS = ("torch", "sklearn.svm", "matplotlib.figure", "cupy", "cuml.svm", "gpu_ssl.experiment")
ROUNDS = 5


def random_images(n: int, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, *SHAPE), dtype=torch.uint8, generator=generator).to(device)


def milliseconds(work: Callable[[], Any], device: torch.device, times: int) -> float:
    """Return the median of `ROUNDS` means over `times` calls, each after the device has finished."""
    work()
    means = []
    for _ in range(ROUNDS):
        synchronize(device)
        start = time.perf_counter()
        for _ in range(times):
            work()
        synchronize(device)
        means.append(1000 * (time.perf_counter() - start) / times)
    return statistics.median(means)


def vae_step(images: Tensor, batch_size: int, seed: int = 0) -> tuple[Trainer, Callable[[], Any]]:
    """Return a trainer of the default VAE, and a step of it on one batch, recorded where a GPU is."""
    model, resident = ModelConfig(), Resident(images)
    plan = plan_vae(TrainConfig(epochs=1000, batch_size=batch_size), model, resident, mirrored=True)
    trainer = Trainer(build_vae(model, SHAPE, images.device, seed), resident, plan, seed)
    trainer.vae.train()
    batch = next(iter(trainer.batches(trainer.generator)))
    return trainer, lambda: trainer.step(batch)


def consistency_step(images: Tensor, seed: int = 0) -> tuple[JointTrainer[Any], Callable[[], Any]]:
    """Return a trainer of the network of ``consistency``, and its step."""
    device, rows = images.device, np.arange(100)
    generator = torch.Generator(device).manual_seed(seed)
    teacher = PseudoLabels(torch.full((len(images), 10), 0.1, device=device), 0.5)
    network = build(partial(ClassifierNetwork, SHAPE, 10), device, seed)
    plan = JointPlan(10_000, 64, 256, 2e-3, 0.02, torch.bfloat16 if device.type == "cuda" else torch.float32)
    objective = ConsistencyObjective(teacher, True, generator)
    trainer = JointTrainer(network, objective, images, rows, rows % 10, plan, seed)
    network.train()
    numbers = iter(range(plan.steps))
    return trainer, lambda: trainer.step(next(numbers))


def facts(device: torch.device, few: bool) -> dict[str, Any]:
    """Report hardware and start-up times."""
    imports = {}
    for name in IMPORTS:
        code = f"import time; t = time.perf_counter(); import {name}; print(time.perf_counter() - t)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        imports[name] = float(done.stdout) if done.returncode == 0 else "cannot be imported"
        if few and name == "torch":
            break
    start = time.perf_counter()
    torch.zeros(1, device=device)
    synchronize(device)
    context = time.perf_counter() - start
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,mig.mode.current", "--format=csv"]
    try:
        card = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.SubprocessError) as error:
        card = str(error)
    return {
        "environment": describe_environment(),
        "nvidia_smi": card.splitlines(),
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "context_seconds": context,
        "import_seconds": imports,
    }


def replay(device: torch.device, few: bool) -> dict[str, Any]:
    """Time a step as a graph, and with single kernel launches."""
    images, times = random_images(320 if few else 60_000, device), 2 if few else 100
    found: dict[str, Any] = {}
    made: dict[str, Callable[[Tensor], tuple[Any, Callable[[], Any]]]] = {
        "vae": partial(vae_step, batch_size=256),
        "consistency": consistency_step,
    }
    for name, make in made.items():
        for records in (True, False):
            trainer, step = make(images)
            trainer.replay.records &= records
            kind = "recorded" if records else "piece by piece"
            found[f"{name}, {kind}, ms"] = milliseconds(step, device, times)
            found[f"{name}, {kind}, is a graph"] = trainer.replay.recorded
    return found


def streams(device: torch.device, few: bool) -> dict[str, Any]:
    """Time a step of each of several trainers that are replayed in turn, each on its own stream."""
    images, found = random_images(320 if few else 60_000, device), {}
    for k in (1, 2) if few else (1, 2, 4, 8):
        steps = [consistency_step(images, seed)[1] for seed in range(k)]
        own = [torch.cuda.Stream(device) if device.type == "cuda" else None for _ in steps]  # type: ignore[no-untyped-call]

        def in_turn(steps: Any = steps, own: Any = own) -> None:
            for step, stream in zip(steps, own, strict=True):
                with torch.cuda.stream(stream) if stream else nullcontext():
                    step()

        in_turn()
        synchronize(device)
        found[f"{k} trainers, ms a step of one"] = milliseconds(in_turn, device, 2 if few else 60) / k
    return found


def cell(device: torch.device, few: bool) -> dict[str, Any]:
    """Count bytes that a fit and a prediction copy to the host, and their synchronizations."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 10 if few else 300)
    points = torch.from_numpy(rng.normal(size=(len(labels), 64)).astype(np.float32) + labels[:, None] / 5)
    found: dict[str, Any] = {"points, bytes": points.numel() * 4}
    for name in ("batched", "cuml") if device.type == "cuda" else ("batched",):
        backend, _ = resolve_backend(name, resolve_device(str(device)))
        own = backend.receive(points.to(device))

        def work(backend: Any = backend, own: Any = own) -> None:
            model = fit_one_vs_one(backend, own, labels, 10, Penalty(5.0, Kernel(gamma=0.02)))
            backend.to_host(model.predict(own))

        work()
        activities = [torch.profiler.ProfilerActivity.CPU]
        if device.type == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        with torch.profiler.profile(activities=activities) as profile:
            work()
            synchronize(device)
        counts: dict[str, int] = {}
        for event in profile.events():
            if any(word in event.name for word in ("Synchronize", "DtoH", "_local_scalar_dense", "nonzero")):
                counts[event.name] = counts.get(event.name, 0) + 1
        found[name] = counts
        found[f"{name}, ms"] = milliseconds(work, device, 1)
    return found


def sizes(device: torch.device, few: bool) -> dict[str, Any]:
    """Time encoding by block size, steps by batch size, and float32 with TF32 and without."""
    images, found = random_images(320 if few else 60_000, device), {}
    trainer, _ = vae_step(images, 256)
    encoder = VAEEncoder(trainer.vae.eval(), augmented=True)
    with torch.no_grad():
        for block in (100, 300) if few else (1000, 4096, 16_384, 32_768):
            whole = partial(_encode, encoder, images, block)
            found[f"encode by {block}, ms"] = milliseconds(whole, device, 1)
        exact = _encode(encoder, images, 1000)
        with patch.object(vae_encoder, "autocast", lambda *_: nullcontext()):
            found["encode with TF32, ms"] = milliseconds(partial(_encode, encoder, images, 1000), device, 1)
            rounded = _encode(encoder, images, 1000)
        found["TF32 changes a latent by at most"] = float((exact - rounded).abs().max())
        found["largest latent"] = float(exact.abs().max())
    for batch_size in (32, 64) if few else (256, 512, 1024, 2048, 4096):
        _, step = vae_step(images, batch_size)
        step()
        each = milliseconds(step, device, 2 if few else 30)
        found[f"step of {batch_size}, ms"] = each
        found[f"step of {batch_size}, images a second"] = 1000 * batch_size / each
    return found


def _encode(encoder: VAEEncoder, images: Tensor, block: int) -> Tensor:
    return torch.cat([encoder(part) for part in torch.split(images, block)])


PROBES: dict[str, Callable[[torch.device, bool], dict[str, Any]]] = {
    "facts": facts,
    "replay": replay,
    "streams": streams,
    "cell": cell,
    "sizes": sizes,
}


@click.command()
@click.argument("name", type=click.Choice(list(PROBES)))
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cuda", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="Where the record goes.")
def main(name: str, device: str, output: Path | None) -> None:
    """Measure one thing, and print what was found."""
    choice = resolve_device(device)
    found = PROBES[name](torch.device(choice.used), choice.used == "cpu")
    text = json.dumps(found, indent=1)
    click.echo(text)
    if output is not None:
        output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
