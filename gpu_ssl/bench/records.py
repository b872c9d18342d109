"""Immutable benchmark records: settings, environment and raw values."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError

from gpu_ssl.config import DataConfig, Settings
from gpu_ssl.errors import UsageError
from gpu_ssl.records import Record
from gpu_ssl.runtime.files import read_given

Phase = Literal["load", "upload", "train epoch", "encode", "handoff", "fit", "fit batched", "score"]
"""The timed phases. Sizes are numbers of images; for fits they are numbers of labels. ``fit`` uses cuML on a
GPU and scikit-learn on a CPU, ``fit batched`` the batched solver on the same device."""


class BenchConfig(Settings):
    """Settings of a benchmark; only records with equal settings are compared."""

    data: DataConfig = DataConfig()
    labels: tuple[int, ...] = Field(default=(100, 1000, 10_000, 60_000), min_length=1)
    images: tuple[int, ...] = Field(default=(1000, 10_000, 100_000), min_length=1)
    seed: int = Field(default=0, ge=0, lt=2**32)


class Sample(Record):
    """One timing of one phase at one size, with the device synchronized.

    `peak_bytes` is the peak resident memory of the process in the phase, None if the system does not report
    it. `accuracy` is the test accuracy after a fit.
    """

    phase: Phase
    size: int
    seconds: float
    peak_bytes: int | None = None
    accuracy: float | None = None


class Measurement(Record):
    """All timings of one phase at one size on one device, one per process."""

    phase: Phase
    size: int
    device: Literal["cpu", "cuda"]
    seconds: tuple[float, ...] = Field(min_length=1)
    peak_bytes: tuple[int | None, ...]
    accuracy: float | None


class BenchRecord(Record):
    """A benchmark: measurements with the settings, data and environment they depend on."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    gpu_ssl: str
    taken: str
    config: dict[str, Any]
    dataset_sha256: str
    repeats: int
    environment: dict[str, Any]
    not_measured: dict[str, str]
    """Devices that were not measured, and why."""
    measurements: tuple[Measurement, ...] = Field(min_length=1)

    def devices(self) -> tuple[str, ...]:
        """Return the devices that were measured."""
        return tuple(dict.fromkeys(m.device for m in self.measurements))

    def to_json(self) -> str:
        """Return the record as indented JSON, ending in a newline."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a record from a file.

        Raises
        ------
        UsageError
            If the file does not hold a record.
        """
        try:
            return cls.model_validate_json(read_given(path))
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from None
        except ValidationError:
            raise UsageError(f"{path} is not a record of gpu-ssl bench of this version") from None
