"""Compares two benchmarks of the same work, and says so where the spread covers the difference."""

import statistics
from dataclasses import dataclass

from gpu_ssl.bench.records import BenchRecord, Measurement
from gpu_ssl.errors import UsageError

FEWEST = 4
"""With fewer values on a side, ranges lie apart by chance too often to mean anything."""


@dataclass(frozen=True)
class Comparison:
    """One phase at one size: `ratio` is how many times as fast the second is.

    The difference is significant where the ranges of the raw values do not overlap, of at least `FEWEST`
    values each: of two equal things with 5 values each that happens by chance once in 126 times.
    """

    phase: str
    size: int
    devices: tuple[str, str]
    medians: tuple[float, float]
    ratio: float
    significant: bool


def compare(first: BenchRecord, second: BenchRecord) -> list[Comparison]:
    """Compare two records, device with same device, or the one device of each.

    A record with two devices is compared with itself as CPU against GPU.

    Raises
    ------
    UsageError
        If the records are not of the same work, or no devices can be told apart.
    """
    works = [record.config | {"data hash": record.dataset_sha256[:12]} for record in (first, second)]
    different = [name for name in works[0] if works[0][name] != works[1].get(name)]
    if different:
        told = "; ".join(f"{name} is {works[0][name]} and {works[1].get(name)}" for name in different)
        raise UsageError(f"the records are of different work: {told}")
    return [
        _compared(one, other)
        for one_device, other_device in _pairs(first, second)
        for one in first.measurements
        for other in second.measurements
        if (one.device, other.device) == (one_device, other_device)
        and (one.phase, one.size) == (other.phase, other.size)
    ]


def _pairs(first: BenchRecord, second: BenchRecord) -> list[tuple[str, str]]:
    if first == second:
        if len(first.devices()) < 2:
            missing = "; ".join(f"{name} was not measured: {why}" for name, why in first.not_measured.items())
            raise UsageError(
                f"one record with one device has nothing to compare ({missing or 'only one was asked for'}); "
                "give a second record"
            )
        return [("cpu", "cuda")]
    common = [(name, name) for name in first.devices() if name in second.devices()]
    return common or [(first.devices()[0], second.devices()[0])]


def _compared(one: Measurement, other: Measurement) -> Comparison:
    medians = statistics.median(one.seconds), statistics.median(other.seconds)
    apart = max(one.seconds) < min(other.seconds) or max(other.seconds) < min(one.seconds)
    return Comparison(
        phase=one.phase,
        size=one.size,
        devices=(one.device, other.device),
        medians=medians,
        ratio=medians[0] / medians[1],
        significant=apart and min(len(one.seconds), len(other.seconds)) >= FEWEST,
    )
