"""Soak tests: constant memory over many repetitions, and bitwise identical results after kills.

    python -m benchmarks.soak predicts --times 2000
    python -m benchmarks.soak fits --times 200
    python -m benchmarks.soak kills --images 100000 --times 20

The first two work within one process and fail if its memory grows by more than `MOST_GROWTH` after the first
tenth, in which libraries fill their caches. The last one kills a fit at random moments, resumes it each
time, and compares the model with that of an undisturbed fit.
"""

import gc
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from sklearn.datasets import load_digits

from gpu_ssl.cli import main as program

MOST_GROWTH = 16.0
"""Mebibytes by which memory may grow."""


def memory() -> float:
    """Return the resident memory of this process in MiB."""
    gc.collect()
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def make_input(folder: Path, n: int) -> None:
    """Write `n` images, the digits with noise, as an array, and labels for 200 of them."""
    digits, rng = load_digits(), np.random.default_rng(0)
    images = np.empty((n, 8, 8), np.uint8)
    for start in range(0, n, len(digits.images)):
        block = images[start : start + len(digits.images)]
        noise = rng.integers(0, 10, block.shape)
        block[:] = np.clip(digits.images[: len(block)] * 15 + noise, 0, 255)
    np.save(folder / "images.npy", images)
    lines = [f"{i},{digits.target[i % len(digits.target)]}" for i in range(min(n, 200))]
    (folder / "labels.csv").write_text("path,label\n" + "\n".join(lines) + "\n")


def words_of_fit(folder: Path, output: str, epochs: int) -> list[str]:
    """Return the arguments of a fit."""
    return [
        *("fit", str(folder / "images.npy"), "--labels", str(folder / "labels.csv")),
        *("--output", str(folder / output), "--method", "m1", "--epochs", str(epochs), "--no-mirror"),
        *("--device", "cpu", "--cache-dir", str(folder / "cache"), "-q"),
    ]


def watched(work: Callable[[int], None], times: int) -> None:
    """Call a function many times, and print the memory after each tenth; exit with 1 if it grew."""
    found = []
    for i in range(times):
        work(i)
        if (i + 1) % max(1, times // 10) == 0:
            found.append(memory())
            click.echo(f"{i + 1:,} times: {found[-1]:.1f} MiB")
    growth = max(found[1:], default=found[0]) - found[0]
    click.echo(f"grown by {growth:.1f} MiB after the first tenth")
    if growth > MOST_GROWTH:
        raise SystemExit(1)


@click.group()
def soak() -> None:
    """Run soak tests."""


@soak.command()
@click.option("--times", default=2000, show_default=True)
def predicts(times: int) -> None:
    """Load a model and predict, many times in one process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_input(folder, 300)
        program(words_of_fit(folder, "model", 2), standalone_mode=False)
        words = ["predict", str(folder / "model"), str(folder / "images.npy"), "--device", "cpu", "-q"]

        def work(i: int) -> None:
            program([*words, "--output", str(folder / "answers.csv")], standalone_mode=False)

        watched(work, times)


@soak.command()
@click.option("--times", default=200, show_default=True)
def fits(times: int) -> None:
    """Fit models, many times in one process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_input(folder, 300)

        def work(i: int) -> None:
            program([*words_of_fit(folder, "model", 2), "--seed", str(i)], standalone_mode=False)
            shutil.rmtree(folder / "model")
            shutil.rmtree(folder / "cache")

        watched(work, times)


@soak.command()
@click.option("--images", default=100_000, show_default=True)
@click.option("--times", default=20, show_default=True)
@click.option("--epochs", default=10, show_default=True)
@click.option("--seed", default=0, show_default=True)
def kills(images: int, times: int, epochs: int, seed: int) -> None:
    """Kill a fit at random moments, resume it, and compare the model with an undisturbed one."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_input(folder, images)
        command = [sys.executable, "-m", "gpu_ssl"]
        start = time.monotonic()
        subprocess.run([*command, *words_of_fit(folder, "whole", epochs)], check=True)
        seconds = time.monotonic() - start
        shutil.rmtree(folder / "cache")  # which would have the encoder ready
        killed = 0
        while killed < times:
            process = subprocess.Popen([*command, *words_of_fit(folder, "killed", epochs)])
            try:
                process.wait(rng.uniform(0.1, 2.5 * seconds / times))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed += 1
                continue
            if process.returncode != 0:
                raise SystemExit(f"killed {killed} times, the fit ended with {process.returncode}")
            break
        if not (folder / "killed" / "model.json").exists():
            subprocess.run([*command, *words_of_fit(folder, "killed", epochs)], check=True)
        whole, other = (
            json.loads((folder / output / "model.json").read_text())["tensors"]["sha256"]
            for output in ("whole", "killed")
        )
        click.echo(f"killed {killed} times; {'the same bits' if whole == other else 'ANOTHER model'}")
        if whole != other:
            raise SystemExit(1)


if __name__ == "__main__":
    soak()
