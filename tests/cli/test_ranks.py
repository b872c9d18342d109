"""``torchrun -m gpu_ssl run``: the same table from two ranks, and a clear end when one is killed."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest

from gpu_ssl.config import RunConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.fitted.records import ModelRecord
from gpu_ssl.records import Report
from gpu_ssl.report.writing import write_config
from tests.program import NETWORK, run_program, run_ranks, start_ranks

DIGITS = ["--dataset", "digits", "--labels", "50,100", "--no-baselines", "--no-plots", "--quiet", "--json"]
DIGITS += ["--precision", "float32", "--device", "cpu", "--epochs", "6"]
LONG = [*DIGITS, "--epochs", "10"]
BOTH = ["--standalone", "--nproc-per-node=2"]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
"""What torchrun sets, too."""


def done_by_two(folder: Path, *arguments: str) -> tuple[int, str, list[str]]:
    """Return the exit codes of two processes, stdout, and the messages of gpu-ssl on stderr."""
    done = run_ranks(folder, BOTH, *arguments)
    print(done.stderr)
    return done.returncode, done.stdout, what_is_said(done.stderr)


def what_is_said(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith("gpu-ssl:")]


def report_of(done: tuple[int, str, list[str]]) -> Report:
    code, stdout, said = done
    assert (code, said) == (0, [])
    return Report.model_validate_json(stdout)


def done_alone(folder: Path, *arguments: str) -> tuple[int, str, list[str]]:
    done = run_program(folder, *arguments, environment=ONE_THREAD)
    return done.returncode, done.stdout, done.stderr.splitlines()


def assert_alike(one: Report, other: Report, within: float) -> None:
    """The loss curves must agree to three digits, and the mean accuracies within so many points."""
    curves = [[(h.reconstruction, h.kl) for h in report.training.history] for report in (one, other)]
    np.testing.assert_allclose(curves[0][:3], curves[1][:3], rtol=1e-3)
    np.testing.assert_allclose(curves[0], curves[1], rtol=2e-2)
    for a, b in zip(one.results, other.results, strict=True):
        assert 100 * abs(a.accuracy_mean - b.accuracy_mean) < within


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report_of(done_alone(tmp_path_factory.mktemp("alone"), "run", *DIGITS, "--output", "run"))


def test_two_ranks_come_to_the_same_table(alone: Report, tmp_path: Path) -> None:
    together = report_of(done_by_two(tmp_path, "run", *DIGITS, "--output", "run"))
    assert (alone.training.ranks, together.training.ranks) == (1, 2)
    assert_alike(alone, together, within=1)
    assert alone.training.steps == together.training.steps


def test_two_ranks_fit_images_of_ones_own_to_the_same_model(digits: Dataset, tmp_path: Path) -> None:
    np.save(tmp_path / "digits.npy", digits.train.images)
    rows = "".join(f"{row},{digits.train.labels[row]}\n" for row in range(100))
    (tmp_path / "labels.csv").write_text(f"path,label\n{rows}")
    fit = ["fit", "digits.npy", "--labels", "labels.csv", "--epochs", "3", "--no-mirror", "--json", "--quiet"]
    fit += ["--precision", "float32", "--device", "cpu", "--output"]
    records = []
    for do, output in ((done_alone, "one"), (done_by_two, "two")):
        code, stdout, said = do(tmp_path, *fit, output)
        assert code == 0, said
        records.append(ModelRecord.model_validate_json(stdout))
    one, two = records
    assert (one.training.ranks, two.training.ranks) == (1, 2)
    assert one.images_sha256 == two.images_sha256
    for h, g in zip(one.training.history, two.training.history, strict=True):
        assert (h.reconstruction, h.kl) == pytest.approx((g.reconstruction, g.kl), rel=1e-2)
    assert one.estimate is not None
    assert two.estimate is not None
    assert abs(one.estimate.right - two.estimate.right) <= 4
    code, stdout, said = done_by_two(tmp_path, *fit, "three", "--from", "two", "--method", "m1")
    assert code == 0, said
    three = ModelRecord.model_validate_json(stdout)
    assert three.training == two.training  # to the microsecond: the VAE was taken over
    assert (three.chosen.method, two.config.method) == ("m1", "auto")


def epochs_of(folder: Path) -> int:
    """Return how many epochs a checkpoint holds."""
    return len(json.loads((folder / "checkpoint.json").read_text())["history"])


def wait_for_epoch(folder: Path, number: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(OSError, ValueError):
            if epochs_of(folder) >= number:
                return
        time.sleep(0.02)
    raise AssertionError("no such epoch within a minute")


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_ends_the_run_with_one_line_and_one_rank_goes_on(tmp_path: Path, victim: int) -> None:
    folder = tmp_path / "run"
    with start_ranks(tmp_path, BOTH, "run", *LONG, "--output", str(folder)) as running:
        wait_for_epoch(folder, 3)
        os.kill(running.ranks[victim], signal.SIGKILL)
        done = running.finish(60)
    assert done.returncode != 0
    assert done.stdout == ""
    (line,) = what_is_said(done.stderr)
    assert "another process ended" in line
    assert f"gpu-ssl run --resume {folder}" in line
    assert 3 <= epochs_of(folder) < 10
    resumed = report_of(done_alone(tmp_path, "run", "--resume", "run", "--json", "--quiet", "--no-plots"))
    assert len(resumed.training.history) == 10
    assert resumed.results[1].accuracy_mean > 0.85


def test_ctrl_c_is_told_once_and_two_ranks_go_on(tmp_path: Path) -> None:
    """A terminal's signal reaches torchrun, which ends the ranks: they are in sessions of their own."""
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", *BOTH, "-m", "gpu_ssl", "run", *LONG]
    process = subprocess.Popen(
        [*command, "--output", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ONE_THREAD,
        start_new_session=True,
    )
    wait_for_epoch(folder, 2)
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode != 0
    assert stdout == ""
    assert "terminate called" not in stderr
    (line,) = what_is_said(stderr)
    assert line.endswith(f"gpu-ssl run --resume {folder}")
    resumed = report_of(done_by_two(tmp_path, "run", "--resume", "run", "--json", "--quiet", "--no-plots"))
    assert (len(resumed.training.history), resumed.training.ranks) == (10, 2)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "--labels", "few"], "is not a label count"),
        (["run", *DIGITS, "--method", "consistency"], "gpu-ssl sweep"),
        (["run", "--resume", "nowhere"], "not the folder of a run"),
        (["run", *DIGITS, "--learning-rate", "1e30"], "not a finite number"),
        (["data", "list"], "gpu-ssl run or fit"),
    ],
)
def test_what_goes_wrong_on_both_ranks_is_told_once(tmp_path: Path, arguments: list[str], told: str) -> None:
    code, stdout, said = done_by_two(tmp_path, *arguments)
    assert code != 0
    assert stdout == ""
    (line,) = said
    assert told in line
    assert list(tmp_path.rglob("*.safetensors")) == []


def test_a_run_that_one_rank_began_with_more_is_refused_on_two(tmp_path: Path) -> None:
    """What only --resume brings is checked too."""
    config = RunConfig.of(data={"dataset": "digits"}, methods="consistency", labels="50", device="cpu")
    write_config(tmp_path, config)
    code, _, said = done_by_two(tmp_path, "run", "--resume", str(tmp_path))
    assert code != 0
    (line,) = said
    assert "--method consistency needs more" in line


def test_few_images_leave_a_rank_without_one_now_and_then(digits: Dataset, tmp_path: Path) -> None:
    """Batches of 3 on two ranks: every fourth has nothing for one of them."""
    np.save(tmp_path / "few.npy", digits.train.images[:60])
    rows = "".join(f"{row},{digits.train.labels[row] % 2}\n" for row in range(20))
    (tmp_path / "labels.csv").write_text(f"path,label\n{rows}")
    fit = "fit few.npy --labels labels.csv --epochs 3 --device cpu --json --quiet --output model"
    code, stdout, said = done_by_two(tmp_path, *fit.split())
    assert (code, said) == (0, [])
    assert ModelRecord.model_validate_json(stdout).training.steps == 60


def meetings(address: str, port: int) -> list[list[str]]:
    """Return the options of torchrun on each of two machines, a rank on each."""
    meeting = ["--nnodes=2", f"--master-addr={address}", f"--master-port={port}", "--nproc-per-node=1"]
    return [[*meeting, f"--node-rank={number}"] for number in range(2)]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def test_wrong_usage_on_one_machine_alone_is_told_there(tmp_path: Path) -> None:
    one, other = meetings("127.0.0.1", free_port())
    with (
        start_ranks(tmp_path, one, "run", *DIGITS, "--output", "run") as waiting,
        start_ranks(tmp_path, other, "run", "--labels", "few", module="tests.cli.impatient") as wrong,
    ):
        (line,) = what_is_said(wrong.finish().stderr)
        while 0 not in waiting.ranks:
            time.sleep(0.02)
        # It would wait for the second for minutes, and heeds neither SIGINT nor SIGTERM as it does.
        os.kill(waiting.ranks[0], signal.SIGKILL)
        silence = waiting.finish()
    assert "is not a label count" in line
    assert "is not a label count" not in silence.stderr


@pytest.mark.parametrize("second", ["nothing", "other"])
def test_what_one_machine_lacks_is_told_once(digits: Dataset, tmp_path: Path, second: str) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    np.save(folders[0] / "x.npy", digits.train.images[:200])
    if second == "other":
        np.save(folders[1] / "x.npy", digits.train.images[:190])
    for folder in folders:
        rows = "".join(f"{row},{digits.train.labels[row] % 2}\n" for row in range(20))
        (folder / "labels.csv").write_text(f"path,label\n{rows}")
    fit = ["fit", "x.npy", "--labels", "labels.csv", "--device", "cpu", "--quiet", "--output", "model"]
    with ThreadPoolExecutor() as hosts:
        done = hosts.map(
            run_ranks, folders, meetings("127.0.0.1", free_port()), *([word] * 2 for word in fit)
        )
        (line,) = what_is_said("".join(each.stderr for each in done))
    expected = "x.npy does not exist" if second == "nothing" else "rank 1 has different images (190 of shape"
    assert expected in line
    assert not (folders[0] / "model" / "model.json").exists()


@pytest.fixture
def two_hosts() -> Iterator[list[str]]:
    """Two network namespaces with a cable between them; gives their names."""
    names = [f"gpu-ssl-{os.getpid()}-{number}" for number in range(2)]
    ip = shutil.which("ip")

    def run(*words: str) -> bool:
        return subprocess.run([str(ip), *words], capture_output=True, check=False).returncode == 0

    try:
        if ip is None or not all(run("netns", "add", name) for name in names):
            pytest.skip("needs ip and the right to make network namespaces")
        run("link", "add", "v0", "netns", names[0], "type", "veth", "peer", "name", "v1", "netns", names[1])
        for number, name in enumerate(names):
            assert run("-n", name, "addr", "add", f"10.9.0.{number + 1}/24", "dev", f"v{number}")
            assert run("-n", name, "link", "set", "lo", "up")
            assert run("-n", name, "link", "set", f"v{number}", "up")
        yield names
    finally:
        for name in names:
            run("netns", "delete", name)


def test_two_hosts_train_together_and_the_second_needs_no_folder(
    alone: Report, tmp_path: Path, two_hosts: list[str]
) -> None:
    """Hosts that share only a network: the run's folder is on the first."""
    with ExitStack() as stack:
        running = []
        for number, (host, meeting) in enumerate(zip(two_hosts, meetings("10.9.0.1", 29500), strict=True)):
            folder = tmp_path / str(number)
            folder.mkdir()
            network = {NETWORK: f"/run/netns/{host}", "GLOO_SOCKET_IFNAME": f"v{number}"}
            words = ("run", *DIGITS, "--output", "run")
            running.append(stack.enter_context(start_ranks(folder, meeting, *words, environment=network)))
        first, second = (each.finish(120) for each in running)
    assert (what_is_said(first.stderr), what_is_said(second.stderr), second.stdout) == ([], [], "")
    assert_alike(alone, Report.model_validate_json(first.stdout), within=1)
    assert (tmp_path / "0" / "run" / "report.json").is_file()
    assert list((tmp_path / "1").iterdir()) == []
