"""Notes of ``gpu-ssl fit`` on labels: wrong ones, near duplicates, and classes that are not validated."""

import csv
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from gpu_ssl.data.image_set import Dataset
from tests.cli.test_fit import program

N, COPIES, WRONG = 200, 20, 8


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> subprocess.CompletedProcess[str]:
    """A fit to digits with 200 labels, some of them wrong, more for near duplicates of some, and one 9."""
    root = tmp_path_factory.mktemp("estimate")
    images, labels = digits.train.images, digits.train.labels
    few = np.flatnonzero(labels < 9)[:N]
    copies = np.clip(images[few[-COPIES:]].astype(int) + 3, 0, 255).astype(np.uint8)
    np.save(root / "digits.npy", np.concatenate([images, copies])[:, 0])
    given = {int(row): int(labels[row]) for row in few}
    for row in few[:WRONG]:
        given[int(row)] = (given[int(row)] + 4) % 9
    given |= {len(images) + i: int(labels[row]) for i, row in enumerate(few[-COPIES:])}
    given[int(np.flatnonzero(labels == 9)[0])] = 9
    lines = [f"{row},{label}" for row, label in given.items()]
    (root / "labels.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    (root / "wrong.json").write_text(json.dumps(few[:WRONG].tolist()))
    command = ("fit", "digits.npy", "--labels", "labels.csv", "--output", "model", "--no-mirror", "--json")
    ended = program(root, *command, "--method", "m1", "--device", "cpu")
    ended.args = root
    return ended


def test_each_kind_is_one_line(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    record = json.loads(done.stdout)
    wrong = next(line for line in lines if "wrong" in line)
    assert wrong == f"gpu-ssl: {record['suspects']} labels look wrong: see model/suspect-labels.csv"
    assert (
        "gpu-ssl: class 9 has a single label and is not judged; the accuracy is that of the others" in lines
    )
    near = next(line for line in lines if "labelled images are near duplicates" in line)
    assert near.startswith(f"gpu-ssl: {record['near_copies']} of {N + COPIES + 1} labelled images are near")
    assert 2 * COPIES <= record["near_copies"] < 3 * COPIES


def test_the_record_and_the_files_say_the_same(done: subprocess.CompletedProcess[str]) -> None:
    folder: Path = done.args / "model"
    estimate = json.loads(done.stdout)["estimate"]
    assert estimate["not_judged"] == ["9"]
    assert estimate["of"] == N + COPIES
    assert N - 20 < estimate["independent"] < N
    confusion = json.loads((folder / "confusion.json").read_text())
    matrix = np.array(confusion["true_by_predicted"])
    assert confusion["classes"] == list("0123456789")
    assert (matrix.sum(), np.trace(matrix)) == (estimate["of"], estimate["right"])
    assert {(i, j): n for i, j, n in estimate["confusion"]} == {
        (i, j): n for (i, j), n in np.ndenumerate(matrix) if n
    }
    assert (folder / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert f"| 3 | {estimate['classes'][3]['support']} |" in (folder / "README.md").read_text()


def test_wrong_labels_are_listed_by_the_names_of_their_images(
    done: subprocess.CompletedProcess[str], digits: Dataset
) -> None:
    with (done.args / "model" / "suspect-labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    wrong = json.loads((done.args / "wrong.json").read_text())
    found = [int(row["path"]) for row in rows]
    assert len(set(found) & set(wrong)) >= WRONG / 2
    for row in rows:
        if int(row["path"]) in wrong:
            true = digits.train.labels[int(row["path"])]
            assert row["label"] == str((true + 4) % 9)
            assert row["suggested"] == str(true)
            assert 0 < float(row["confidence"]) <= 1
