"""Records made by hand for the tests of the benchmark."""

from typing import Any

from gpu_ssl.bench.records import BenchRecord


def record(
    seconds: dict[tuple[str, int, str], tuple[float, ...]],
    not_measured: dict[str, str] | None = None,
    **changes: Any,
) -> BenchRecord:
    """Make a record of these raw values by phase, size and device."""
    values: dict[str, Any] = {
        "gpu_ssl": "0",
        "taken": "2026-11-22T00:00:00+00:00",
        "config": {"seed": 0},
        "dataset_sha256": "abc",
        "repeats": 3,
        "environment": {},
        "not_measured": not_measured or {},
        "measurements": [
            {
                "phase": phase,
                "size": size,
                "device": device,
                "seconds": raw,
                "peak_bytes": [None] * len(raw),
                "accuracy": None,
            }
            for (phase, size, device), raw in seconds.items()
        ],
    }
    return BenchRecord.model_validate(values | changes)
