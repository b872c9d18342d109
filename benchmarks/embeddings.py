"""A million embeddings from disk: a fit with 1000 labels and a prediction of all, also by scikit-learn's SVM.

    python -m benchmarks.embeddings

makes a file of 1,000,000 x 384 float32 (1.5 GB) in a temporary folder: a direction for each of ten classes,
and noise. It measures time and private memory of ``gpu-ssl fit`` and ``gpu-ssl predict`` on it in separate
processes, and of scikit-learn's SVC with the same C and gamma on the same rows. Private memory excludes
mapped pages of the file, which the system manages. It also measures both with a tenth of the rows: private
memory should be nearly the same."""

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.check_gpu import RESULTS
from gpu_ssl.runtime.environment import describe_environment

WIDTH, CLASSES, LABELS, SEED = 384, 10, 1000, 0
APART = 0.15
"""Length of the directions of the classes, for noise of length 1 in each of the numbers."""

BLOCK = 10_000
ENOUGH = 25_000
"""Rows from which on a model takes no more: it remembers at most 20,000."""

PER_ROW, MANY = 100, 500_000
"""Bytes of private memory that a row more may take, of 1536 that it has in the file; and rows from which on
that is held: up to 200,000 are compared with each other to find copies, which takes some."""

SKLEARN = """
import sys, time
import numpy as np
from sklearn.svm import SVC
rows, labels = np.load(sys.argv[1], mmap_mode="r"), np.load(sys.argv[2])
chosen = np.flatnonzero(labels >= 0)
start = time.perf_counter()
model = SVC(C=5.0).fit(rows[chosen], labels[chosen])
fitted = time.perf_counter()
answers = np.concatenate([model.predict(rows[i : i + 10_000]) for i in range(0, int(sys.argv[4]), 10_000)])
print(fitted - start, time.perf_counter() - fitted)
np.save(sys.argv[3], answers)
"""
"""Its private memory is not compared: whoever writes these lines would first read the whole file."""


def make(folder: Path, n: int) -> np.ndarray[Any, Any]:
    """Write the rows, and the labels of a few, and return the classes of all."""
    rng = np.random.default_rng(SEED)
    directions = APART * rng.normal(size=(CLASSES, WIDTH)).astype(np.float32)
    classes = rng.integers(0, CLASSES, n)
    rows = np.lib.format.open_memmap(folder / "z.npy", "w+", np.float32, (n, WIDTH))
    for start in range(0, n, BLOCK):
        own = classes[start : start + BLOCK]
        rows[start : start + BLOCK] = directions[own] + rng.standard_normal((len(own), WIDTH), np.float32)
    rows.flush()
    chosen = rng.choice(n, LABELS, replace=False)
    lines = [f"{row},class {classes[row]}\n" for row in chosen]
    (folder / "labels.csv").write_text("path,label\n" + "".join(lines))
    known = np.full(n, -1)
    known[chosen] = classes[chosen]
    np.save(folder / "known.npy", known)
    return classes


def watched(command: list[str], folder: Path) -> tuple[float, int, str]:
    """Run a command in a folder; return its seconds, its peak of private memory in bytes, and its output.

    The kernel keeps the peak of all resident memory only, so private memory (RssAnon) is polled.
    """
    env = os.environ | {"GPU_SSL_CACHE_DIR": str(folder / "cache")}
    start, peak = time.perf_counter(), 0
    with subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            lines = [line for line in status.read_text().splitlines() if line.startswith("RssAnon:")]
            peak = max(peak, *(int(line.split()[1]) * 1024 for line in lines), 0)
            time.sleep(0.02)
        assert process.stdout is not None
        text = process.stdout.read()
    if process.returncode:
        raise click.ClickException(f"{' '.join(command)} failed")
    return time.perf_counter() - start, peak, text


def measure(folder: Path, n: int, method: str, *, with_sklearn: bool) -> dict[str, Any]:
    """Measure everything with `n` rows."""
    classes = make(folder, n)
    program = [sys.executable, "-m", "gpu_ssl"]
    fit = [*program, "fit", "z.npy", "--labels", "labels.csv", "--method", method, "--output", "model", "-q"]
    found: dict[str, Any] = {"rows": n}
    found["fit_seconds"], found["fit_private_bytes"], _ = watched([*fit, "--json"], folder)
    predict = [*program, "predict", "model", "z.npy", "--output", "answers.csv", "-q"]
    found["predict_seconds"], found["predict_private_bytes"], _ = watched(predict, folder)
    with (folder / "answers.csv").open(encoding="utf-8") as file:
        named = np.array([int(row["label"].removeprefix("class ")) for row in csv.DictReader(file)])
    found["accuracy"] = float(np.mean(named == classes))
    if with_sklearn:
        files = ["z.npy", "known.npy", "answers.npy", str(n)]
        found["sklearn_process_seconds"], _, text = watched([sys.executable, "-c", SKLEARN, *files], folder)
        found["sklearn_fit_seconds"], found["sklearn_predict_seconds"] = map(float, text.split())
        found["sklearn_accuracy"] = float(np.mean(np.load(folder / "answers.npy") == classes))
    return found


@click.command()
@click.option("--rows", type=click.IntRange(2 * ENOUGH), default=1_000_000, show_default=True)
@click.option("--method", default="svm", show_default=True, help="Of gpu-ssl fit.")
@click.option("--sklearn/--no-sklearn", "with_sklearn", default=True, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS / "embeddings.json")
def main(rows: int, method: str, with_sklearn: bool, output: Path) -> None:
    """Measure, print and write the figures; fail where memory grows with the number of rows."""
    found = []
    for n in (max(rows // 10, ENOUGH), rows):
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(Path(folder), n, method, with_sklearn=with_sklearn and n == rows))
        click.echo(json.dumps(found[-1], indent=1))
    record = {"environment": describe_environment(), "width": WIDTH, "labels": LABELS, "method": method}
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({**record, "measurements": found}, indent=1) + "\n", encoding="utf-8")
    few, many = found
    for name in ("fit_private_bytes", "predict_private_bytes"):
        each = (many[name] - few[name]) / (many["rows"] - few["rows"])
        click.echo(f"{name}: {each:.0f} bytes for each row more")
        if rows >= MANY and each > PER_ROW:
            raise click.ClickException(f"{name} grows with the number of rows")


if __name__ == "__main__":
    main()
