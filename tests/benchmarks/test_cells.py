"""The benchmark of fits at once measures what it says, and fails where predictions differ."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import cells
from gpu_ssl.data.image_set import Dataset


@pytest.fixture
def latents(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = (
        part.images.reshape(len(part), -1).astype(np.float32) / 255 for part in (digits.train, digits.test)
    )
    monkeypatch.setattr(cells, "make_latents", lambda device: (train, test, digits.train.labels))


def run(folder: Path) -> tuple[int, str, dict[str, Any]]:
    output = folder / "cells.json"
    options = ["--labels", "50,200", "--splits", "2", "--repeats", "2", "--output", str(output)]
    done = CliRunner().invoke(cells.main, options)
    return done.exit_code, done.output, json.loads(output.read_text())


@pytest.mark.usefixtures("latents")
def test_every_solver_fits_every_split_and_agrees_with_scikit_learn(tmp_path: Path) -> None:
    code, told, record = run(tmp_path)
    assert code == 0, told
    assert [case["labels"] for case in record["cases"]] == [50, 200]
    for case in record["cases"]:
        assert set(case["results"]) == {"scikit-learn", "batched"}
        for result in case["results"].values():
            assert len(result["seconds"]) == len(result["agreement"]) == 2
            assert min(result["seconds"]) > 0
            assert min(result["agreement"]) > 0.999
        iterations = [result["median_iterations"] for result in case["results"].values()]
        assert iterations[0] == pytest.approx(iterations[1], rel=0.1)


@pytest.mark.usefixtures("latents")
def test_a_solver_that_decides_otherwise_fails_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    honest = cells.fit_all

    def spoiled(backend: Any, tasks: Any) -> Any:
        if backend.name == "batched":
            tasks = [task._replace(labels=np.roll(task.labels, 1)) for task in tasks]
        return honest(backend, tasks)

    monkeypatch.setattr(cells, "fit_all", spoiled)
    code, told, record = run(tmp_path)
    assert code == 1
    assert "as scikit-learn does" in told
    assert len(record["cases"]) == 2  # what was measured is written all the same
