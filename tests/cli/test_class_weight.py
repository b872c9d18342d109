"""``--class-weight`` reaches the SVM of fit and run, and is refused without one."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpu_ssl.data.image_set import Dataset
from tests.program import run_program

COMMAND = ("fit", "photos", "--labels", "labels.csv", "--no-mirror", "--epochs", "1", "--device", "cpu", "-q")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Path:
    """60 labelled digits, most of them zeros."""
    root = tmp_path_factory.mktemp("weights")
    (root / "photos").mkdir()
    labels = digits.train.labels
    rows = np.concatenate([np.flatnonzero(labels == k)[: 42 if k == 0 else 2] for k in range(10)])
    for i in rows:
        Image.fromarray(digits.train.images[i, 0]).save(root / "photos" / f"{i}.png")
    lines = [f"{i}.png,digit {labels[i]}" for i in rows]
    (root / "labels.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    return root


def test_fit_takes_it_and_records_it(home: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(home / "cache")}
    for weight in ("balanced", "none"):
        done = run_program(
            home,
            *(*COMMAND, "--method", "svm", "--encoder", "pixels", "--class-weight", weight),
            *("--svm-c", "0.1", "--output", weight),
            environment=environment,
        )
        assert done.returncode == 0, done.stderr
        record = json.loads((home / weight / "model.json").read_text())
        assert record["config"]["svm"]["class_weight"] == weight
    right = [
        json.loads((home / name / "model.json").read_text())["estimate"]["macro_f1"]
        for name in ("balanced", "none")
    ]
    assert right[0] > right[1] + 0.2


def test_methods_without_an_svm_refuse_it_before_anything_is_read(home: Path) -> None:
    done = run_program(home, *COMMAND, "--method", "graph", "--class-weight", "balanced", "--output", "other")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "--method 'graph'" in line
    assert "--class-weight balanced" in line
    assert not (home / "other").exists()
