"""The benchmark of the paper's table: it measures a cell once, and says what was not measured."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from benchmarks import paper
from benchmarks.paper import Row, render, shortfalls


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Baselines replace methods that take minutes."""
    monkeypatch.setattr(
        paper,
        "ROWS",
        {"raw": Row("an SVM on pixels", "raw-svc", "paper", "M2"), "pca": Row("an SVM on PCA", "pca-svc")},
    )


def measure(folder: Path, *arguments: str) -> Result:
    output = str(folder / "paper.json")
    fixed = ("--dataset", "digits", "--folder", str(folder), "--output", output)
    return CliRunner().invoke(paper.main, [*fixed, *arguments])


def test_every_cell_is_measured_once_and_goes_into_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = measure(tmp_path, "--labels", "100", "--splits", "2")
    assert first.exit_code == 0, first.output
    record = json.loads((tmp_path / "paper.json").read_text(encoding="utf-8"))
    cells = record["rows"]["raw"]["100"]
    assert [cell["split"] for cell in cells] == [0, 1]
    assert all(2 < cell["error"] < 20 and cell["seconds"] > 0 for cell in cells)
    assert cells[0]["error"] != cells[1]["error"]
    assert "| *M2 in the paper* | 11.97 ± 1.71 | 4.94 ± 0.13 | 3.60 ± 0.56 | 3.92 ± 0.63 | |" in first.output
    assert f"| an SVM on pixels | {(cells[0]['error'] + cells[1]['error']) / 2:.2f} ± " in first.output
    assert first.output.count("not measured") == 6

    def refuse(*_: object) -> None:
        raise AssertionError("a cell was measured again")

    monkeypatch.setattr(paper, "fit_method", refuse)
    again = measure(tmp_path, "--labels", "100", "--splits", "2")
    assert again.exit_code == 0, again.output
    assert json.loads((tmp_path / "paper.json").read_text(encoding="utf-8"))["rows"] == record["rows"]


def test_a_cell_of_other_settings_is_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert measure(tmp_path, "--labels", "50", "--splits", "1").exit_code == 0
    bench = paper.Bench(paper.RunConfig(data=paper.DataConfig(dataset="digits"), methods=("cnn",)), tmp_path)
    cell = paper.Cell(50, 0)
    known = bench.known("raw", cell)
    assert known is not None
    path = bench.path("raw", cell)
    stored = json.loads(path.read_text(encoding="utf-8"))
    stored["origin"]["torch"] = "0.1"
    path.write_text(json.dumps(stored), encoding="utf-8")
    assert bench.known("raw", cell) is None
    assert bench.measure("raw", cell)["error"] == known["error"]
    monkeypatch.setattr(paper, "OF_LATENTS", None)  # another recipe
    assert bench.known("raw", cell) is None
    path.write_text("{", encoding="utf-8")
    assert bench.known("raw", cell) is None


def test_a_split_beyond_the_usual_ones_is_in_the_record(tmp_path: Path) -> None:
    found = measure(tmp_path, "--labels", "50", "--splits", "1", "--only-split", "3")
    assert found.exit_code == 0, found.output
    record = json.loads((tmp_path / "paper.json").read_text(encoding="utf-8"))
    assert [cell["split"] for cell in record["rows"]["pca"]["50"]] == [2]


def test_too_few_labels_are_refused(tmp_path: Path) -> None:
    found = measure(tmp_path, "--labels", "5")
    assert found.exit_code == 2
    assert "10 classes" in found.output


def test_an_error_above_what_is_wanted_is_named() -> None:
    cells = [{"split": 0, "error": 3.0, "cpu_seconds": 9.0}, {"split": 1, "error": 5.0, "cpu_seconds": 8.0}]
    record = {"rows": {"m1m2": {"100": cells, "600": [{"split": 0, "error": 2.5, "cpu_seconds": 9.0}]}}}
    assert list(shortfalls(record)) == ["m1m2 at 100 labels: 4.00 % error, wanted are 3.8 % at most"]
    assert "an SVM on pixels | not measured | not measured |" in render(record, (100, 600))
