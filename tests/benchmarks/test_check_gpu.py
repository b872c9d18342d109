"""scripts/check-gpu reports failures, respects its time limit, and does not count skipped tests as passed."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from benchmarks import check_gpu, gpu_probes
from benchmarks.check_gpu import STEPS
from gpu_ssl.runtime import device, environment
from tests.program import run_module

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
ROOT = Path(__file__).parent.parent.parent


@without_cuda
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    done = run_module(ROOT, "benchmarks.check_gpu", "--output", str(output))
    assert done.returncode == 1
    assert "driver" in done.stderr
    assert "--rehearse" in done.stderr
    assert not output.exists()


@without_cuda
def test_the_script_takes_the_python_that_is_there_and_stops_before_it_installs_anything() -> None:
    for python in (sys.executable, "/bin/false"):  # where none has the packages, it asks for a driver first
        with_it = {**os.environ, "PYTHON": python, "PATH": "/usr/bin:/bin"}
        script = ROOT / "scripts" / "check-gpu"
        done = subprocess.run([script], capture_output=True, text=True, check=False, env=with_it)
        assert done.returncode == 1
        assert "driver" in done.stderr
        assert "Installing" not in done.stderr


@without_cuda
def test_a_required_gpu_that_is_not_there_fails_the_tests() -> None:
    command = ("pytest", "-q", "-m", "gpu", "tests/runtime/test_device.py")
    skipped = run_module(ROOT, *command)
    assert (skipped.returncode, "1 skipped" in skipped.stdout) == (0, True)
    required = run_module(ROOT, *command, "--require-gpu")
    assert required.returncode == 1
    assert "--require-gpu was given, and the GPU cannot be used: " in required.stdout


class StandIns:
    """Replaces the steps, which need a GPU, with given outcomes."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        doctor: bool = True,
        agreement: float = 1.0,
        tests_exit: int = 0,
    ) -> None:
        self.doctor, self.agreement, self.tests_exit = doctor, agreement, tests_exit
        self.commands: list[list[str]] = []
        described: dict[str, Any] = {"gpus": [{"name": "NVIDIA H100 80GB HBM3"}]}
        monkeypatch.setattr(check_gpu, "run_step", self)
        monkeypatch.setattr(device, "cuda_problem", lambda: None)
        monkeypatch.setattr(environment, "describe_environment", lambda: described)

    def __call__(self, command: list[str], limit: float) -> tuple[int | None, str, str]:
        self.commands.append(command)
        module, *options = command[command.index("-m") + 1 :]
        name = options[0] if options else ""
        if module == "pytest":
            (xml,) = [part.partition("=")[2] for part in options if part.startswith("--junitxml")]
            failure = '<failure message="boom"/>' if self.tests_exit else ""
            case = f'<testcase classname="tests.test_gpu" name="test_x">{failure}</testcase>'
            counts = f'tests="5" failures="{self.tests_exit}" errors="0" skipped="0"'
            Path(xml).write_text(f"<testsuites><testsuite {counts}>{case}</testsuite></testsuites>")
            return self.tests_exit, "", ""
        if module == "gpu_ssl":
            printed = {"works": self.doctor} if name == "doctor" else {"results": []}
            return 0, json.dumps(printed), "import time: 250000 | 300000 | torch.nn\n"
        record: dict[str, Any] = {"measured": module}
        if module == "benchmarks":
            record = {"cases": {options[1]: {"measured": options[1]}}}
        elif module == "benchmarks.svm":
            result = {"gpu-ssl cuML float32": {"agreement": self.agreement}}
            record = {"cases": [{"results": result}]}
        Path(options[options.index("--output") + 1]).write_text(json.dumps(record))
        return 0, "", ""


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({}, []),
        ({"doctor": False}, ["doctor"]),
        ({"agreement": 0.99}, ["svm"]),
        ({"tests_exit": 1}, ["gpu_tests", "contract"]),
    ],
)
def test_the_record_holds_every_step_and_the_exit_code_tells(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changes: dict[str, Any], failed: list[str]
) -> None:
    stand_ins = StandIns(monkeypatch, **changes)
    monkeypatch.setattr(check_gpu, "RESULTS", tmp_path)
    done = CliRunner().invoke(check_gpu.main, [])
    assert done.exit_code == bool(failed), done.output
    record = json.loads((tmp_path / "gpu-nvidia-h100-80gb-hbm3.json").read_text())
    assert [step.name for step in STEPS if not record[step.name]["ok"]] == failed
    assert record["gpu_tests"]["failed"] == (
        {"tests.test_gpu::test_x": "boom"} if stand_ins.tests_exit else {}
    )
    assert "add it to benchmarks/results in a pull request" in done.output
    for case in ("recipe", "roofline", "phases", "elbo"):
        assert record["cases"][case] == {"measured": case}
    assert record["svm"]["agreements"] == [stand_ins.agreement]
    assert record["run_cold"]["imports"] == {"torch": 0.25}
    assert record["run_warm"]["record"] == {"results": []}
    # Nothing stands for the CPU where the card is meant.
    on_cpu = [command for command in stand_ins.commands if "cpu" in command]
    assert len(on_cpu) == 1
    assert all("--dataset" in command for command in stand_ins.commands if command[-1] == "fashion-mnist")


def test_the_short_plan_fits_and_begins_with_what_tells_most(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_ins = StandIns(monkeypatch)
    done = CliRunner().invoke(check_gpu.main, ["--minutes", "8", "--output", str(tmp_path / "gpu.json")])
    assert done.exit_code == 0, done.output
    asked = [step.name for step in STEPS if step.short]
    assert len(stand_ins.commands) == len(asked) < len(STEPS)
    assert asked[:4] == ["facts", "doctor", "replay", "cells"]
    assert sum(step.seconds for step in STEPS) < 60 * 60


def test_a_step_anew_leaves_the_others_and_one_that_breaks_loses_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    StandIns(monkeypatch)
    output = tmp_path / "gpu.json"
    names = {step.name for step in STEPS}

    def taken(*only: str) -> Any:
        options = [word for name in only for word in ("--only", name)]
        return CliRunner().invoke(check_gpu.main, ["--output", str(output), *options])

    assert taken("gpu_tests", "recipe").exit_code == 0
    assert set(json.loads(output.read_text())) & names == {"gpu_tests", "recipe"}
    honest = check_gpu.outcome_of
    monkeypatch.setattr(
        check_gpu, "outcome_of", lambda step, *rest: 1 / 0 if step.name == "svm" else honest(step, *rest)
    )
    assert isinstance(taken("contract", "svm").exception, ZeroDivisionError)
    record = json.loads(output.read_text())
    assert set(record) & names == {"gpu_tests", "recipe", "contract"}
    assert record["cases"] == {"recipe": {"measured": "recipe"}}
    assert all({"taken", "commit"} <= set(record[name]) for name in ("gpu_tests", "recipe", "contract"))


def test_a_step_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open({str(pid)!r}, "w").write(str(child.pid))
print("begun", flush=True)
child.wait()
"""
    start = time.monotonic()
    exit_code, out, _ = check_gpu.run_step([sys.executable, "-c", code], 3)
    assert (exit_code, out) == (None, "begun\n")
    assert time.monotonic() - start < 20
    time.sleep(0.2)
    state = Path(f"/proc/{pid.read_text()}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_what_the_time_does_not_reach_is_said_to_be_not_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limits: list[float] = []
    clock = iter([0.0, 0.0, 0.0, 50.0, 50.0, 50.0, 59.5, 59.5])

    def slow(command: list[str], limit: float) -> tuple[int | None, str, str]:
        limits.append(limit)
        return None, "so far\n", ""

    monkeypatch.setattr(check_gpu, "run_step", slow)
    monkeypatch.setattr(check_gpu.time, "monotonic", lambda: next(clock))
    outcomes = dict(check_gpu.run_steps([*STEPS[:3]], "cuda", (), 1, tmp_path))
    assert limits == [60, 10], "the second had what was left"
    assert outcomes["facts"] == {
        "ok": False,
        "seconds": 50.0,
        "exit_code": None,
        "timed_out": True,
        "last_lines": ["so far"],
    }
    assert outcomes["replay"] == {"ok": False, "not_run": "the 1 minutes were over"}


def test_without_git_the_environment_names_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert check_gpu.commit() == "unknown"
    monkeypatch.setenv(check_gpu.COMMIT, "abc123")
    assert check_gpu.commit() == "abc123"


@pytest.mark.parametrize("name", ["replay", "streams", "cell", "sizes"])
def test_a_probe_measures_on_a_cpu_what_it_would_on_a_card(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setattr(gpu_probes, "ROUNDS", 1)
    monkeypatch.setattr(gpu_probes, "milliseconds", lambda work, device, times: _once(work))
    output = tmp_path / "probe.json"
    done = CliRunner().invoke(gpu_probes.main, [name, "--device", "cpu", "--output", str(output)])
    assert done.exit_code == 0, done.output
    found = json.loads(output.read_text())
    measured = [value for key, value in found.items() if key.endswith((", ms", "of one"))]
    assert measured
    assert min(measured) > 0
    if name == "cell":
        assert set(found["batched"]) == {"aten::nonzero", "aten::nonzero_numpy"}


def _once(work: Any) -> float:
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="cannot cut the network")
def test_it_needs_no_network(tmp_path: Path) -> None:
    """Whole, in a network without an address, on the CPU in place of a card."""
    output = tmp_path / "gpu.json"
    command = ["unshare", "-n", sys.executable, "-m", "benchmarks.check_gpu", "--rehearse"]
    options = ["--only", "doctor", "--output", str(output)]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads(output.read_text())
    assert record["doctor"]["ok"]
    assert record["environment"]["python"]
