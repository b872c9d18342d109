"""Running the benchmark worker in fresh processes, alternating devices, and collecting its samples."""

import logging
import subprocess
import sys
from collections import defaultdict
from datetime import UTC, datetime
from typing import Literal

import gpu_ssl
from gpu_ssl.bench.records import BenchConfig, BenchRecord, Measurement, Sample
from gpu_ssl.data.catalog import find_spec
from gpu_ssl.data.loading import load_dataset
from gpu_ssl.errors import GpuSslError, UsageError
from gpu_ssl.runtime.device import cuda_problem
from gpu_ssl.runtime.environment import describe_environment
from gpu_ssl.runtime.progress import Progress

logger = logging.getLogger(__name__)

Device = Literal["cpu", "cuda"]


def check(config: BenchConfig) -> BenchConfig:
    """Return `config` without the label counts that are invalid for the data set.

    Raises
    ------
    UsageError
        If no label count is left, or the data set is unknown.
    """
    spec = find_spec(config.data.dataset)
    allowed = tuple(n for n in config.labels if len(spec.class_names) <= n <= spec.n_train)
    if not allowed:
        raise UsageError(
            f"`labels={','.join(map(str, config.labels))}`: {spec.name} allows "
            f"{len(spec.class_names)} to {spec.n_train} labels"
        )
    if allowed != config.labels:
        logger.warning(
            "%s allows %s labels; the other label counts are skipped", spec.name, ", ".join(map(str, allowed))
        )
    return config.model_copy(update={"labels": allowed})


def run(config: BenchConfig, device: str, repeats: int, progress: Progress) -> BenchRecord:
    """Measure `repeats` times on each requested device: ``cpu``, ``cuda``, or ``all`` available ones.

    Devices alternate, so that a temporary slowdown of the machine affects all of them.

    Raises
    ------
    GpuSslError
        If a process fails.
    """
    problem = None if device == "cpu" else cuda_problem()
    if device == "cuda" and problem:
        raise GpuSslError(f"`device=cuda`: {problem}")
    devices: list[Device] = ["cpu"] if device == "cpu" or problem else ["cpu", "cuda"]
    if device == "cuda":
        devices = ["cuda"]
    dataset = load_dataset(config.data, progress)
    samples: dict[tuple[Device, str, int], list[Sample]] = defaultdict(list)
    with progress.task("Measuring", repeats * len(devices)) as advance:
        for _ in range(repeats):
            for name in devices:
                for sample in _run_worker(config, name):
                    samples[name, sample.phase, sample.size].append(sample)
                advance(name)
    measurements = (
        Measurement(
            phase=group[0].phase,
            size=group[0].size,
            device=name,
            seconds=tuple(sample.seconds for sample in group),
            peak_bytes=tuple(sample.peak_bytes for sample in group),
            accuracy=group[-1].accuracy,
        )
        for (name, *_), group in samples.items()
    )
    return BenchRecord(
        gpu_ssl=gpu_ssl.__version__,
        taken=datetime.now(UTC).isoformat(timespec="seconds"),
        config=config.model_dump(mode="json", exclude={"data": {"data_dir"}}),
        dataset_sha256=dataset.sha256,
        repeats=repeats,
        environment=describe_environment(),
        not_measured={"cuda": problem} if problem else {},
        measurements=tuple(measurements),
    )


def _run_worker(config: BenchConfig, device: str) -> list[Sample]:
    done = subprocess.run(
        # -P: modules of the current folder, such as a random.py, are not those of Python.
        [sys.executable, "-P", "-m", "gpu_ssl.bench.worker", device],
        input=config.model_dump_json(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no error output"])[-1]
        raise GpuSslError(f"the benchmark process on {device} failed: {reason}")
    return [Sample.model_validate_json(line) for line in done.stdout.splitlines()]
