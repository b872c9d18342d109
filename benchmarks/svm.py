"""Our one-vs-one SVM, scikit-learn's SVC and scikit-learn-intelex on the same latents, in one run.

The points are the latents of Fashion-MNIST from a VAE with the default settings, C = 5, gamma by "scale" from
the labelled points, the same for all. Each round fits and scores all contenders in turn; predictions are
compared with those of scikit-learn's SVC (float64) on the 10,000 test images.

    python -m benchmarks.svm                    on the CPU
    python -m benchmarks.svm --device cuda      also with cuML on the GPU

prints a table, and writes raw values and environment with ``--output``. A contender that is not installed
(``pip install -r benchmarks/requirements-peers.txt``) or has no GPU is "not measured"."""

import importlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from gpu_ssl.bench.worker import MOST_BATCHED
from gpu_ssl.config import RunConfig
from gpu_ssl.data.loading import load_dataset
from gpu_ssl.data.splits import labelled_indices
from gpu_ssl.encoders import vae
from gpu_ssl.encoders.encoder import encode
from gpu_ssl.encoders.fitting import Training, TrainingImages
from gpu_ssl.runtime.device import resolve_device, synchronize
from gpu_ssl.runtime.environment import describe_environment, library_version
from gpu_ssl.svm.backend import SVMBackend, resolve_backend
from gpu_ssl.svm.kernels import Kernel, scale_gamma
from gpu_ssl.svm.one_vs_one import fit_one_vs_one
from gpu_ssl.svm.pairs import Penalty

C = 5.0
CACHE_MIB = 1000

Predict = Callable[[Any], NDArray[Any]]


@dataclass(frozen=True)
class Contender:
    """A contender: `prepare` moves points to their device, which is not timed.

    `fit` takes prepared points, labels and a gamma, and returns the function that predicts prepared points.
    A slow one takes part only up to `most` labels.
    """

    dtype: type[np.floating[Any]]
    prepare: Callable[[NDArray[Any]], Any]
    fit: Callable[[Any, NDArray[np.int64], float], Predict]
    most: int = 10**9


def scikit_learn(module: str, dtype: type[np.floating[Any]]) -> Contender:
    """Make a contender of the SVC in `module`."""
    svc = importlib.import_module(module).SVC

    def fit(points: Any, labels: NDArray[np.int64], gamma: float) -> Predict:
        predict: Predict = svc(C=C, gamma=gamma, cache_size=CACHE_MIB).fit(points, labels).predict
        return predict

    return Contender(dtype, lambda points: points, fit)


def ours(backend: SVMBackend, device: torch.device, dtype: type[np.floating[Any]]) -> Contender:
    """Make a contender of our SVM with `backend`, on points that are on `device` already."""

    def prepare(points: NDArray[Any]) -> Any:
        prepared = backend.receive(torch.from_numpy(points).to(device))
        synchronize(device)
        return prepared

    def fit(points: Any, labels: NDArray[np.int64], gamma: float) -> Predict:
        model = fit_one_vs_one(backend, points, labels, 10, Penalty(C, Kernel(gamma=gamma)))
        synchronize(device)
        return lambda new: backend.to_host(model.predict(new))

    return Contender(dtype, prepare, fit)


def contenders(device: str) -> dict[str, Contender]:
    """Return the contenders by name."""
    host, _ = resolve_backend("sklearn", resolve_device("cpu"))
    batched, _ = resolve_backend("batched", choice := resolve_device(device))
    cpu = torch.device("cpu")
    taking_part = {
        "scikit-learn float64": scikit_learn("sklearn.svm", np.float64),
        "gpu-ssl float32": ours(host, cpu, np.float32),
        "gpu-ssl float64": ours(host, cpu, np.float64),
    }
    on_device = ours(batched, torch.device(choice.used), np.float32)
    most = MOST_BATCHED[device]
    taking_part[f"gpu-ssl batched float32, {device}"] = replace(on_device, most=most)
    if library_version("scikit-learn-intelex"):
        taking_part |= {
            "scikit-learn-intelex float32": scikit_learn("sklearnex.svm", np.float32),
            "scikit-learn-intelex float64": scikit_learn("sklearnex.svm", np.float64),
        }
    if device == "cuda":
        gpu, _ = resolve_backend("cuml", choice)
        taking_part["gpu-ssl cuML float32"] = ours(gpu, torch.device(choice.used), np.float32)
    return taking_part


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def make_latents(device: torch.device) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
    """Train the default VAE; return latents of the training and test images, and the training labels."""
    config = RunConfig()
    dataset = load_dataset(config.data)
    images = TrainingImages(dataset.train.images, device, dataset.mirrored, dataset.sha256)
    with tempfile.TemporaryDirectory() as folder:
        encoder = vae.fit(images, Training(config, Path(folder) / "checkpoint.json"))
    latents = [
        np.ascontiguousarray(encode(encoder, torch.from_numpy(part.images).to(device)).cpu().numpy())
        for part in (dataset.train, dataset.test)
    ]
    return latents[0], latents[1], dataset.train.labels


def measure(
    n: int,
    repeats: int,
    taking_part: dict[str, Contender],
    data: tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]],
) -> dict[str, Any]:
    """Fit and score all contenders in turn, `repeats` times after a warm-up."""
    train, test, labels = data
    taking_part = {name: who for name, who in taking_part.items() if n <= who.most}
    chosen = labelled_indices(labels, n, seed=0, split=0)
    points, own_labels = train[chosen], labels[chosen]
    gamma = scale_gamma(points)
    results: dict[str, Any] = {name: {"fit_seconds": [], "score_seconds": []} for name in taking_part}
    predictions = {}
    few = labelled_indices(labels, 100, seed=0, split=0)
    for who in taking_part.values():
        warm_up, new = (who.prepare(part.astype(who.dtype)) for part in (train[few], test[:1000]))
        who.fit(warm_up, labels[few], gamma)(new)
    for _ in range(repeats):
        for name, who in taking_part.items():
            own_points, own_test = (who.prepare(part.astype(who.dtype)) for part in (points, test))
            seconds, predict = timed(partial(who.fit, own_points, own_labels, gamma))
            results[name]["fit_seconds"].append(seconds)
            seconds, predictions[name] = timed(partial(predict, own_test))
            results[name]["score_seconds"].append(seconds)
    reference = predictions["scikit-learn float64"]
    for name, predicted in predictions.items():
        results[name]["agreement"] = float(np.mean(predicted == reference))
        for phase in ("fit", "score"):
            ours, theirs = (results[who][f"{phase}_seconds"] for who in (name, "scikit-learn float64"))
            results[name][f"{phase}_speedup_median"] = statistics.median(
                b / a for a, b in zip(ours, theirs, strict=True)
            )
    return {"labels": n, "gamma": gamma, "results": results}


def render(cases: list[dict[str, Any]]) -> str:
    """Return a table of medians, with speed-ups over scikit-learn and agreement with it."""
    lines = [f"{'labels':>6}  {'who':<29} {'fit s':>9} {'x':>6} {'score s':>9} {'x':>6} {'same':>8}"]
    for case in cases:
        for name, r in case["results"].items():
            fit, score = (statistics.median(r[f"{phase}_seconds"]) for phase in ("fit", "score"))
            lines.append(
                f"{case['labels']:>6}  {name:<29} {fit:>9.4f} {r['fit_speedup_median']:>6.2f} "
                f"{score:>9.4f} {r['score_speedup_median']:>6.1f} {r['agreement']:>8.2%}"
            )
    return "\n".join(lines)


@click.command()
@click.option("--labels", default="100,600,1000,3000,60000", show_default=True, help="Numbers of labels.")
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Rounds of each.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="Where the record goes.")
def main(labels: str, repeats: int, device: str, output: Path | None) -> None:
    """Time all contenders in turn, print the table and write the record."""
    taking_part = contenders(device)
    data = make_latents(torch.device("cuda:0" if device == "cuda" else "cpu"))
    cases = []
    for n in map(int, labels.split(",")):
        cases.append(measure(n, repeats, taking_part, data))
        click.echo(render(cases[-1:]) if len(cases) == 1 else render(cases[-1:]).partition("\n")[2])
    record = {
        "schema": 1,
        "what": "fit n labelled latents of Fashion-MNIST, score the 10,000 test latents; everyone in turn",
        "C": C,
        "repeats": repeats,
        "scikit-learn-intelex": library_version("scikit-learn-intelex") or "not measured",
        "gpu": "measured" if device == "cuda" else "not measured",
        "cases": cases,
        "environment": describe_environment(),
    }
    if output is not None:
        output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
