"""Comparing two benchmark records of the same work, with a significance test."""

import statistics
from dataclasses import dataclass
from typing import Literal

from gpu_ssl.bench.records import BenchRecord, Measurement
from gpu_ssl.errors import UsageError

Doubt = Literal["", "within the spread", "too few repeats"]

FEWEST = 4
"""Minimum number of values per side; with fewer, disjoint ranges are too likely to be chance."""


@dataclass(frozen=True)
class Comparison:
    """Comparison of one phase at one size; `ratio` is the speed-up of the second over the first.

    `doubt` is why a difference is not significant: the ranges of the raw values overlap, or a side has fewer
    than `FEWEST` values. It is empty for a significant difference. For two equal distributions with 5 values
    each, this has a probability of 1/126.
    """

    phase: str
    size: int
    devices: tuple[str, str]
    medians: tuple[float, float]
    ratio: float
    doubt: Doubt

    @property
    def significant(self) -> bool:
        """Whether there is no doubt that the two differ."""
        return not self.doubt


def compare(first: BenchRecord, second: BenchRecord) -> list[Comparison]:
    """Compare two records: the devices they have in common, or else the first device of each.

    Comparing a record with itself compares its CPU with its GPU.

    Raises
    ------
    UsageError
        If the records measure different work, or a single record has only one device.
    """
    works = [record.config | {"data hash": record.dataset_sha256[:12]} for record in (first, second)]
    different = [name for name in works[0] if works[0][name] != works[1].get(name)]
    if different:
        listed = "; ".join(f"{name} is {works[0][name]} and {works[1].get(name)}" for name in different)
        raise UsageError(
            f"the records measure different work: {listed}; "
            "run bench with the same `dataset`, `images`, `labels` and `seed` for both"
        )
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
                f"a single record with one device has nothing to compare ({missing or 'only one requested'});"
                " give a second record"
            )
        return [("cpu", "cuda")]
    common = [(name, name) for name in first.devices() if name in second.devices()]
    return common or [(first.devices()[0], second.devices()[0])]


def _compared(one: Measurement, other: Measurement) -> Comparison:
    medians = statistics.median(one.seconds), statistics.median(other.seconds)
    return Comparison(
        phase=one.phase,
        size=one.size,
        devices=(one.device, other.device),
        medians=medians,
        ratio=medians[0] / medians[1],
        doubt=_doubt(one.seconds, other.seconds),
    )


def _doubt(one: tuple[float, ...], other: tuple[float, ...]) -> Doubt:
    if max(one) >= min(other) and max(other) >= min(one):
        return "within the spread"
    return "too few repeats" if min(len(one), len(other)) < FEWEST else ""
