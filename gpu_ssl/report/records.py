"""Frozen records of a run: the content of ``report.json``, whose schema has a version."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION: Literal[3] = 3

METHOD_TITLES = {
    "m1": "M1: SVM on VAE latents",
    "m2": "M2: the class is a latent variable",
    "m1m2": "M1+M2: M2 on the latents of M1",
    "graph": "graph: labels spread over latents",
    "consistency": "consistency: SVM on a network's features",
    "auto": "auto: what the labelled images speak for",
    "cnn": "network on the labelled images alone",
    "raw-svc": "SVM on raw pixels",
    "pca-svc": "SVM on 50 principal components",
    "rank-svc": "SVM on ranks of pixels",
}
"""What the names of methods in a report stand for."""


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
    `seconds` is what each split took, beside the VAE that all share (a graph counts in the first split that
    needs it). `reasons` tells, split by split, what a method that chooses has chosen and why. `curves` are
    the learning curves of the splits' networks: the mean loss in every 100 steps.
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
    """Mean losses of one epoch in nats per image, and the time it took in seconds."""

    epoch: int
    reconstruction: float
    kl: float
    seconds: float


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
    """Wall-clock seconds of each phase, taken after a synchronize.

    `warm_up` is what a GPU takes to load its libraries and choose its algorithms, 0 on the CPU. `train`
    covers this process alone (a resumed run trains fewer epochs). `fit` and `score` are the SVMs
    of M1; `methods` is all work of other methods but the VAE, and `baselines` that of the baselines.
    `total` runs from the check of the settings to the score and includes what no phase names, but not the
    imports before and the plots after.
    """

    load: float
    upload: float
    warm_up: float = 0.0
    train: float
    encode: float
    handoff: float
    fit: float
    score: float
    methods: float = 0.0
    baselines: float
    total: float


class Report(Record):
    """All that a run found, with all that decided it."""

    schema_version: Literal[3] = Field(default=SCHEMA_VERSION, alias="schema")
    gpu_ssl: str
    started: str
    config: dict[str, Any]
    environment: dict[str, Any]
    dataset: DatasetRecord
    device: Choice
    svm: Choice
    training: TrainingRecord
    results: tuple[Result, ...] = Field(min_length=1)
    differences: tuple[Difference, ...] = ()
    published: tuple[Published, ...]
    timings: Timings

    def to_json(self) -> str:
        """Return the report as indented JSON, ending in a newline."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"
