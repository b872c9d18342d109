"""``gpu-ssl doctor`` as a user meets it."""

import json

import pytest
import torch

from tests.conftest import RunCli

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")


@without_cuda
def test_auto_says_what_it_chooses_and_why(run_cli: RunCli) -> None:
    done = run_cli("doctor")
    assert done.returncode == 0
    assert "--device auto chooses cpu: " in done.stdout
    assert "--svm auto chooses sklearn: " in done.stdout
    assert done.stdout.endswith("--device auto works\n")
    assert "failed" not in done.stdout
    assert "not available" in done.stdout
    assert done.stderr == ""


@without_cuda
def test_cuda_exits_with_1_and_names_the_missing_driver(run_cli: RunCli) -> None:
    done = run_cli("doctor", "--device", "cuda")
    assert done.returncode == 1
    assert "no driver" in done.stdout
    assert "NVIDIA driver: install the NVIDIA driver" in done.stdout
    assert "--device cuda does not work" in done.stdout
    assert "failed" in done.stdout
    assert "CUDA in torch: fix the driver first (see above)" in done.stdout
    assert "Traceback" not in done.stderr


@without_cuda
def test_json_pipes(run_cli: RunCli) -> None:
    done = run_cli("doctor", "--device", "cuda", "--json")
    assert done.returncode == 1
    diagnosis = json.loads(done.stdout)
    assert (diagnosis["schema"], diagnosis["works"], diagnosis["requested"]) == (1, False, "cuda")
    names = [check["name"] for check in diagnosis["checks"]]
    assert {"NVIDIA driver", "GPU", "torch", "cupy", "rmm", "cuml", "torch to CuPy", "SVM by cuML"} <= set(
        names
    )


def test_a_device_that_there_is_not_is_wrong_usage(run_cli: RunCli) -> None:
    done = run_cli("doctor", "--device", "tpu")
    assert done.returncode == 2
    assert "tpu" in done.stderr
