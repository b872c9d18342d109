"""Table 1 of Kingma et al. 2014 on MNIST: their M1, M2 and M1+M2 as published, and our methods.

    python -m benchmarks.paper --data-dir DIR                    # all of it: hours on 2 cores
    python -m benchmarks.paper --row m1m2 --labels 100           # one row, one column

A cell is one method with one choice of labelled images. Each finished cell is a file under ``runs/paper``:
an interrupted benchmark is resumed, and cells that were not requested stay "not measured". Prints the table
and the errors above their targets, and writes ``benchmarks/results/paper.json``.
"""

import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from gpu_ssl import catalog
from gpu_ssl.cli.options import take_vae_settings
from gpu_ssl.config import STANDARD_LABEL_COUNTS, DataConfig, Preset, RunConfig, TrainConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.loading import load_dataset
from gpu_ssl.data.splits import labelled_indices, resolve_label_counts
from gpu_ssl.errors import UsageError
from gpu_ssl.methods.evaluation import Cell, cell_seed
from gpu_ssl.methods.method import Labelled, fit_method, options_of
from gpu_ssl.methods.representation import represent
from gpu_ssl.methods.saving import save_classifier
from gpu_ssl.methods.view import View
from gpu_ssl.published import TABLE_1
from gpu_ssl.runtime.device import resolve_device
from gpu_ssl.runtime.environment import cpu_name, describe_environment, release
from gpu_ssl.runtime.files import write_text
from gpu_ssl.runtime.progress import SILENT
from gpu_ssl.runtime.ranks import ALONE
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.svm.backend import resolve_backend
from gpu_ssl.training.m2_published import OF_IMAGES, OF_LATENTS

ROOT = Path(__file__).parent.parent
RESULT = Path(__file__).parent / "results" / "paper.json"
FOLDER = ROOT / "runs" / "paper"


@dataclass(frozen=True)
class Row:
    """A method of the table, and the corresponding row of the paper, if any."""

    title: str
    method: str
    preset: Preset = "modern"
    published: str = ""
    encoder: str | None = None


ROWS: dict[str, Row] = {
    "m1": Row("M1 as published, inductive: an SVM on the latents", "m1", "paper", "M1+TSVM"),
    "m1-graph": Row("M1, transductive: the graph of its latents", "graph", "paper", "M1+TSVM", "vae"),
    "m2": Row("M2 as published", "m2", "paper", "M2"),
    "m1m2": Row("M1+M2 as published", "m1m2", "paper", "M1+M2"),
    "modern-m1": Row("m1", "m1"),
    "modern-hybrid": Row("hybrid", "hybrid"),
    "modern-graph": Row("graph", "graph"),
    "modern-auto": Row("auto (quick)", "auto"),
    "modern-m1m2": Row("m1m2", "m1m2"),
    "modern-consistency": Row("consistency", "consistency"),
}

WANTED: dict[str, dict[int, float]] = {
    "m1m2": {100: 3.8, 600: 2.9, 1000: 2.7, 3000: 2.5},
    "m2": {100: 13.0, 600: 5.5},
}
"""Target mean errors in %, set before the measurement."""


class Bench:
    """Measures cells, each once.

    Parameters
    ----------
    config : RunConfig
        Data set, VAE, seed and steps; method and preset are those of a row.
    folder : Path
        Takes VAEs, cells, and the classifiers of the first split.
    """

    def __init__(self, config: RunConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        self._views: dict[Preset, tuple[View, View]] = {}

    @cached_property
    def dataset(self) -> Dataset:
        """The images."""
        return load_dataset(self.config.data)

    def config_of(self, row: Row) -> RunConfig:
        """Return the settings of a row, as ``gpu-ssl run --preset`` fills them in."""
        given = dict.fromkeys(("network", "latent_dim", "kl_weight", *TRAINING))
        model, train = take_vae_settings({"preset": row.preset, **given})
        changes = {"model": model, "train": train, "methods": (row.method,), "preset": row.preset}
        steps = self.config.steps if catalog.method(row.method).trains else None
        own = {"steps": steps, "effort": "quick", "encoder": row.encoder}
        return self.config.model_copy(update={**changes, **own})

    def views(self, preset: Preset) -> tuple[View, View]:
        """Return the training and test images with the encoders of all rows of a preset."""
        if preset not in self._views:
            rows = [row for row in ROWS.values() if row.preset == preset]
            config = self.config_of(rows[0])
            device = resolve_device(config.device)
            backend, _ = resolve_backend(config.svm_backend, device)
            self._views[preset] = represent(
                *(config, self.dataset, [catalog.method(row.method) for row in rows], backend),
                *(self.folder / preset, Stopwatch(torch.device(device.used)), SILENT, ALONE),
            )
        return self._views[preset]

    def path(self, name: str, cell: Cell) -> Path:
        """Return the file of a cell."""
        seed = f"-seed-{self.config.seed}"
        return self.folder / "cells" / f"{name}-{cell.labels}-labels-split-{cell.split}{seed}.json"

    def origin(self, row: Row) -> dict[str, Any]:
        """Return what determines the results of a row's cells."""
        settings = self.config_of(row).model_dump(
            mode="json", exclude={"data": {"data_dir"}, "labels": True, "splits": True, "baselines": True}
        )
        recipes = repr((OF_LATENTS, OF_IMAGES)) if row.preset == "paper" else ""
        return {"gpu_ssl": release(), "torch": torch.__version__, "config": settings, "recipes": recipes}

    def known(self, name: str, cell: Cell) -> dict[str, Any] | None:
        """Return the stored result of a cell with these settings, or None; so of a damaged file."""
        try:
            found: dict[str, Any] = json.loads(self.path(name, cell).read_text(encoding="utf-8"))
            return found if found.pop("origin") == self.origin(ROWS[name]) else None
        except (OSError, ValueError, KeyError):
            return None

    def measure(self, name: str, cell: Cell) -> dict[str, Any]:
        """Fit a method to one choice of labelled images, and score it on the test images, if not known."""
        known = self.known(name, cell)
        if known is not None:
            return known
        row = ROWS[name]
        train, test = self.views(row.preset)
        options = options_of(self.config_of(row), row.method, train.device)
        labels = self.dataset.train.labels
        chosen = labelled_indices(labels, cell.labels, self.config.seed, cell.split)
        wall, cpu = time.perf_counter(), time.process_time()
        classifier = fit_method(
            train, Labelled(chosen, labels[chosen]), replace(options, seed=cell_seed(options.seed, cell))
        )
        classes = classifier.predict(test)
        found = {
            "split": cell.split,
            "error": 100 * float(np.mean(classes != self.dataset.test.labels)),
            "seconds": time.perf_counter() - wall,
            "cpu_seconds": time.process_time() - cpu,
            "cpu": cpu_name(),
            "curve": [round(value, 3) for value in classifier.curve[9::10]],
        }
        if cell.split == 0:
            save_classifier(self.folder / "classifiers" / f"{name}-{cell.labels}-labels.json", classifier)
        write_text(self.path(name, cell), json.dumps({"origin": self.origin(row), **found}) + "\n")
        return found

    def record(self, counts: tuple[int, ...], splits: int) -> dict[str, Any]:
        """Return all cells that are known of so many splits."""
        rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for name in ROWS:
            for count in counts:
                cells = (self.known(name, Cell(count, split)) for split in range(splits))
                if found := [cell for cell in cells if cell]:
                    rows.setdefault(name, {})[str(count)] = found
        return {
            "what": "errors in % on the test images of MNIST, beside Table 1 of Kingma et al. 2014",
            "seed": self.config.seed,
            "paper": TABLE_1,
            "rows": rows,
            "environment": describe_environment(),
        }


TRAINING = tuple(TrainConfig.model_fields)


def render(record: dict[str, Any], counts: tuple[int, ...]) -> str:
    """Return the table in Markdown: mean and deviation of the error, and CPU seconds of a split."""
    lines = [
        f"| error in % | {' | '.join(f'{count:,}' for count in counts)} | CPU seconds a split |",
        "|---" * (len(counts) + 2) + "|",
    ]
    shown_of_paper = set()
    for name, row in ROWS.items():
        if row.published and row.published not in shown_of_paper:
            shown_of_paper.add(row.published)
            theirs = TABLE_1[row.published]
            cells = (f"{theirs[n][0]:.2f} ± {theirs[n][1]:g}" if n in theirs else "-" for n in counts)
            lines.append(f"| *{row.published} in the paper* | {' | '.join(cells)} | |")
        found = record["rows"].get(name, {})
        shown = [_cell(found.get(str(count), [])) for count in counts]
        seconds = [cell["cpu_seconds"] for cells in found.values() for cell in cells]
        time_taken = f"{min(seconds):.0f} to {max(seconds):.0f}" if seconds else ""
        lines.append(f"| {row.title} | {' | '.join(shown)} | {time_taken} |")
    return "\n".join(lines)


def _cell(cells: list[dict[str, Any]]) -> str:
    if not cells:
        return "not measured"
    errors = [cell["error"] for cell in cells]
    deviation = f" ± {statistics.stdev(errors):.2f}" if len(errors) > 1 else ""
    return f"{statistics.fmean(errors):.2f}{deviation} ({len(errors)})"


def shortfalls(record: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each mean error above its target."""
    for name, wanted in WANTED.items():
        for count, most in wanted.items():
            if cells := record["rows"].get(name, {}).get(str(count)):
                mean = statistics.fmean(cell["error"] for cell in cells)
                if mean > most:
                    yield f"{name} at {count} labels: {mean:.2f} % error, wanted are {most} % at most"


@click.command()
@click.option(
    "--row", "names", multiple=True, type=click.Choice(list(ROWS)), help="May be given again.  [default: all]"
)
@click.option(
    "--labels", multiple=True, type=int, help="May be given again.  [default: 100, 600, 1000, 3000]"
)
@click.option("--splits", type=click.IntRange(1), default=3, show_default=True, help="Choices of labels.")
@click.option("--only-split", type=click.IntRange(1), help="Measure this one: processes can share the work.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of choices and networks.")
@click.option("--steps", type=int, help="Steps of each network, in place of a method's own.")
@click.option("--dataset", default="mnist", show_default=True, help="Data set.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where its files lie.")
@click.option("--folder", type=click.Path(path_type=Path), default=FOLDER, help="Where cells are kept.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULT, help="Where the record goes.")
def main(
    names: tuple[str, ...],
    labels: tuple[int, ...],
    splits: int,
    only_split: int | None,
    seed: int,
    steps: int | None,
    dataset: str,
    data_dir: Path | None,
    folder: Path,
    output: Path,
) -> None:
    """Measure the requested cells, print the table of all known ones, and write the record."""
    data = DataConfig.of(dataset=dataset, data_dir=data_dir)
    bench = Bench(RunConfig.of(data=data, methods=("cnn",), steps=steps, seed=seed), folder)
    images = bench.dataset.train
    try:
        counts = resolve_label_counts(labels or "all", len(images), len(images.class_names))
    except UsageError as error:
        raise click.UsageError(str(error)) from None
    for split in range(splits) if only_split is None else (only_split - 1,):
        for name in names or ROWS:
            for count in counts:
                found = bench.measure(name, Cell(count, split))
                click.echo(
                    f"{name}, {count} labels, split {split + 1}: {found['error']:.2f} % error in "
                    f"{found['cpu_seconds']:.0f} CPU seconds",
                    err=True,
                )
    record = bench.record(tuple(sorted({*STANDARD_LABEL_COUNTS, *counts})), max(splits, only_split or 0))
    write_text(output, json.dumps(record, indent=1) + "\n")
    click.echo(render(record, tuple(sorted({*STANDARD_LABEL_COUNTS, *counts}))))
    click.echo(f"\nWritten to {output}")
    missed = list(shortfalls(record))
    for line in missed:
        click.echo(line, err=True)
    if missed:
        raise click.exceptions.Exit(1)


if __name__ == "__main__":
    main()
