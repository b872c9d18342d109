"""All splits of a number of labels at once: the batched solver compared with the other SVM libraries.

The points are the latents of Fashion-MNIST from a VAE with the default settings, C = 5, gamma by "scale" from
the labelled points of each split. Each round fits everyone in turn; predictions of the 10,000 test images are
compared with those of scikit-learn's own SVC (float64). Iterations are those of LIBSVM and of the batched
solver.

    python -m benchmarks.cells                    on the CPU
    python -m benchmarks.cells --device cuda      also cuML, and the batched solver with and without graphs
"""

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import click
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.svm import SVC

from benchmarks.svm import C, make_latents, timed
from gpu_ssl.data.splits import labelled_indices
from gpu_ssl.runtime.device import resolve_device, synchronize
from gpu_ssl.runtime.environment import describe_environment
from gpu_ssl.statistics import in_percent
from gpu_ssl.svm import smo
from gpu_ssl.svm.backend import SVMBackend, resolve_backend
from gpu_ssl.svm.kernels import Kernel, scale_gamma
from gpu_ssl.svm.model import OneVsOneModel
from gpu_ssl.svm.one_vs_one import Task, fit_all
from gpu_ssl.svm.pairs import Penalty

LEAST_AGREEMENT: Final = 0.9995
"""Share of the test images of a split that must get the class that scikit-learn's SVC gives."""

Latents = tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]


@dataclass(frozen=True)
class Solver:
    """A backend on a device; `eager` launches every kernel of the batched solver on its own."""

    backend: SVMBackend
    device: torch.device
    eager: bool = False

    def fit(self, tasks: list[Task]) -> list[OneVsOneModel]:
        """Fit all splits, and wait until that is done."""
        if self.eager:
            with patch.object(smo, "record", lambda *_: None):
                models = fit_all(self.backend, tasks)
        else:
            models = fit_all(self.backend, tasks)
        synchronize(self.device)
        return models


def solvers(device: str) -> dict[str, Solver]:
    """Return the contenders."""
    choice = resolve_device(device)
    place, cpu = torch.device(choice.used), torch.device("cpu")
    host, _ = resolve_backend("sklearn", resolve_device("cpu"))
    batched, _ = resolve_backend("batched", choice)
    taking_part = {"scikit-learn": Solver(host, cpu), "batched": Solver(batched, place)}
    if device == "cuda":
        cuml, _ = resolve_backend("cuml", choice)
        taking_part |= {"batched, no graph": Solver(batched, place, True), "cuML": Solver(cuml, place)}
    return taking_part


def measure(
    n: int, splits: int, repeats: int, taking_part: dict[str, Solver], latents: Latents
) -> dict[str, Any]:
    """Fit all splits of `n` labels by all contenders in turn, `repeats` times after a warm-up."""
    train, test, labels = latents
    chosen = [labelled_indices(labels, n, seed=0, split=split) for split in range(splits)]
    points = [np.ascontiguousarray(train[rows]) for rows in chosen]
    penalties = [Penalty(C, Kernel(gamma=scale_gamma(own))) for own in points]
    results: dict[str, Any] = {}
    timers: dict[str, Callable[[], list[OneVsOneModel]]] = {}
    for name, solver in taking_part.items():
        received = [solver.backend.receive(torch.from_numpy(own).to(solver.device)) for own in points]
        tasks = [
            Task(own, labels[rows], 10, penalty)
            for own, rows, penalty in zip(received, chosen, penalties, strict=True)
        ]
        timers[name] = lambda solver=solver, tasks=tasks: solver.fit(tasks)  # type: ignore[misc]
        seconds, models = timed(timers[name])
        new = solver.backend.receive(torch.from_numpy(test).to(solver.device))
        predicted = [solver.backend.to_host(model.predict(new)) for model in models]
        iterations = np.concatenate([model.n_iter for model in models if model.n_iter is not None])
        results[name] = {"first_seconds": seconds, "seconds": [], "predicted": predicted}
        if name != "cuML":  # which counts otherwise
            results[name] |= {
                "median_iterations": float(np.median(iterations)),
                "most_iterations": int(iterations.max()),
            }
    for _ in range(repeats):
        for name, run in timers.items():
            results[name]["seconds"].append(timed(run)[0])
    for split, (rows, own, penalty) in enumerate(zip(chosen, points, penalties, strict=True)):
        svc = SVC(C=C, gamma=penalty.kernel.gamma).fit(own.astype(np.float64), labels[rows])
        expected = svc.predict(test.astype(np.float64))
        for result in results.values():
            result.setdefault("agreement", []).append(float(np.mean(result["predicted"][split] == expected)))
    for result in results.values():
        del result["predicted"]
    return {"labels": n, "splits": splits, "results": results}


def render(case: dict[str, Any]) -> str:
    """Return a line per contender: median seconds for all splits, iterations, least agreement."""
    return "\n".join(
        f"{case['labels']:>6} x {case['splits']}  {name:<18} {statistics.median(r['seconds']):>8.4f} s"
        f"  {r.get('median_iterations', float('nan')):>6.0f} {r.get('most_iterations', 0):>6}"
        f"  {min(r['agreement']):>8.2%}"
        for name, r in case["results"].items()
    )


@click.command()
@click.option("--labels", default="100,600,1000,3000", show_default=True, help="Numbers of labels.")
@click.option("--splits", type=click.IntRange(1), default=5, show_default=True)
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Rounds of each.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="Where the record goes.")
def main(labels: str, splits: int, repeats: int, device: str, output: Path | None) -> None:
    """Fit all contenders in turn, print the lines and write the record; exit with 1 if predictions differ."""
    taking_part = solvers(device)
    latents = make_latents(torch.device("cuda:0" if device == "cuda" else "cpu"))
    cases = []
    for n in map(int, labels.split(",")):
        cases.append(measure(n, splits, repeats, taking_part, latents))
        click.echo(render(cases[-1]))
    record = {"schema": 1, "C": C, "repeats": repeats, "cases": cases, "environment": describe_environment()}
    if output is not None:
        output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    agreements = [share for case in cases for share in case["results"]["batched"]["agreement"]]
    if min(agreements) < LEAST_AGREEMENT:
        raise click.ClickException(
            f"only {in_percent(min(agreements), 2)} of a split are named as scikit-learn does"
        )


if __name__ == "__main__":
    main()
