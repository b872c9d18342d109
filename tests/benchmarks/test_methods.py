"""The benchmark of methods: it resumes, keeps other cases, and says what falls short."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import methods
from tests.report.test_report import REPORT, result


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--dataset", "digits", "--epochs", "1", "--labels", "20", "--splits", "2", "--no-plots")
    monkeypatch.setattr(methods, "CASES", {"digits": (*options, "--method", "m1,graph")})
    monkeypatch.setattr(methods, "WANTED", {"digits": {"m1": {20: 30.0}, "graph": {20: 100.5}}})


def test_a_case_is_run_once_and_its_record_kept_beside_others(small: None, tmp_path: Path) -> None:
    output = tmp_path / "methods.json"
    output.write_text('{"another": 1}')
    arguments = ["--jobs", "1", "--folder", str(tmp_path / "runs"), "--output", str(output)]
    for _ in range(2):
        done = CliRunner().invoke(methods.main, arguments)
        assert done.exit_code == 1, done.output
        assert "graph at 20 labels reaches" in done.output
        assert "m1 at 20 labels reaches" not in done.output
    record = json.loads(output.read_text())
    assert record["another"] == 1
    assert [r["method"] for r in record["digits"]["results"][:2]] == ["m1", "graph"]
    assert "data_dir" not in record["digits"]["config"]["data"]
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_only_what_is_below_the_mark_falls_short() -> None:
    results = tuple(
        result(method, labels, wanted / 100, wanted / 100)
        for method, by_count in methods.WANTED["fashion-mnist"].items()
        for labels, wanted in by_count.items()
    )
    report = REPORT.model_copy(update={"results": results})
    assert methods.shortfalls("fashion-mnist", report) == []
    lower = REPORT.model_copy(update={"results": (result("m1", 100, 0.7749), *results[1:])})
    (line,) = methods.shortfalls("fashion-mnist", lower)
    assert line == "fashion-mnist: m1 at 100 labels reaches 77.49 %, wanted are 77.5 %"
