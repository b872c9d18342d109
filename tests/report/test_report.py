"""The printed report: cells, the best in bold, and published figures marked."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from gpu_ssl.cli.run import _print_report
from gpu_ssl.config import RunConfig
from gpu_ssl.errors import StorageError, UsageError
from gpu_ssl.records import (
    Choice,
    DatasetRecord,
    EpochLosses,
    Published,
    Report,
    Result,
    Timings,
    TrainingRecord,
)
from gpu_ssl.report import writing
from gpu_ssl.report.table import accuracy_cell, accuracy_table, render, split_line
from gpu_ssl.runtime import state


def result(method: str, labels: int, *accuracies: float) -> Result:
    mean = sum(accuracies) / len(accuracies)
    return Result(
        method=method,
        labels=labels,
        splits=len(accuracies),
        accuracy_mean=mean,
        accuracy_std=0.01 if len(accuracies) > 1 else None,
        accuracies=accuracies,
        seconds=(2.0,) * len(accuracies),
    )


REPORT = Report(
    gpu_ssl="0",
    started="2026-01-01T00:00:00+00:00",
    config={},
    environment={},
    dataset=DatasetRecord(
        name="x", sha256="0", n_train=60_000, n_test=10_000, image_shape=(1, 2, 3), classes=("a", "b")
    ),
    device=Choice(requested="auto", used="cpu", reason="no driver"),
    svm=Choice(requested="auto", used="sklearn", reason="on the CPU"),
    training=TrainingRecord(
        epochs=1,
        steps=1,
        parameters=1,
        precision="float32",
        augment=True,
        mirror=False,
        history=(EpochLosses(epoch=1, reconstruction=1.0, kl=1.0, seconds=1.0),),
    ),
    results=(
        result("m1", 100, 0.75, 0.77),
        result("m1", 60_000, 0.88),
        result("raw-svc", 100, 0.70, 0.71),
        result("raw-svc", 60_000, 0.89),
    ),
    published=(Published(name="somebody", labels=100, accuracy=0.7025, source="a paper"),),
    timings=Timings.of({"load": 1, "train": 2, "encode": 3, "fit": 4, "score": 5}, total=16),
)


def text_of(renderable: object) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(renderable)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_cells_show_percent_and_a_deviation_only_where_there_is_one() -> None:
    assert accuracy_cell(REPORT.results[0]) == "76.00 ± 1.00"
    assert accuracy_cell(REPORT.results[1]) == "88.00"


def test_the_best_of_each_column_is_bold() -> None:
    table = accuracy_table(REPORT)
    bold = [
        [str(cell) for cell in column.cells if getattr(cell, "style", "") == "bold"]
        for column in table.wide.columns
    ]
    assert bold == [[], ["76.00 ± 1.00"], ["89.00"]]


def test_figures_of_others_are_told_apart() -> None:
    text = text_of(accuracy_table(REPORT))
    (line,) = [line for line in text.splitlines() if "somebody" in line]
    assert "not measured here" in line
    assert "70.25" in line
    assert line.rstrip(" │").endswith("-")


def test_device_backend_reasons_and_times_are_shown() -> None:
    text = text_of(render(REPORT))
    assert "device: cpu (no driver)" in text
    assert "svm: sklearn (on the CPU)" in text
    assert "train 2.00" in text
    assert "total 16.0" in text
    assert "upload" not in text


def test_lines_are_whole_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """What searches for a line finds all of it."""
    reason = "graph 93.1 % correct, " * 20
    results = (REPORT.results[0].model_copy(update={"reasons": (reason, reason)}), *REPORT.results[1:])
    _print_report(REPORT.model_copy(update={"results": results}), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert f"m1, 100 labels, split 1: {reason}" in lines


def test_a_report_comes_back_from_its_json(tmp_path: Path) -> None:
    assert writing.read_report(tmp_path) is None
    for report in (REPORT, REPORT.model_copy(update={"training": None})):
        state.save(tmp_path / "report.json", writing.REPORT_KIND, report)
        assert writing.read_report(tmp_path) == report
    (tmp_path / "report.json").write_text(REPORT.to_json()[:-20])
    with pytest.raises(StorageError, match=r"report\.json"):
        writing.read_report(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[" * 10_000, "{}", RunConfig().model_dump_json()])
def test_settings_of_no_use_are_told_in_one_line_with_what_to_delete(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UsageError, match=r"config\.json.* delete the folder") as caught:
        writing.read_config(tmp_path)
    assert "\n" not in str(caught.value)


def test_settings_that_name_fewer_are_of_another_version(tmp_path: Path) -> None:
    told = {"kind": "gpu-ssl settings of a run", "schema": 1, **RunConfig().model_dump(mode="json")}
    told.pop("splits")
    (tmp_path / "config.json").write_text(json.dumps({**told, "sha256": state.digest_of(told)}))
    with pytest.raises(UsageError, match=r"not of this version: splits"):
        writing.read_config(tmp_path)


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    config = RunConfig(seed=3)
    writing.claim_folder(tmp_path / "new" / "run", config)
    assert writing.read_config(tmp_path / "new" / "run") == config
    with pytest.raises(UsageError, match="`resume`"):
        writing.claim_folder(tmp_path / "new" / "run", config)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".config-0123456789ab.json").write_text("{")  # of a killed process
    writing.claim_folder(tmp_path / "empty", config)
    assert [path.name for path in (tmp_path / "empty").iterdir()] == ["config.json"]


def test_a_claim_is_undone_only_where_nothing_was_added(tmp_path: Path) -> None:
    writing.claim_folder(tmp_path / "a", RunConfig())
    writing.release_folder(tmp_path / "a")
    assert not (tmp_path / "a").exists()
    writing.claim_folder(tmp_path / "b", RunConfig())
    (tmp_path / "b" / "checkpoint.json").write_text("")
    writing.release_folder(tmp_path / "b")
    assert (tmp_path / "b" / "config.json").exists()


def test_seconds_say_how_many_splits_shared_the_cores() -> None:
    assert split_line(REPORT).startswith("Seconds per split: ")
    assert split_line(REPORT.model_copy(update={"jobs": 2})).startswith("Seconds per split (2 at a time): ")
