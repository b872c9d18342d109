"""A sweep on a real cluster of two workers: all cells come, each once, also where a worker is killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from distributed import Client

from gpu_ssl.errors import DependencyError, UsageError
from gpu_ssl.records import Report
from gpu_ssl.runtime.progress import SILENT
from gpu_ssl.sweep import cluster
from gpu_ssl.sweep.spec import SweepCell, SweepSpec, sweep_cells
from gpu_ssl.sweep.summary import summarize
from gpu_ssl.sweep.work import finish_cell, read_cell
from tests.program import run_program, start_program

SPEC = """
datasets = ["digits"]
methods = ["m1", "graph"]
labels = [50]
seeds = [0, 1]
splits = 2
[[settings]]
name = "default"
train.epochs = 2
[[settings]]
name = "narrow"
model.latent_dim = 16
train.epochs = 2
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "spec.toml").write_text(SPEC)
    return folder


@pytest.fixture(scope="module")
def cells(root: Path) -> list[SweepCell]:
    return sweep_cells(SweepSpec.read(root / "spec.toml"), "cpu")


def program(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_program(root, "sweep", *arguments)


@pytest.fixture(scope="module")
def whole(root: Path) -> subprocess.CompletedProcess[str]:
    """All cells, by one worker."""
    done = program(root, "spec.toml", "--output", "whole", "--workers", "1", "--device", "cpu", "--json")
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def client(root: Path) -> Iterator[Client]:
    """Two workers, whose stderr is a file."""
    with ExitStack() as stack:
        before = os.dup(2)
        with (root / "stderr.txt").open("w") as file:
            os.dup2(file.fileno(), 2)
        try:
            client = stack.enter_context(cluster.connected("local", 2))
        finally:
            os.dup2(before, 2)
            os.close(before)
        yield client


def test_a_cell_that_fails_does_not_stop_the_others(
    root: Path, cells: list[SweepCell], client: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = cells[0].config.model_copy(
        update={"train": cells[0].config.train.model_copy(update={"learning_rate": 1e30})}
    )
    both = [SweepCell("broken", broken), cells[0]]
    failed = cluster.run(client, both, root / "broken", SILENT)
    assert "Traceback" not in capfd.readouterr().err + (root / "stderr.txt").read_text()
    assert list(failed) == [both[0].name]
    assert "not a finite number" in failed[both[0].name]
    assert list(cluster.reports(both, root / "broken")) == [cells[0]]


def test_methods_without_a_vae_train_none(client: Client, root: Path, tmp_path: Path) -> None:
    (tmp_path / "spec.toml").write_text(SPEC.replace('["m1", "graph"]', '["raw-svc"]'))
    cells = sweep_cells(SweepSpec.read(tmp_path / "spec.toml"), "cpu")
    assert cluster.run(client, cells, root / "pixels", SILENT) == {}
    assert len(cluster.reports(cells, root / "pixels")) == len(cells)
    assert not (root / "pixels" / "vaes").exists()


def test_two_sweeps_on_one_cluster_have_a_report_of_a_cell_each(
    root: Path, cells: list[SweepCell], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster does not do again what it has done under a key that somebody still holds."""
    held = []
    submit = client.submit
    monkeypatch.setattr(client, "submit", lambda *a, **how: held.append(submit(*a, **how)) or held[-1])
    for name in ("mine", "theirs"):
        assert cluster.run(client, cells[:1], root / name, SILENT) == {}
        assert list(cluster.reports(cells[:1], root / name)) == cells[:1]


def test_a_cell_without_a_report_has_failed(
    root: Path, cells: list[SweepCell], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a worker on another machine, whose disk is its own."""
    monkeypatch.setattr(cluster, "train_vae", lambda *_: None)
    monkeypatch.setattr(cluster, "finish_cell", lambda *_: None)
    (reason,) = cluster.run(client, cells[:1], root / "unseen", SILENT).values()
    assert "must see the folder" in reason


def test_a_killed_worker_costs_nothing_but_time(
    root: Path, cells: list[SweepCell], whole: subprocess.CompletedProcess[str], client: Client
) -> None:
    folder = root / "killed"
    assert len(cells) == 8
    pids = client.run(os.getpid)
    failed: dict[str, str] = {}
    running = threading.Thread(target=lambda: failed.update(cluster.run(client, cells, folder, SILENT)))
    running.start()
    deadline = time.monotonic() + 120
    while len(list(folder.glob("cells/*/report.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(next(iter(pids.values())), signal.SIGKILL)
    done = len(list(folder.glob("cells/*/report.json")))
    assert 2 <= done < 8
    running.join(200)
    assert not running.is_alive()
    assert set(client.run(os.getpid).values()) != set(pids.values())  # one took the place of the dead
    assert failed == {}
    found = cluster.reports(cells, folder)
    assert list(found) == cells
    record = summarize(found, failed)
    assert json.loads(whole.stdout) == json.loads(record.model_dump_json(by_alias=True))
    assert all(len(row.accuracies) == 2 * 2 for row in record.rows)
    assert len(record.rows) == 2 * (2 + 3)  # settings; methods and baselines


def test_a_second_start_does_nothing_and_says_the_same(
    root: Path, whole: subprocess.CompletedProcess[str]
) -> None:
    assert "gpu-ssl: 8 cells; watch them at http" in whole.stderr
    times = {path: path.stat().st_mtime_ns for path in root.glob("whole/*/*/*")}
    again = program(root, "spec.toml", "--output", "whole", "--device", "cpu")
    assert (again.returncode, again.stderr) == (0, "")
    assert "M1: SVM on VAE latents" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in root.glob("whole/*/*/*")} == times
    assert (root / "whole" / "sweep.png").stat().st_size > 10_000


def test_a_cluster_that_somebody_else_started_gives_the_same_table(
    root: Path, tmp_path: Path, whole: subprocess.CompletedProcess[str]
) -> None:
    """A scheduler and a worker as on several machines: processes in another folder, reached over TCP."""
    scheduler_file = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    address = ["--host", "127.0.0.1", "--no-dashboard"]
    started = [["scheduler", "--port", "0", *address]]
    started += [["worker", "--nthreads", "1", *address]]
    processes = []
    try:
        for command in started:
            place = ["--scheduler-file", str(scheduler_file)]
            processes.append(
                subprocess.Popen(
                    [*dask, *command, *place],
                    cwd=tmp_path,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        deadline = time.monotonic() + 60
        # It is there for a moment before it is written.
        while not (scheduler_file.exists() and "}" in scheduler_file.read_text()[-3:]):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        scheduler = json.loads(scheduler_file.read_text())["address"]
        assert scheduler.startswith("tcp://")
        arguments = ["--output", "elsewhere", "--cluster", scheduler, "--device", "cpu", "--json"]
        done = program(root, "spec.toml", *arguments)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == json.loads(whole.stdout)
        assert [process.poll() for process in processes] == [None] * 2  # they are not ours to end
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(20)


def test_ctrl_c_keeps_what_is_finished_and_the_same_command_goes_on(root: Path, client: Client) -> None:
    """It goes on with workers that are there already, which saves their start."""
    command = ("spec.toml", "--output", "stopped", "--device", "cpu")
    process = start_program(
        root, "sweep", *command, "--workers", "1", stdout=subprocess.PIPE, start_new_session=True
    )
    reports = root / "stopped" / "cells"
    deadline = time.monotonic() + 120
    while len(list(reports.glob("*/report.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    _, said = process.communicate(timeout=240)
    assert process.returncode == 130
    lines = [line for line in said.splitlines() if line]
    assert lines[-1] == "gpu-ssl: error: interrupted", said
    assert [line for line in lines[:-1] if not line.startswith("gpu-ssl: 8 cells; watch them at")] == [], said
    finished = {path: path.stat().st_mtime_ns for path in reports.glob("*/report.json")}
    assert 2 <= len(finished) < 8
    assert program(root, *command, "--cluster", client.scheduler.address).returncode == 0
    assert finished.items() <= {p: p.stat().st_mtime_ns for p in reports.glob("*/report.json")}.items()
    assert len(list(reports.glob("*/report.json"))) == 8


def test_changed_settings_under_an_old_name_are_refused(
    root: Path, whole: subprocess.CompletedProcess[str]
) -> None:
    (root / "changed.toml").write_text(SPEC.replace("latent_dim = 16", "latent_dim = 8"))
    done = program(root, "changed.toml", "--output", "whole", "--device", "cpu")
    assert done.returncode == 2
    assert "holds a cell of other settings" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_finished_cell_is_not_touched(root: Path, cells: list[SweepCell], whole: object) -> None:
    folder = root / "whole" / "cells" / cells[0].name
    before = (folder / "report.json").stat().st_mtime_ns
    finish_cell(cells[0].config, folder, root / "nowhere")
    assert (folder / "report.json").stat().st_mtime_ns == before
    assert read_cell(cells[0].config, folder) is not None


def test_a_baseline_that_is_a_method_counts_once_and_the_order_of_methods_costs_nothing(
    tmp_path: Path,
) -> None:
    """Baselines belong to the cells of the first method, whose predictions are not computed again."""

    def by_method(*names: str) -> dict[str, SweepCell]:
        text = f'datasets = ["digits"]\nmethods = {list(names)}\nlabels = [50]\nsplits = 3'
        (tmp_path / "spec.toml").write_text(f"{text}\n[[settings]]\ntrain.epochs = 1")
        cells = sweep_cells(SweepSpec.read(tmp_path / "spec.toml"), "cpu")
        return {cell.config.methods[0]: cell for cell in cells}

    def found(cells: dict[str, SweepCell]) -> dict[SweepCell, Report]:
        reports = {cell: read_cell(cell.config, tmp_path / cell.name) for cell in cells.values()}
        return {cell: report for cell, report in reports.items() if report is not None}

    cells = by_method("m1", "raw-svc")
    for cell in cells.values():
        assert finish_cell(cell.config, tmp_path / cell.name, tmp_path / "nowhere") is None
    assert {row.method: len(row.accuracies) for row in summarize(found(cells), {}).rows} == dict.fromkeys(
        ("m1", "raw-svc", "pca-svc", "rank-svc"), 3
    )
    before = found(cells)[cells["raw-svc"]]

    other = by_method("raw-svc", "m1")
    assert list(found(other)) == [other["m1"]]
    cell = other["raw-svc"]
    assert finish_cell(cell.config, tmp_path / cell.name, tmp_path / "nowhere") is None
    after = found(other)[cell]
    assert after.results[0] == before.results[0]  # with the seconds of then
    assert len(after.results) == 3


def test_workers_of_another_cluster_are_refused() -> None:
    with (
        pytest.raises(UsageError, match="`workers=2`: only `cluster=local` takes it"),
        cluster.connected("cuda", 2),
    ):
        raise AssertionError


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("nearby", UsageError, "allowed are local, cuda and tcp"),
        ("cuda", DependencyError, "pip install dask_cuda"),
    ],
)
def test_a_cluster_that_is_not_there_is_told(name: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words), cluster.connected(name):
        raise AssertionError
