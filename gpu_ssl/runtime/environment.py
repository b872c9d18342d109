"""The environment of a result: hardware and library versions."""

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from packaging.version import Version

import gpu_ssl

LIBRARIES = (
    *("torch", "torchvision", "numpy", "scikit-learn"),
    *("cuml-cu13", "cupy-cuda13x", "rmm-cu13", "cuml-cu12", "cupy-cuda12x", "rmm-cu12"),
    *("cuml", "cupy", "rmm"),
)
"""Distributions whose versions are recorded; conda calls the last three by their short names."""


def library_version(distribution: str) -> str | None:
    """Return the installed version of `distribution`, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def release() -> str:
    """Return the version of gpu-ssl without a development suffix.

    State that is reused (checkpoints, predictions, cached encoders and features) is tied to it, and not to
    every commit.
    """
    return Version(gpu_ssl.__version__).base_version


def describe_environment() -> dict[str, Any]:
    """Describe this machine and process, as plain JSON values."""
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpu": cpu_name(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpus": [_gpu(index) for index in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda,
        "driver": driver_version(),
        "versions": {name: version for name in LIBRARIES if (version := library_version(name))},
    }


def driver_version() -> str | None:
    """Return the version of the NVIDIA driver, or None without a driver."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
    except OSError:
        # Not on Linux, or in a container that hides it.
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            text = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            return None
    found = re.search(r"\b\d{3}(\.\d+)+\b", text)
    return found.group() if found else None


def _gpu(index: int) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(index)
    return {
        "name": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "memory_bytes": properties.total_memory,
    }


def cpu_name() -> str:
    """Return the name of the CPU's model, or of its architecture where that is all that is known."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
