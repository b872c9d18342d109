"""Frozen records of a run: the content of ``report.json``, whose schema has a version."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION: Literal[5] = 5


CURVE_STEPS = 100
"""Steps that a value of a learning curve is the mean loss of."""


class Record(BaseModel):
    """Base of all records: immutable, and nothing in it that the schema does not name."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Choice(Record):
    """A device or backend: what was asked for, what was used and why."""

    requested: str
    used: str
    reason: str


class DatasetRecord(Record):
    """Which images were used; `sha256` covers pixels, shapes and labels of both parts."""

    name: str
    sha256: str
    n_train: int
    n_test: int
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]


class Result(Record):
    """Accuracies of one method at one number of labels, each a fraction of the test images.

    `accuracy_std` is the sample standard deviation (ddof = 1) over the splits; None for a single split.
    `seconds` is what each split took, apart from the encoders that all share (a graph counts in the first
    split that needs it). `reasons` says, split by split, what a method that chooses has chosen and why.
    `curves` are the learning curves of the splits' networks: the mean loss of every `CURVE_STEPS` steps.
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
    """Mean over splits of one method's accuracy minus another's, in fractions, with a 95 % interval."""

    method: str
    against: str
    labels: int
    mean: float
    low: float
    high: float


class Published(Record):
    """A figure somebody else published for the same task; not measured here."""

    name: str
    labels: int
    accuracy: float
    source: str


class EpochLosses(Record):
    """Mean losses of one epoch in nats per image, and the time it took in seconds.

    `curve` has the mean loss of each part of the epoch, the parts as long as each other or nearly so, in
    order: reconstruction and KL divergence, as the objective weighs the latter in the end.
    """

    epoch: int
    reconstruction: float
    kl: float
    seconds: float
    curve: tuple[float, ...] = ()


class TrainingRecord(Record):
    """How the VAE was trained, with what `TrainConfig` left open filled in, by how many processes."""

    epochs: int
    steps: int
    parameters: int
    precision: str
    augment: bool
    mirror: bool
    ranks: int = 1
    history: tuple[EpochLosses, ...]


class Timings(Record):
    """Wall-clock seconds of each phase, taken after a synchronize; no second is in two of them.

    `startup` is what the process took until the settings were checked: Python, its imports, the search for a
    GPU; 0 where no command line began it, or the system does not tell. `warm_up` is what a GPU takes to load
    its libraries and choose its algorithms, 0 on the CPU. `train` covers the encoders, in this process only
    (a resumed run trains fewer epochs); `encode` and `handoff` make features and pass them to the SVM
    library. `fit` and `score` are the methods, baselines among them.
    `total` runs from the start of the process, or else from the check of the settings, to the score, and
    includes what no phase names, but not the plots after.
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
    total: float

    @classmethod
    def of(cls, seconds: Mapping[str, float], total: float) -> Self:
        """Make it of the seconds of phases; one that did not occur took none."""
        phases = [name for name in cls.model_fields if name != "total"]
        return cls(**{name: seconds.get(name, 0.0) for name in phases}, total=total)

    def begun(self, startup: float) -> Self:
        """Return it with what came before."""
        return self.model_copy(update={"startup": startup, "total": startup + self.total})


class Report(Record):
    """All that a run found, with all that decided it.

    Of methods that train networks on a CPU, the seconds of a split were taken while up to `jobs` splits were
    worked on at a time.
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
        """Take the content of ``report.json``, which names its kind and its hash, too."""
        if isinstance(values, Mapping):
            return {name: value for name, value in values.items() if name not in ("kind", "sha256")}
        return values

    def to_json(self) -> str:
        """Return the report as indented JSON, ending in a newline."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"
