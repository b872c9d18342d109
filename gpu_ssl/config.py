"""Frozen, validated settings. They are passed explicitly and go into every report whole."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from gpu_ssl.errors import UsageError

STANDARD_LABEL_COUNTS: Final = (100, 600, 1000, 3000)
"""What ``--labels all`` stands for: the counts of Kingma et al. 2014, Table 1."""

LabelCount = int | Literal["full"]
LabelCounts = tuple[LabelCount, ...] | Literal["all"]


class Settings(BaseModel):
    """Base of all settings: immutable, and a name that does not exist is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def of(cls, **values: Any) -> Self:
        """Make settings from those `values` that are not None; the others keep their defaults.

        Raises
        ------
        UsageError
            If a value cannot be; the message is one line that names the setting and the value.
        """
        try:
            return cls(**{name: value for name, value in values.items() if value is not None})
        except ValidationError as error:
            raise UsageError(_one_line(error)) from None

    @classmethod
    def from_json(cls, text: str, origin: Path) -> Self:
        """Read settings back from the JSON `text` of the file `origin`."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise UsageError(f"{origin} does not hold settings of this version: {_one_line(error)}") from None


def _one_line(error: ValidationError) -> str:
    problems = []
    for detail in error.errors(include_url=False):
        name = ".".join(str(part) for part in detail["loc"]) or "settings"
        message = detail["msg"].removeprefix("Value error, ")
        problems.append(
            f"{name.replace('_', '-')}: {message} (given: {detail['input']!r})" if detail["loc"] else message
        )
    return "; ".join(problems)


def parse_label_counts(text: str) -> LabelCounts:
    """Read label counts: ``all``, or a comma-separated list of whole numbers and ``full``.

    Parameters
    ----------
    text : str
        For instance ``"all"``, ``"full"`` or ``"50,100,2000"``.

    Returns
    -------
    tuple of (int or "full"), or "all"
        The counts in the order given, without repetitions.

    Raises
    ------
    UsageError
        If a part is neither ``full`` nor a positive whole number.
    """
    if text.strip() == "all":
        return "all"
    counts: dict[LabelCount, None] = {}
    for part in text.split(","):
        word = part.strip()
        if word == "full":
            counts["full"] = None
        elif word.isascii() and word.isdigit() and int(word) > 0:
            counts[int(word)] = None
        else:
            raise UsageError(
                f"--labels {text!r}: {word!r} is not a label count. "
                "Give 'all' (100, 600, 1000, 3000), 'full', or positive whole numbers such as 50,100,2000."
            )
    return tuple(counts)


def _label_counts(value: object) -> object:
    return parse_label_counts(value) if isinstance(value, str) else value


class DataConfig(Settings):
    """Which images, and where their files lie (None: the user's cache)."""

    dataset: str = "fashion-mnist"
    data_dir: Path | None = None


class ModelConfig(Settings):
    """The VAE. What is not given follows the network: the paper's for ``mlp``, ours for ``conv``."""

    network: Literal["conv", "mlp"] = "conv"
    latent_dim: int = Field(default=64, ge=1, le=4096)
    kl_weight: float = Field(default=0.05, ge=0, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _paper_defaults(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("network") == "mlp":
            return {"latent_dim": 50, "kl_weight": 1.0, **values}
        return values


class TrainConfig(Settings):
    """How the VAE is trained. None lets the data set or the network decide (see `models.training`)."""

    epochs: int | None = Field(default=None, ge=1, le=100_000)
    batch_size: int = Field(default=256, ge=2, le=65_536)
    learning_rate: float = Field(default=2e-3, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    augment: bool | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"


class SVMConfig(Settings):
    """The support vector machine on the latents."""

    C: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    gamma: Literal["scale"] | Annotated[float, Field(gt=0, allow_inf_nan=False)] = "scale"


class RunConfig(Settings):
    """Everything that decides the outcome of ``gpu-ssl run``."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    svm: SVMConfig = SVMConfig()
    labels: Annotated[LabelCounts, BeforeValidator(_label_counts)] = "all"
    splits: int = Field(default=5, ge=1, le=1000)
    seed: int = Field(default=0, ge=0, lt=2**32)
    baselines: bool = True
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    svm_backend: Literal["auto", "sklearn", "cuml"] = "auto"
