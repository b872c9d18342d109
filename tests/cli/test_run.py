"""``gpu-ssl run`` as a user runs it: the real program in a separate process."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import RunCli
from tests.program import run_module, start_program

QUICK = ("--dataset", "digits", "--epochs", "2", "--labels", "20,100", "--splits", "2")


def test_a_run_prints_the_table_and_fills_its_folder(run_cli: RunCli, tmp_path: Path) -> None:
    done = run_cli("run", *QUICK, "--output", "out")
    assert (done.returncode, done.stderr) == (0, "")
    for words in (
        *(
            "M1: SVM on VAE latents",
            "hybrid: SVM on VAE latents and HOG",
            "raw pixels",
            "principal components",
        ),
        *("ranks", "20 labels", "±", "gain over M1", "Seconds per split: m1"),
    ):
        assert words in done.stdout
    folder = tmp_path / "out"
    report = json.loads((folder / "report.json").read_text())
    settings = json.loads((folder / "config.json").read_text())
    assert report["config"].items() < settings.items()
    for result in report["results"]:
        cell = f"{100 * result['accuracy_mean']:.2f} ± {100 * result['accuracy_std']:.2f}"
        assert cell in done.stdout
    assert sorted(path.name for path in (folder / "plots").iterdir()) == [
        "accuracy.png",
        "confusion-matrix.png",
        "feature-map.png",
        "prior-samples.png",
        "reconstructions.png",
        "training.png",
    ]
    for path in (folder / "plots").iterdir():
        with Image.open(path) as image:
            darkest, brightest = image.convert("L").getextrema()
        assert (image.format, darkest < 100, brightest > 200) == ("PNG", True, True), path.name
    assert len(list((folder / "classifiers").glob("*.safetensors"))) == 4
    assert len(list((folder / "predictions").glob("*.safetensors"))) == 20
    assert {path.name for path in folder.glob("*.json")} == {
        *("config.json", "report.json", "details.json", "vae.json", "pca.json")
    }
    assert (folder / "report.html").read_text().startswith("<!doctype html>")
    assert not [path for path in folder.rglob("*") if path.name.startswith((".", "checkpoint"))]


def test_json_is_the_report_alone(run_cli: RunCli, tmp_path: Path) -> None:
    done = run_cli("run", *QUICK, "--output", "out", "--json", "--no-baselines", "--no-plots")
    assert done.stdout == (tmp_path / "out" / "report.json").read_text()
    assert {result["method"] for result in json.loads(done.stdout)["results"]} == {"m1", "hybrid"}
    assert not (tmp_path / "out" / "plots").exists()


def test_the_default_folder_tells_what_it_holds(run_cli: RunCli, tmp_path: Path) -> None:
    assert run_cli("run", *QUICK, "--no-baselines", "--no-plots").returncode == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.endswith("-digits-m1-hybrid")


def test_an_encoder_and_methods_on_it_are_asked_for(run_cli: RunCli, tmp_path: Path) -> None:
    """No VAE is trained where none is needed."""
    options = ("--dataset", "digits", "--labels", "50", "--splits", "1", "--no-baselines")
    done = run_cli(
        *("run", *options, "--method", "svm,graph,auto", "--encoder", "pca+hog", "--output", "out")
    )
    assert (done.returncode, done.stderr) == (0, "")
    for words in (
        "SVM on the selected encoder",
        "graph: label spreading",
        "auto: chosen",
        "correct, graph",
    ):
        assert words in done.stdout
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["training"], report["config"]["encoder"]) == (None, "pca+hog")
    (reason,) = (result["reasons"] for result in report["results"] if result["method"] == "auto")
    assert reason[0].partition(":")[0] in ("svm", "graph")
    assert not (tmp_path / "out" / "vae.json").exists()
    assert not (tmp_path / "out" / "plots" / "training.png").exists()
    resumed = run_cli("run", "--resume", "out", "--json")
    assert json.loads(resumed.stdout) == report


def test_all_leaves_out_counts_the_data_set_cannot_serve_and_says_so(run_cli: RunCli) -> None:
    done = run_cli("run", "--dataset", "digits", "--epochs", "1", "--splits", "1", "--json", "--no-plots")
    counts = [result["labels"] for result in json.loads(done.stdout)["results"]]
    assert counts == [100, 600, 1000] * 5
    assert "3000" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--dataset", "imagenet"], 2, ["imagenet", "fashion-mnist", "digits"]),
        (["--method", "m3"], 2, ["--method 'm3'", "there is no such method", "graph", "consistency"]),
        (["--method", ""], 2, ["--method"]),
        (["--method", "m1,m3"], 2, ["--method 'm1,m3'", "no method 'm3'"]),
        (
            ["--encoder", "sift"],
            2,
            ["--encoder 'sift'", "there is no such encoder", "vae, hog, pixels, pca, ranks"],
        ),
        (["--encoder", "hog+hog"], 2, ["--encoder 'hog+hog'", "repeats a part"]),
        (["--encoder", "network"], 2, ["--encoder 'network'", "cannot be selected"]),
        (["--encoder", ""], 2, ["--encoder ''", "vae+hog"]),
        (["--encoder", "pca"], 2, ["method m1 works on vae", "--encoder pca", "svm, graph, consistency"]),
        (["--encoder", "hog", "--method", "graph,m2"], 2, ["method m2 works on pixels and vae"]),
        (["--effort", "much"], 2, ["--effort", "quick", "normal", "best"]),
        (["--preset", "old"], 2, ["--preset", "modern", "paper"]),
        (["--labels", "5"], 2, ["--labels 5", "10 classes", "10 to 60000"]),
        (["--labels", "1e9"], 2, ["1e9", "is not a label count", "full"]),
        (["--labels", "1000000000"], 2, ["more than the number of training images", "60000"]),
        (["--labels", "abc"], 2, ["abc", "is not a label count"]),
        (["--splits", "0"], 2, ["--splits 0"]),
        (["--jobs", "0"], 2, ["--jobs", "0"]),
        (["--splits", "two"], 2, ["two", "--help"]),
        (["--no-such-option"], 2, ["--no-such-option", "--help"]),
        (["--epochs", "0"], 2, ["epochs", "0"]),
        (["--learning-rate", "nan"], 2, ["learning-rate"]),
        (["--svm-gamma", "wide"], 2, ["--svm-gamma 'wide'", "positive"]),
        (["--device", "gpu"], 2, ["--device 'gpu'", "cuda:N"]),
        (["--device", "cuda"], 1, ["--device cuda", "driver", "--device cpu"]),
        (["--svm", "cuml"], 1, ["--svm cuml", "CUDA"]),
        (["--data-dir", "nowhere"], 2, ["nowhere", "not a folder"]),
        (["--resume", "nowhere"], 2, ["nowhere", "config.json"]),
        (["--resume", "x", "--epochs", "3"], 2, ["--resume", "--epochs"]),
        (["--resume", "x", "--svm", "sklearn"], 2, ["leave out --svm,"]),
        (["--data-dir", "x" * 300], 2, ["--data-dir"]),
        (["--dataset", "digits", "--labels", "20", "--output", "/proc/new"], 1, ["/proc/new"]),
        (["--dataset", "digits", "--labels", "20", "--output", "/dev/null"], 2, ["/dev/null", "--output"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_clear_line(
    run_cli: RunCli, tmp_path: Path, arguments: list[str], code: int, words: list[str]
) -> None:
    if "cuda" in arguments:
        import torch

        if torch.cuda.is_available():
            pytest.skip("a CUDA device is here")
    done = run_cli("run", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("gpu-ssl: error: ")
    for word in words:
        assert word in done.stderr
    assert not list(tmp_path.iterdir()), "something was written"


@pytest.mark.parametrize("options", [("--epochs", "2"), ("--epochs", "1", "--batch-size", "2000")])
def test_training_that_diverges_says_what_to_change(run_cli: RunCli, options: tuple[str, ...]) -> None:
    rate = ("--network", "mlp", "--learning-rate", "1e30", "--precision", "float32")
    done = run_cli("run", "--dataset", "digits", "--labels", "20", *options, *rate)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "finite" in done.stderr
    assert "--learning-rate" in done.stderr


def test_a_file_in_the_place_of_the_folder_of_runs_is_told(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    done = run_cli("run", "--dataset", "digits", "--labels", "50")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "gpu-ssl: error: runs is a file; move it, or name a folder with --output\n"


def test_a_folder_that_is_in_use_is_refused(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    done = run_cli("run", *QUICK, "--output", "out")
    assert done.returncode == 2
    assert "not an empty folder" in done.stderr
    assert os.listdir(tmp_path / "out") == ["thesis.tex"]


def test_a_corrupt_data_file_is_refused_by_name(run_cli: RunCli, tmp_path: Path) -> None:
    path = tmp_path / "data" / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not this")
    done = run_cli("run", "--data-dir", "data")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "t10k-labels-idx1-ubyte.gz" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_full_disk_is_one_line(run_cli: RunCli, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system takes root")
    try:
        done = run_cli("run", *QUICK, "--output", "small/out")
        left = list(small.rglob("*"))
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not left


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_loses_nothing(run_cli: RunCli, tmp_path: Path) -> None:
    settings = ("--dataset", "digits", "--epochs", "40", "--labels", "50", "--splits", "2", "--no-plots")
    whole = run_cli("run", *settings, "--output", "whole", "--json")
    process = start_program(tmp_path, "run", *settings, "--output", "stopped")
    deadline = time.monotonic() + 120
    while not (tmp_path / "stopped" / "checkpoint.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "gpu-ssl run --resume stopped" in errors
    assert "Traceback" not in errors
    assert len(json.loads((tmp_path / "stopped" / "checkpoint.json").read_text())["history"]) < 40

    resumed = run_cli("run", "--resume", "stopped", "--json", "--no-plots")
    assert resumed.returncode == 0
    after, never = (
        [{**result, "seconds": None} for result in json.loads(done.stdout)["results"]]
        for done in (resumed, whole)
    )
    assert after == never
    again = run_cli("run", "--resume", "stopped", "--json")
    assert again.stdout == resumed.stdout
    assert "finished run" in again.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_stops_splits_side_by_side_and_loses_none_that_is_done(
    run_cli: RunCli, tmp_path: Path
) -> None:
    settings = (
        *("--dataset", "digits", "--method", "cnn", "--steps", "30"),
        *("--labels", "50", "--splits", "4", "--no-plots"),
    )
    whole = run_cli("run", *settings, "--no-baselines", "--output", "whole", "--json", "--jobs", "1")
    process = start_program(
        *(tmp_path, "run", *settings, "--no-baselines", "--output", "stopped", "--jobs", "2"),
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("stopped/predictions/*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.count("\n")) == (130, 1)
    assert "gpu-ssl run --resume stopped" in errors
    while _is_there(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _is_there(process.pid), "a worker goes on"
    assert not list(tmp_path.glob("stopped/predictions/.*")), "a half-written file stays"

    resumed = run_cli("run", "--resume", "stopped", "--json", "--no-plots", "--jobs", "1")
    after, never = (json.loads(done.stdout)["results"][0]["accuracies"] for done in (resumed, whole))
    assert after == never
    assert len(after) == 4


def _is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_ctrl_c_while_plots_are_drawn_trains_nothing_again(run_cli: RunCli, tmp_path: Path) -> None:
    """The checkpoint stays until the report is there."""
    arguments = ("run", *QUICK, "--output", "out dir")
    stopped = run_module(tmp_path, "tests.cli.interrupted_plots", *arguments)
    assert stopped.returncode == 130
    assert "--resume 'out dir'" in stopped.stderr
    resumed = run_cli("-v", "run", "--resume", "out dir")
    assert resumed.returncode == 0
    assert "epoch" not in resumed.stderr
    assert not (tmp_path / "out dir" / "checkpoint.json").exists()


def test_runs_started_at_once_get_folders_of_their_own(run_cli: RunCli, tmp_path: Path) -> None:
    options = ("run", *QUICK, "--no-plots", "--no-baselines", "--json")
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda seed: run_cli(*options, "--seed", str(seed)), range(3)))
    assert [d.returncode for d in done] == [0, 0, 0]
    reports = sorted((folder / "report.json").read_text() for folder in (tmp_path / "runs").iterdir())
    assert reports == sorted(d.stdout for d in done)


def test_of_runs_into_one_folder_one_is_refused(run_cli: RunCli) -> None:
    options = ("run", *QUICK, "--no-plots", "--no-baselines", "--output", "out")
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda _: run_cli(*options), range(2)))
    assert sorted(d.returncode for d in done) == [0, 2]


def test_an_output_with_brackets_is_printed_as_it_is(run_cli: RunCli) -> None:
    done = run_cli("run", *QUICK, "--no-plots", "--no-baselines", "--output", "out[/x]")
    assert done.returncode == 0
    assert done.stdout.endswith("Written to out[/x]\n")


def test_a_damaged_checkpoint_is_refused(run_cli: RunCli, tmp_path: Path) -> None:
    run_cli("run", *QUICK, "--output", "out", "--no-plots", "--no-baselines")
    (tmp_path / "out" / "report.json").unlink()
    (tmp_path / "out" / "checkpoint.json").write_text("{}")
    done = run_cli("run", "--resume", "out")
    assert done.returncode == 1
    assert "checkpoint.json" in done.stderr


def test_output_can_be_cut_off_by_its_reader(run_cli: RunCli, tmp_path: Path) -> None:
    run_cli("run", *QUICK, "--output", "out", "--no-plots")
    command = f"{sys.executable} -m gpu_ssl run --resume out --json 2>/dev/null | head -n 1"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "{\n"
    assert done.stderr == ""


def test_the_paper_network_runs(run_cli: RunCli) -> None:
    done = run_cli("run", *QUICK, "--network", "mlp", "--json", "--no-plots", "--no-baselines")
    report = json.loads(done.stdout)
    assert report["config"]["model"] == {"network": "mlp", "latent_dim": 50, "kl_weight": 1.0}
    assert (report["training"]["augment"], report["training"]["mirror"]) == (False, False)


@pytest.mark.parametrize("text", ["{}", '{"labels": []}', "[]", "not JSON"])
def test_settings_that_are_not_whole_are_refused(run_cli: RunCli, tmp_path: Path, text: str) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "config.json").write_text(text)
    done = run_cli("run", "--resume", "out")
    assert done.returncode == 2
    assert "delete the folder" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_report_without_results_is_damaged(run_cli: RunCli, tmp_path: Path) -> None:
    arguments = ["--dataset", "digits", "--labels", "50", "--epochs", "1", "--no-plots", "--no-baselines"]
    assert run_cli("run", *arguments, "--output", "out").returncode == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    (tmp_path / "out" / "report.json").write_text(json.dumps(report | {"results": []}))
    done = run_cli("run", "--resume", "out")
    assert done.returncode == 1
    assert "damaged" in done.stderr
    assert "Traceback" not in done.stderr
