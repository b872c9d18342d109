"""From an unlabelled folder to 90 % on it: a session of ``gpu-ssl label`` in which an oracle answers.

    python -m benchmarks.labelling

Writes 5,000 training images of Fashion-MNIST as PNG files and labels 24 at a time, as the page shows them,
until 90 % of the folder are correct: the labelled images, and the model's predictions of the others. The same
with random images for comparison. Prints the number of labels, the accuracies after each page and the compute
time, and writes ``benchmarks/results/labelling.json``. Labels of other images are read only to score; no test
image is read.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gpu_ssl.config import DataConfig, FitConfig
from gpu_ssl.data.loading import load_dataset
from gpu_ssl.data.own import OwnImages, load_own, with_labels
from gpu_ssl.fitted.fitting import Fit
from gpu_ssl.label.session import Session
from gpu_ssl.runtime.environment import describe_environment

RESULT = Path(__file__).parent / "results" / "labelling.json"
IMAGES, AT_ONCE, WANTED = 5_000, 24, 0.9
MOST = 3_000
"""Maximum number of labels of a session."""


def write_folder(folder: Path, seed: int) -> list[str]:
    """Write the images, and return their classes in the order of their names."""
    train = load_dataset(DataConfig()).train
    rows = np.random.default_rng(seed).permutation(len(train))[:IMAGES]
    for i, row in enumerate(rows):
        Image.fromarray(train.images[row][0]).save(folder / f"{i:05d}.png")
    return [train.class_names[code] for code in train.labels[rows].tolist()]


def nothing(fitted: Fit, images: OwnImages) -> Path:
    """Write no model."""
    return Path()


def wait(session: Session, labels: int) -> None:
    """Wait until a model of all labels has suggested the next images."""
    status = session.learner.status
    while status.labels != labels or status.working or status.training:
        if status.problem:
            raise click.ClickException(status.problem)
        time.sleep(0.05)


def hold(folder: Path, truth: list[str], by_page: bool, seed: int) -> dict[str, Any]:
    """Run a session, and return the number of labels and the accuracy after each page."""
    started, computing = time.monotonic(), time.process_time()
    images = with_labels(load_own(folder), {})
    order: list[int] = np.random.default_rng(seed).permutation(len(images)).tolist()
    with tempfile.TemporaryDirectory() as place:
        config = FitConfig(device="cpu", seed=seed)
        session = Session(images, folder, Path(place) / "labels.csv", (), config, nothing)
        session.learner.start()
        labels: list[int] = []
        right: list[float] = []
        try:
            while (
                session.learner.status.beginning
                or session.learner.status.working
                or session.learner.status.training
            ):
                time.sleep(0.05)
            while not right or (right[-1] < WANTED and labels[-1] < MOST):
                if by_page:
                    rows = [image["number"] for image in session.next(AT_ONCE, "oracle")]
                else:
                    rows, order = order[:AT_ONCE], order[AT_ONCE:]
                session.label("oracle", {row: truth[row] for row in rows})
                said = session.said()
                if len(set(said.values())) < 2:
                    continue
                wait(session, len(said))
                labels.append(len(said))
                right.append(share_right(session, said, truth))
        finally:
            session.learner.stop()
    return {
        "labels": labels,
        "right": right,
        "seconds": round(time.monotonic() - started, 1),
        "computing": round(time.process_time() - computing, 1),
    }


def share_right(session: Session, said: dict[int, str], truth: list[str]) -> float:
    """Return the share of all images that is correct, by the oracle or by the model."""
    others: NDArray[np.int64] = np.setdiff1d(np.arange(len(truth)), list(said))
    predictions = session.learner.predictions(others)
    named = [name for name, _ in predictions]
    hits = sum(int(name == truth[row]) for name, row in zip(named, others.tolist(), strict=True))
    return (len(said) + hits) / len(truth)


@click.command()
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=RESULT)
def main(seeds: int, output: Path) -> None:
    """Run sessions, print and write the results."""
    record: dict[str, Any] = {"environment": describe_environment(), "sessions": {"page": [], "random": []}}
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as place:
            truth = write_folder(Path(place), seed)
            for name in record["sessions"]:
                held = hold(Path(place), truth, name == "page", seed)
                record["sessions"][name].append(held)
                click.echo(
                    f"seed {seed}, {name}: {held['labels'][-1]} labels to {100 * held['right'][-1]:.1f} %, "
                    f"{held['computing'] / 60:.1f} minutes of computing"
                )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    needed = [held["labels"][-1] for held in record["sessions"]["page"]]
    if any(one >= two["labels"][-1] for one, two in zip(needed, record["sessions"]["random"], strict=True)):
        raise click.ClickException("the page needs no fewer labels than random choice")


if __name__ == "__main__":
    main()
