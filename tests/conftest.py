"""Shared fixtures: small real data, real Fashion-MNIST, and the program itself."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from gpu_ssl.config import DataConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.loading import load_dataset
from gpu_ssl.errors import DataError, DeviceError
from gpu_ssl.runtime.device import cuda_problem
from gpu_ssl.svm.backend import cuml_backend
from tests.program import run_program

# The first example pays for warming up torch, and timings are no matter of these tests.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-gpu", action="store_true", help="fail the tests marked gpu where there is no GPU"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked gpu without a GPU, or fail them if one is required."""
    if item.get_closest_marker("gpu") is None:
        return
    problem = cuda_problem() or _cuml_problem()
    if problem and item.config.getoption("--require-gpu"):
        pytest.fail(f"--require-gpu was given, and the GPU cannot be used: {problem}", pytrace=False)
    if problem:
        pytest.skip(f"needs a GPU: {problem}")


def _cuml_problem() -> str | None:
    try:
        cuml_backend()
    except DeviceError as error:
        return str(error)
    return None


RunCli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """scikit-learn's digits: real images that need no file."""
    return load_dataset(DataConfig(dataset="digits"))


@pytest.fixture(scope="session")
def fashion_mnist() -> Dataset:
    """The real Fashion-MNIST, fetched into the user's cache the first time."""
    try:
        return load_dataset(DataConfig())
    except DataError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"Fashion-MNIST cannot be had here: {error}")


@pytest.fixture
def run_cli(tmp_path: Path) -> RunCli:
    """Run the program in an empty folder; see `run_program`."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return run_program(tmp_path, *arguments, environment=environment)

    return run
