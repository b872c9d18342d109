"""``--track``: the real MLflow, TensorBoard and Weights & Biases hold what the records say."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from sklearn.datasets import load_digits
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gpu_ssl import catalog
from gpu_ssl.errors import UsageError
from gpu_ssl.records import CURVE_STEPS, Report
from gpu_ssl.runtime.optional import install_advice
from gpu_ssl.tracking.sending import send_run
from gpu_ssl.tracking.tracker import TrackedRun
from gpu_ssl.tracking.trackers import Trackers, tracked
from tests.program import run_program
from tests.report.test_report import REPORT
from tests.tracking.wandb_file import records

QUICK = ("--dataset", "digits", "--method", "m1,cnn", "--epochs", "2", "--labels", "50", "--splits", "1")
FEW = ("--steps", "100", "--no-baselines", "--jobs", "1")
ALL = tuple(word for spec in catalog.TRACKERS for word in ("--track", spec.name))
NO_RETRY = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
OWN = {"WANDB_MODE": "offline", "WANDB_API_KEY": "", "MLFLOW_TRACKING_URI": "sqlite:///store.db"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a run was sent to every tracker."""
    folder = tmp_path_factory.mktemp("tracked")
    done = run_program(folder, "run", *QUICK, *FEW, "--output", "out", *ALL, environment=OWN)
    assert done.returncode == 0, done.stderr
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == [
        f"sent to {spec.name}" for spec in catalog.TRACKERS
    ]
    return folder


@pytest.fixture(scope="module")
def report(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "out" / "report.json").read_text())
    return found


def accuracies(report: dict[str, Any]) -> dict[str, float]:
    return {
        f"accuracy/{own['method']}/{own['labels']}-labels": own["accuracy_mean"] for own in report["results"]
    }


def only_run(client: MlflowClient) -> Run:
    (run,) = client.search_runs([client.get_experiment_by_name("gpu-ssl").experiment_id])
    return run


def test_mlflow_has_settings_metrics_curves_and_files(root: Path, report: dict[str, Any]) -> None:
    client = MlflowClient(f"sqlite:///{root / 'store.db'}")
    run = only_run(client)
    assert (run.info.run_name, run.info.status) == ("out", "FINISHED")
    assert run.data.params["config.methods"] == "m1, cnn"
    assert run.data.params["config.data.dataset"] == "digits"
    assert run.data.params["dataset.sha256"] == report["dataset"]["sha256"]
    assert run.data.params["environment.versions.torch"] == report["environment"]["versions"]["torch"]
    assert accuracies(report).items() <= run.data.metrics.items()
    assert run.data.metrics["seconds/total"] == report["timings"]["total"]
    kl = client.get_metric_history(run.info.run_id, "kl/vae")
    assert [(own.step, own.value) for own in kl] == [
        (own["epoch"], own["kl"]) for own in report["training"]["history"]
    ]
    loss = client.get_metric_history(run.info.run_id, "loss/vae")
    assert [own.value for own in loss] == [v for own in report["training"]["history"] for v in own["curve"]]
    assert loss[-1].step == report["training"]["steps"]
    cnn = next(own for own in report["results"] if own["method"] == "cnn")
    curve = client.get_metric_history(run.info.run_id, "loss/cnn/50-labels/split-1")
    assert [(own.step, own.value) for own in curve] == [
        (CURVE_STEPS * (i + 1), value) for i, value in enumerate(cnn["curves"][0])
    ]
    files = {own.path for own in client.list_artifacts(run.info.run_id)}
    assert files == {"report.html", "report.json", "plots"}
    plots = {own.path for own in client.list_artifacts(run.info.run_id, "plots")}
    assert plots == {f"plots/{path.name}" for path in (root / "out" / "plots").iterdir()}


def test_tensorboard_reads_curves_figures_and_hyperparameters(root: Path, report: dict[str, Any]) -> None:
    events = EventAccumulator(str(root / "out" / "tensorboard")).Reload()
    tags = events.Tags()
    assert accuracies(report).keys() <= set(tags["scalars"])
    for name, value in accuracies(report).items():
        assert events.Scalars(name)[0].value == pytest.approx(value)
    kl = [(own.step, own.value) for own in events.Scalars("kl/vae")]
    assert kl == [(own["epoch"], pytest.approx(own["kl"])) for own in report["training"]["history"]]
    assert len(events.Scalars("loss/vae")) > 10
    assert {f"plots/{path.stem}" for path in (root / "out" / "plots").iterdir()} == set(tags["images"])
    assert events.Images("plots/accuracy")[0].width > 500
    assert b"config.methods" in events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content


def test_weights_and_biases_keeps_all_without_a_server(root: Path, report: dict[str, Any]) -> None:
    (path,) = root.glob("wandb/offline-run-*/run-*.wandb")
    told = list(records(path))
    run = next(own.run for own in told if own.WhichOneof("record_type") == "run")
    assert (run.project, run.display_name) == ("gpu-ssl", "out")
    config = {item.key: item.value_json for own in told for item in own.config.update}
    config |= {item.key: item.value_json for own in told for item in own.run.config.update}
    assert json.loads(config["config.methods"]) == "m1, cnn"
    summary = {item.key or item.nested_key[0]: item.value_json for own in told for item in own.summary.update}
    for name, value in accuracies(report).items():
        assert json.loads(summary[name]) == value
    rows = [{i.key or i.nested_key[0]: i.value_json for i in own.history.item} for own in told]
    kl = [(json.loads(own["epoch"]), json.loads(own["kl/vae"])) for own in rows if "kl/vae" in own]
    assert kl == [(own["epoch"], own["kl"]) for own in report["training"]["history"]]
    files = {entry.path for own in told for entry in own.request.log_artifact.artifact.manifest.contents}
    files |= {entry.path for own in told for entry in own.artifact.manifest.contents}
    assert files == {"report.html", "report.json"}
    assert len(list(root.glob("wandb/offline-run-*/files/media/images/plots/*.png"))) == len(
        list((root / "out" / "plots").iterdir())
    )


def test_a_finished_run_is_sent_later_and_tensorboard_has_it_once(root: Path) -> None:
    before = EventAccumulator(str(root / "out" / "tensorboard")).Reload().Tags()["scalars"]
    done = run_program(root, "run", "--resume", "out", "--track", "tensorboard")
    assert done.returncode == 0, done.stderr
    events = EventAccumulator(str(root / "out" / "tensorboard")).Reload()
    assert events.Tags()["scalars"] == before
    assert len(events.Scalars("kl/vae")) == 2


def test_a_fit_sends_its_estimate_and_what_people_read(tmp_path: Path) -> None:
    digits = load_digits()
    np.savez(
        tmp_path / "digits.npz",
        images=digits.images,
        labels=np.where(np.arange(1797) < 100, digits.target, -1),
    )
    arguments = ("fit", "digits.npz", "--output", "model", "--epochs", "1", "--no-mirror", "--method", "m1")
    own = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_TRACKING_URI": f"file:{tmp_path / 'mlruns'}"}
    track = ("--track", "mlflow", "--track", "tensorboard", "--json")
    done = run_program(tmp_path, *arguments, *track, environment=own)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    client = MlflowClient(own["MLFLOW_TRACKING_URI"])
    run = only_run(client)
    estimate = record["estimate"]
    assert run.data.metrics["accuracy"] == estimate["right"] / estimate["of"]
    assert run.data.metrics["accuracy_low"] == estimate["low"]
    assert run.data.params["chosen.method"] == "m1"
    assert run.data.params["encoder"] == "vae"
    assert [own.step for own in client.get_metric_history(run.info.run_id, "kl/vae")] == [1]
    files = {own.path for own in client.list_artifacts(run.info.run_id)}
    assert files == {"report.html", "model.json", "README.md", "plots"}
    events = EventAccumulator(str(tmp_path / "model" / "tensorboard")).Reload()
    assert set(events.Tags()["images"]) == {"plots/confusion", "plots/reliability"}
    assert run_program(tmp_path, "predict", "model", "digits.npz").returncode == 0


def test_a_sweep_and_each_of_its_cells_is_a_run(tmp_path: Path) -> None:
    (tmp_path / "spec.toml").write_text(
        'datasets = ["digits"]\nlabels = [50, 100]\nsplits = 2\n[[settings]]\ntrain.epochs = 1\n'
    )
    own = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_TRACKING_URI": f"file:{tmp_path / 'mlruns'}"}
    arguments = ("sweep", "spec.toml", "--output", "out", "--workers", "1", "-q", "--track", "mlflow")
    done = run_program(tmp_path, *arguments, environment=own)
    assert done.returncode == 0, done.stderr
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    client = MlflowClient(own["MLFLOW_TRACKING_URI"])
    runs = client.search_runs([client.get_experiment_by_name("gpu-ssl").experiment_id])
    by_name = {run.info.run_name: run for run in runs}
    cells = {f"digits-default-seed-0-m1-{count}-labels" for count in (50, 100)}
    assert set(by_name) == {"out", *cells}
    assert {by_name[name].data.tags["group"] for name in cells} == {"out"}
    for count in (50, 100):
        cell = by_name[f"digits-default-seed-0-m1-{count}-labels"].data.metrics[f"accuracy/m1/{count}-labels"]
        assert by_name["out"].data.metrics[f"accuracy/digits/default/m1/{count}-labels"] == cell
    assert {own.path for own in client.list_artifacts(by_name["out"].info.run_id)} == {"plots", "sweep.json"}


@pytest.mark.parametrize("spec", catalog.TRACKERS, ids=lambda spec: spec.name)
def test_without_its_package_the_extra_is_named(
    spec: catalog.TrackerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, spec.package, None)
    with pytest.raises(UsageError, match="which is not installed") as caught:
        Trackers(TrackedRun("x", Path("x")), [spec.name])
    assert str(caught.value).endswith(f"{install_advice(spec.name)}")


def test_without_its_package_no_work_is_begun(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['wandb'] = None; from gpu_ssl.cli import entry_point; "
        f"entry_point(['run', *{QUICK}, '--output', 'out', '--track', 'wandb'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"gpu-ssl: error: --track wandb needs wandb, which is not installed; {install_advice('wandb')}\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "own", "words"),
    [
        (
            "mlflow",
            {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"},
            "9",
        ),
        ("mlflow", {"MLFLOW_TRACKING_URI": "nonsense://x"}, "nonsense"),
        ("wandb", {"WANDB_MODE": "online", "WANDB_API_KEY": "", "HOME": "."}, "wandb login"),
        ("wandb", {"WANDB_MODE": "sometimes"}, "sometimes"),
    ],
)
def test_what_cannot_begin_is_one_line_before_any_work(
    name: str, own: dict[str, str], words: str, tmp_path: Path
) -> None:
    arguments = (*QUICK, "--output", "out", "--track", "tensorboard", "--track", name)
    done = run_program(tmp_path, "run", *arguments, environment=own)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"gpu-ssl: error: --track {name}: ")
    assert words in line
    assert not (tmp_path / "out").exists()


def of_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """Let MLflow use a folder, and return a client of it."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'mlruns'}")
    return MlflowClient(f"file:{tmp_path / 'mlruns'}")


def test_a_tracker_that_fails_costs_one_warning_and_no_other_tracker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    of_folder(tmp_path, monkeypatch)
    said: list[str] = []
    with tracked(TrackedRun("one", tmp_path / "one"), ["mlflow", "tensorboard"], said.append) as trackers:
        shutil.rmtree(tmp_path / "mlruns")
        send_run(trackers, REPORT, tmp_path / "one")
    (warning,) = [record.getMessage() for record in caplog.records if record.name.startswith("gpu_ssl")]
    assert warning.startswith("gpu-ssl: warning: mlflow failed (")
    assert str(tmp_path / "one") in warning
    assert trackers.names == ("tensorboard",)
    assert said == [f"sent to tensorboard: {tmp_path / 'one' / 'tensorboard'}"]
    events = EventAccumulator(str(tmp_path / "one" / "tensorboard")).Reload()
    assert events.Scalars("accuracy/m1/100-labels")[0].value == pytest.approx(0.76)


def test_work_that_fails_is_a_failed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = of_folder(tmp_path, monkeypatch)
    with pytest.raises(KeyboardInterrupt), tracked(TrackedRun("x", tmp_path / "x"), ["mlflow"], print):
        raise KeyboardInterrupt
    assert only_run(client).info.status == "FAILED"
    assert not (tmp_path / "x").exists()


def test_a_closed_pipe_is_no_failed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`gpu-ssl run --track mlflow | head -1` writes and sends everything."""
    client = of_folder(tmp_path, monkeypatch)
    with pytest.raises(BrokenPipeError), tracked(TrackedRun("x", tmp_path / "x"), ["mlflow"], print):
        raise BrokenPipeError
    assert only_run(client).info.status == "FINISHED"


def test_more_settings_and_metrics_than_one_request_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = of_folder(tmp_path, monkeypatch)
    curve = tuple(float(value) for value in range(2500))
    long = REPORT.results[0].model_copy(update={"curves": (curve,)})
    report: Report = REPORT.model_copy(
        update={"results": (long,), "config": {f"c{i}": i for i in range(250)}}
    )
    trackers = Trackers(TrackedRun("x", tmp_path / "x"), ["mlflow"])
    send_run(trackers, report, tmp_path / "x")
    assert trackers.close(True)
    run = only_run(client)
    assert len([name for name in run.data.params if name.startswith("config.")]) == 250
    assert len(client.get_metric_history(run.info.run_id, "loss/m1/100-labels/split-1")) == 2500


def test_an_unknown_tracker_is_told() -> None:
    with pytest.raises(UsageError, match="there is no tracker 'neptune'; allowed are mlflow"):
        Trackers(TrackedRun("x", Path("x")), ["neptune"])
