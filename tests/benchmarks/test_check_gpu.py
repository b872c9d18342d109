"""scripts/check-gpu tells what failed, and never passes off a skipped test as a good one."""

import json
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from benchmarks import check_gpu
from gpu_ssl.runtime import environment
from tests.program import run_module

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
ROOT = Path(__file__).parent.parent.parent


@without_cuda
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    done = run_module(ROOT, "benchmarks.check_gpu", "--output", str(output))
    assert done.returncode == 1
    assert "NVIDIA driver: no driver" in done.stderr
    assert not output.exists()


@without_cuda
def test_the_script_stops_before_it_installs_anything() -> None:
    done = subprocess.run([ROOT / "scripts" / "check-gpu"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("check-gpu: error: no NVIDIA driver 580 or newer")


@without_cuda
def test_a_required_gpu_that_is_not_there_fails_the_tests() -> None:
    command = ("pytest", "-q", "-m", "gpu", "tests/runtime/test_device.py")
    skipped = run_module(ROOT, *command)
    assert (skipped.returncode, "1 skipped" in skipped.stdout) == (0, True)
    required = run_module(ROOT, *command, "--require-gpu")
    assert required.returncode == 1
    assert "--require-gpu was given, and the GPU cannot be used: " in required.stdout


def steps(monkeypatch: pytest.MonkeyPatch, doctor: bool, agreement: float, tests_exit: int) -> None:
    """Let every step end as told, where the real ones would need a GPU."""

    def run_step(name: str, *arguments: str, shown: bool = False) -> subprocess.CompletedProcess[str]:
        options = dict(pairwise(arguments))
        code, out = 0, ""
        if name == "doctor":
            out = json.dumps({"works": doctor, "checks": [], "auto_device": {"used": "cuda:0"}})
        elif arguments[0] == "pytest":
            (xml,) = [a.partition("=")[2] for a in arguments if a.startswith("--junitxml")]
            failure = '<failure message="boom"/>' if tests_exit else ""
            case = f'<testcase classname="tests.test_gpu" name="test_x">{failure}</testcase>'
            counts = f'tests="5" failures="{tests_exit}" errors="0" skipped="0"'
            Path(xml).write_text(f"<testsuites><testsuite {counts}>{case}</testsuite></testsuites>")
            code = tests_exit
        elif arguments[0] == "benchmarks.svm":
            case = {"results": {"gpu-ssl cuML float32": {"agreement": agreement}}}
            Path(options["--output"]).write_text(json.dumps({"cases": [case]}))
        elif arguments[0] == "benchmarks":
            case = options["--only"]
            Path(options["--output"]).write_text(json.dumps({"cases": {case: {"measured": case}}}))
        else:
            out = json.dumps({"results": []})
        return subprocess.CompletedProcess([name], code, out)

    described: dict[str, Any] = {"gpus": [{"name": "NVIDIA H100 80GB HBM3"}]}
    monkeypatch.setattr(check_gpu, "run_step", run_step)
    monkeypatch.setattr(environment, "describe_environment", lambda: described)


@pytest.mark.parametrize(
    ("doctor", "agreement", "tests_exit", "exit_code", "failed"),
    [
        (True, 1.0, 0, 0, []),
        (False, 1.0, 0, 1, ["doctor"]),
        (True, 0.99, 0, 1, ["svm"]),
        (True, 1.0, 1, 1, ["gpu_tests", "contract"]),
    ],
)
def test_the_record_holds_every_step_and_the_exit_code_tells(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    doctor: bool,
    agreement: float,
    tests_exit: int,
    exit_code: int,
    failed: list[str],
) -> None:
    steps(monkeypatch, doctor, agreement, tests_exit)
    monkeypatch.setattr(check_gpu, "RESULTS", tmp_path)
    done = CliRunner().invoke(check_gpu.main, [])
    assert done.exit_code == exit_code, done.output
    record = json.loads((tmp_path / "gpu-nvidia-h100-80gb-hbm3.json").read_text())
    assert [name for name in ("doctor", *check_gpu.STEPS) if not record[name]["ok"]] == failed
    assert record["gpu_tests"]["failed"] == ({"tests.test_gpu::test_x": "boom"} if tests_exit else {})
    assert "please commit it" in done.output
    for case in ("recipe", "roofline", "phases", "elbo"):
        assert record["cases"][case] == {"measured": case}
    assert record["svm"]["agreements"] == [agreement]
    (measured,) = record["cases"]["svm"]["cases"]
    assert measured["results"]["gpu-ssl cuML float32"] == {"agreement": agreement}


def test_a_step_anew_leaves_the_others_and_a_step_that_breaks_loses_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    steps(monkeypatch, doctor=True, agreement=1.0, tests_exit=0)
    output = tmp_path / "gpu.json"
    taken = lambda *only: CliRunner().invoke(check_gpu.main, ["--output", str(output), *only])  # noqa: E731
    assert taken("--only", "gpu_tests", "--only", "recipe").exit_code == 0
    assert set(json.loads(output.read_text())) & {*check_gpu.STEPS} == {"gpu_tests", "recipe"}
    monkeypatch.setattr(check_gpu, "run_svm", lambda *_: 1 / 0)
    assert isinstance(taken("--only", "contract", "--only", "svm").exception, ZeroDivisionError)
    record = json.loads(output.read_text())
    assert set(record) & {*check_gpu.STEPS} == {"gpu_tests", "recipe", "contract"}
    assert record["cases"] == {"recipe": {"measured": "recipe"}}
    assert all({"taken", "commit"} <= set(record[name]) for name in ("gpu_tests", "recipe", "contract"))
