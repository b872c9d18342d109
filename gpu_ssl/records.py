"""Frozen records of a run: the content of ``report.json``, whose schema has a version."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION: Literal[5] = 5


CURVE_STEPS = 100
"""Number of steps over which a value of a learning curve is averaged."""


class Record(BaseModel):
    """Base of all records: immutable; unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Choice(Record):
    """A device or backend: what was requested, what was used and why."""

    requested: str
    used: str
    reason: str


class DatasetRecord(Record):
    """The data set; `sha256` covers pixels, shapes and labels of both parts."""

    name: str
    sha256: str
    n_train: int
    n_test: int
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]


class Result(Record):
    """Accuracies of one method at one number of labels, each a fraction of the test images.

    `accuracy_std` is the sample standard deviation (ddof = 1) over the splits; None for a single split.
    `seconds` is the time of each split without the shared encoders (a graph counts in the first split that
    needs it). `reasons` has, for each split, what a method with a choice has chosen and why. `curves` are
    the learning curves of the splits' networks: the mean loss of every `CURVE_STEPS` steps.
    """

    method: str
    labels: int
    splits: int
    accuracy_mean: float
    accuracy_std: float | None
    accuracies: tuple[float, ...]
    seconds: tuple[float, ...]
    reasons: tuple[str, ...] = ()
    curves: tuple[tuple[float, ...], ...] = ()


class Difference(Record):
    """Mean over splits of the difference of two methods' accuracies (fractions), with a 95 % interval."""

    method: str
    against: str
    labels: int
    mean: float
    low: float
    high: float


class Published(Record):
    """An accuracy that others published for the same task; not measured here."""

    name: str
    labels: int
    accuracy: float
    source: str


class EpochLosses(Record):
    """Mean losses of one epoch in nats per image, and the time it took in seconds.

    `curve` has the mean loss of each part of the epoch, in order; parts are of about equal length. A loss is
    reconstruction plus KL divergence with its final weight.
    """

    epoch: int
    reconstruction: float
    kl: float
    seconds: float
    curve: tuple[float, ...] = ()


class TrainingRecord(Record):
    """How the VAE was trained: `TrainConfig` with its defaults resolved, and the number of processes."""

    epochs: int
    steps: int
    parameters: int
    precision: str
    augment: bool
    mirror: bool
    ranks: int = 1
    history: tuple[EpochLosses, ...]

    def loss_by_step(self) -> list[tuple[float, float]]:
        """Return the last step of each part of the epochs, and the mean loss of that part."""
        per_epoch = self.steps / max(self.epochs, 1)
        return [
            (per_epoch * (epoch + (i + 1) / len(losses.curve)), value)
            for epoch, losses in enumerate(self.history)
            for i, value in enumerate(losses.curve)
        ]


class Timings(Record):
    """Wall-clock seconds of each phase, measured after a synchronize; phases do not overlap.

    `startup` is the time until the settings were checked: Python, its imports, the search for a GPU; 0 if not
    started from the command line, or if the system does not report it. `warm_up` is the time in which a GPU
    loads its libraries and chooses its algorithms, 0 on the CPU. `train` covers the encoders, in this
    process only (a resumed run trains fewer epochs); `encode` and `handoff` compute features and pass them
    to the SVM library. `fit` and `score` are the methods, baselines among them. `write` is the time for which
    the run waits for encoders, classifiers and predictions to be on disk (with several processes it is in
    `fit`); 0 in records of earlier versions.
    `total` runs from the start of the process, or else from the check of the settings, to the score, and
    includes what is in no phase, but not the plots.
    """

    startup: float = 0.0
    load: float
    upload: float
    warm_up: float
    train: float
    encode: float
    handoff: float
    fit: float
    score: float
    write: float = 0.0
    total: float

    @classmethod
    def of(cls, seconds: Mapping[str, float], total: float) -> Self:
        """Create it from the seconds of phases; missing phases count as 0."""
        phases = [name for name in cls.model_fields if name != "total"]
        return cls(**{name: seconds.get(name, 0.0) for name in phases}, total=total)

    def begun(self, startup: float) -> Self:
        """Return it with the time before the run added."""
        return self.model_copy(update={"startup": startup, "total": startup + self.total})


class Report(Record):
    """The results of a run, with all that determined them.

    For methods that train networks on a CPU, the seconds of a split were measured while up to `jobs` splits
    ran in parallel.
    """

    schema_version: Literal[5] = Field(default=SCHEMA_VERSION, alias="schema")
    gpu_ssl: str
    started: str
    config: dict[str, Any]
    environment: dict[str, Any]
    dataset: DatasetRecord
    device: Choice
    svm: Choice
    training: TrainingRecord | None
    results: tuple[Result, ...] = Field(min_length=1)
    differences: tuple[Difference, ...] = ()
    published: tuple[Published, ...]
    timings: Timings
    jobs: int = 1

    @model_validator(mode="before")
    @classmethod
    def _as_it_is_kept(cls, values: Any) -> Any:
        """Create it from the content of ``report.json``, which also holds its kind and hash."""
        if isinstance(values, Mapping):
            return {name: value for name, value in values.items() if name not in ("kind", "sha256")}
        return values

    def to_json(self) -> str:
        """Return the report as indented JSON, ending in a newline."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"
