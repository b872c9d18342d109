"""All speed benchmarks in one run: ours and its peers, phases at growing sizes, and the roofline.

    pip install -r benchmarks/requirements-peers.txt
    python -m benchmarks

takes about 35 minutes on two cores; leave the machine idle. It writes every raw value to
``benchmarks/results/<machine>.json``, case by case, and prints the table that the README shows. ``--only``
measures a case again, and keeps the records of the others.
"""

import json
import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from benchmarks import roofline
from benchmarks.check_gpu import RESULTS, slug
from gpu_ssl.runtime.device import resolve_device
from gpu_ssl.runtime.environment import describe_environment
from gpu_ssl.runtime.files import write_text

CASES = {
    "recipe": ("benchmarks.recipe",),
    "svm": ("benchmarks.svm", "--device", "{device}"),
    "cells": ("benchmarks.cells", "--device", "{device}"),
    "roofline": ("benchmarks.roofline", "--device", "{device}"),
    "phases": ("gpu_ssl", "bench", "--images", "10000,100000,1000000", "--labels", "100,1000,3000,60000"),
    "elbo": ("benchmarks.elbo",),
}
"""The cases, in order; all accept --repeats and --output."""


def run_case(name: str, repeats: int, device: str, folder: Path) -> dict[str, Any]:
    """Run a case with its output, and return its record."""
    path = folder / f"{name}.json"
    arguments = [part.format(device=device) for part in CASES[name]]
    click.echo(f"== {name}: python -m {' '.join(arguments)}", err=True)
    options = ["--repeats", str(repeats), "--output", str(path)]
    subprocess.run([sys.executable, "-m", *arguments, *options], stdout=sys.stderr, check=True)
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def growth(phases: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the cost per image for the largest size relative to the smallest."""
    found = {}
    for phase in ("encode", "score"):
        for device in ("cpu", "cuda"):
            rows = [m for m in phases["measurements"] if (m["phase"], m["device"]) == (phase, device)]
            if rows:
                few, many = (f(rows, key=lambda m: m["size"]) for f in (min, max))
                each = [statistics.median(m["seconds"]) / m["size"] for m in (few, many)]
                found[f"{phase} on {device}"] = {
                    "images": many["size"],
                    "time_an_image_ratio": each[1] / each[0],
                    "bytes_an_image": _peak_growth(few, many),
                }
    return found


def _peak_growth(few: dict[str, Any], many: dict[str, Any]) -> float:
    """Return the growth of peak resident memory per image; nan if it was not recorded."""
    peaks = [m["peak_bytes"] for m in (few, many)]
    if any(None in values for values in peaks):
        return math.nan
    low, high = (float(statistics.median(values)) for values in peaks)
    return (high - low) / int(many["size"] - few["size"])


def render(record: dict[str, Any]) -> str:
    """Return the table of all cases in Markdown."""
    cases = record["cases"]
    lines = ["| work | ours | theirs | ratio |", "|---|---|---|---|"]
    if "recipe" in cases:
        recipe = cases["recipe"]
        ours, theirs = (statistics.median(recipe[who]["seconds"]) for who in ("gpu_ssl", "recipe"))
        what = "`run --labels all --no-baselines`; the recipe"
        lines.append(f"| {what} | {ours:.1f} s | {theirs:.1f} s | {recipe['ratio_median']:.2f} |")
    if "elbo" in cases:
        rounds = cases["elbo"]["rounds"]
        ours = statistics.median(r["seconds"] for r in rounds["gpu-ssl"])
        for name, compared in cases["elbo"]["peers"].items():
            if compared == "not measured":
                lines.append(f"| the paper's VAE; {name} | {ours:.1f} s | not measured | |")
                continue
            theirs = statistics.median(r["seconds"] for r in rounds[name])
            lines.append(
                f"| the paper's VAE to the test ELBO of {name}'s 10 epochs | {ours:.1f} s | {theirs:.1f} s | "
                f"{1 / compared['share_of_time']:.2f} |"
            )
    if "svm" in cases:
        lines += _svm_lines(cases["svm"])
    text = "\n".join(lines)
    if "roofline" in cases:
        text += "\n\n" + roofline.render(cases["roofline"])
    if "phases" in cases:
        for phase, found in growth(cases["phases"]).items():
            ratio = found["time_an_image_ratio"]
            text += (
                f"\n{phase}: of {found['images']:,} images one takes {ratio:.2f} times as long as of 10,000, "
                f"and {found['bytes_an_image']:.0f} bytes more memory."
            )
    return text


def _svm_lines(svm: dict[str, Any]) -> list[str]:
    lines = []
    for case in svm["cases"]:
        results = case["results"]
        for phase in ("fit", "score"):
            ours, *theirs = (
                statistics.median(results[who][f"{phase}_seconds"])
                for who in ("gpu-ssl float32", "scikit-learn float64", "scikit-learn-intelex float32")
                if who in results
            )
            names = ("scikit-learn", "scikit-learn-intelex")
            lines += [
                f"| SVM, {case['labels']:,} labels, {phase}; {name} | {ours:.3f} s | {other:.3f} s | "
                f"{other / ours:.1f} |"
                for name, other in zip(names, theirs, strict=False)
            ]
    return lines


@click.command()
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Rounds of each case.")
@click.option(
    "--only", type=click.Choice(list(CASES)), multiple=True, help="Run this case; may be given again."
)
@click.option(
    "--output", type=click.Path(path_type=Path), help="[default: benchmarks/results/<machine>.json]"
)
def main(repeats: int, only: tuple[str, ...], output: Path | None) -> None:
    """Run all cases, write one record and print one table."""
    environment = describe_environment()
    used = resolve_device("auto").used
    device = used.partition(":")[0]
    machine = environment["gpus"][0]["name"] if environment["gpus"] else environment["cpu"]
    output = output or RESULTS / f"{environment['cpus']}x-{slug(machine)}.json"
    cases = json.loads(output.read_text(encoding="utf-8"))["cases"] if only and output.is_file() else {}
    record = {"schema": 1, "what": "python -m benchmarks", "environment": environment, "cases": cases}
    for name in [name for name in CASES if name in only or not only]:
        with tempfile.TemporaryDirectory() as folder:
            cases[name] = run_case(name, repeats, device, Path(folder))
        write_text(output, json.dumps(record, indent=1) + "\n")
    click.echo(render(record))
    click.echo(f"\nWritten to {output}")


if __name__ == "__main__":
    main()
