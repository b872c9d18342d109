"""Frozen, validated settings. They are passed explicitly and recorded in every report."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from gpu_ssl import catalog
from gpu_ssl.errors import UsageError

STANDARD_LABEL_COUNTS: Final = (100, 600, 1000, 3000)
"""What ``labels='all'`` stands for: the counts of Kingma et al. 2014, Table 1."""

Preset = Literal["modern", "paper"]
Effort = Literal["auto", "quick", "normal", "best"]
"""Computing budget: seconds, the training of one network, or of several."""

ClassWeight = Literal["none", "balanced"]
SVMBackendName = Literal["auto", "sklearn", "cuml", "batched"]

LabelCount = int | Literal["full"]
LabelCounts = tuple[LabelCount, ...] | Literal["all"]


class Settings(BaseModel):
    """Base of all settings: immutable; unknown names are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def of(cls, /, **values: Any) -> Self:
        """Create settings from those `values` that are not None; the others keep their defaults.

        Raises
        ------
        UsageError
            If a value is invalid; the message is one line that names the setting and the value.
        """
        try:
            return cls(**{name: value for name, value in values.items() if value is not None})
        except ValidationError as error:
            raise UsageError(_one_line(error)) from None


def _one_line(error: ValidationError) -> str:
    problems = {}
    details = error.errors(include_url=False)  # of a list without a valid member, also that it is too short
    for detail in [own for own in details if own["type"] != "too_short"] or details:
        # A setting of several types has a location for each; the last name of a setting is what counts.
        names = [str(part) for part in detail["loc"] if str(part).isidentifier()]
        name = f"`{names[-1]}`" if names else "settings"
        message = detail["msg"].removeprefix("Value error, ")
        # The value stands before the message.
        message = re.sub(
            rf"^there is no (\w+) {re.escape(repr(detail['input']))};", r"there is no such \1;", message
        )
        problems[name] = f"{name} {detail['input']!r}: {message}"
    return "; ".join(problems.values())


def device_name(value: str) -> str:
    """Return the name of a device unchanged.

    Raises
    ------
    ValueError
        If it is none of ``auto``, ``cpu``, ``cuda`` and ``cuda:N``.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", value):
        raise ValueError("allowed are auto, cpu, cuda and cuda:N with the number of a device")
    return value


def _gamma(value: object) -> object:
    if value == "scale":
        return value
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError("allowed are 'scale' and positive numbers")
    return number


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
        elif re.fullmatch(r"[0-9]{1,18}", word) and int(word) > 0:
            counts[int(word)] = None
        else:
            raise UsageError(
                f"`labels={_shortened(text)}`: {_shortened(word)} is not a label count. "
                "Give 'all' (100, 600, 1000, 3000), 'full', or positive whole numbers such as 50,100,2000."
            )
    return tuple(counts)


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _methods(value: object) -> object:
    names = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not names:
        raise ValueError("at least one method is needed")
    return tuple(dict.fromkeys(catalog.method(name).name for name in names))


def _method(value: str) -> str:
    return catalog.method(value).name


def _encoder(value: str) -> str:
    if not value:
        raise ValueError("an encoder has a name, such as vae or vae+hog")
    return "+".join(catalog.encoder_parts(value))


def _label_counts(value: object) -> object:
    if not value:
        raise ValueError("at least one number of labels is needed")
    return parse_label_counts(value) if isinstance(value, str) else value


MethodNames = Annotated[tuple[str, ...], BeforeValidator(_methods)]
"""At least one method, each once; also from text with commas."""

MethodName = Annotated[str, AfterValidator(_method)]
EncoderName = Annotated[str, AfterValidator(_encoder)]
"""An encoder of the catalog, or a sum of some, such as ``vae+hog``."""


class DataConfig(Settings):
    """The data set, and the folder of its files (None: the user's cache)."""

    dataset: str = "fashion-mnist"
    data_dir: Path | None = None


class ModelConfig(Settings):
    """The VAE; None stands for the default of the network (see `catalog.NETWORKS`)."""

    network: str = "conv"
    latent_dim: int = Field(default=64, ge=1, le=4096)
    kl_weight: float = Field(default=0.05, ge=0, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_network(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(name := values.get("network"), str):
            spec = catalog.network(name)
            return {"latent_dim": spec.latent_dim, "kl_weight": spec.kl_weight, **values}
        return values


class TrainConfig(Settings):
    """Training of the VAE; None stands for a default that depends on data and network (`training.plan`).

    `binarize` makes each pixel 0 or 1 at random in every step, by its intensity. Images are then not
    augmented.
    """

    epochs: int | None = Field(default=None, ge=1, le=100_000)
    batch_size: int | None = Field(default=None, ge=2, le=65_536)
    learning_rate: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    augment: bool | None = None
    binarize: bool = False
    kl_warm_up: float | None = Field(default=None, ge=0, le=1)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    @field_validator("binarize")
    @classmethod
    def _not_with_augmentation(cls, binarize: bool, info: ValidationInfo) -> bool:
        if binarize and info.data.get("augment"):
            raise ValueError("images are either binarized or augmented")
        return binarize


class SVMConfig(Settings):
    """The support vector machine on the latents.

    With `class_weight` ``balanced`` the penalty C of a class is multiplied by n / (k n_c), where n_c of the n
    labelled images are of this one of the k classes: rare classes count as much as frequent ones.
    """

    C: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    gamma: Annotated[Literal["scale"] | float, BeforeValidator(_gamma)] = "scale"
    class_weight: ClassWeight = "none"


class LearningConfig(Settings):
    """Settings of encoders, training and device."""

    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    svm: SVMConfig = SVMConfig()
    seed: int = Field(default=0, ge=0, lt=2**32)
    device: Annotated[str, AfterValidator(device_name)] = "auto"
    svm_backend: SVMBackendName = "auto"


class MethodConfig(LearningConfig):
    """Settings of methods: they work on the features of `encoder` (None: the default of the method).

    `steps` is the number for each network that a method trains; None stands for the method's default.
    """

    encoder: EncoderName | None = None
    effort: Effort = "auto"
    preset: Preset = "modern"
    steps: int | None = Field(default=None, ge=1, le=10_000_000)


def _refuse_unused_steps(steps: int | None, names: Sequence[str]) -> None:
    """Refuse `steps` if none of the methods called `names` trains a network for the labels."""
    if steps is not None and not any(catalog.method(name).trains for name in names):
        training = ", ".join(spec.name for spec in catalog.METHODS if spec.trains)
        raise ValueError(
            f"it trains no network for the labels, to which `steps={steps}` would apply; leave that out, or "
            f"take one of {training}"
        )


class FitConfig(MethodConfig):
    """Everything that determines the result of ``gpu-ssl fit``, except the images and labels.

    `image_size` is the longest side in pixels; None stands for a default that depends on the images.
    `mirror` says whether mirroring keeps the class.
    """

    method: MethodName = "auto"
    effort: Effort = "quick"
    image_size: int | None = Field(default=None, ge=8, le=256)
    mirror: bool = True

    @field_validator("method")
    @classmethod
    def _fits_other_settings(cls, name: str, others: ValidationInfo) -> str:
        svm = others.data.get("svm")
        if svm is not None and svm.class_weight != "none" and not catalog.method(name).svm:
            weighted = ", ".join(spec.name for spec in catalog.METHODS if spec.svm and not spec.baseline)
            raise ValueError(
                f"it fits no SVM, to which `class_weight={svm.class_weight}` would apply; leave that "
                f"out, or take one of {weighted}"
            )
        _refuse_unused_steps(others.data.get("steps"), [name])
        return name


class RunConfig(MethodConfig):
    """Everything that determines the result of ``gpu-ssl run``."""

    data: DataConfig = DataConfig()
    methods: MethodNames = ("m1", "hybrid")
    labels: Annotated[LabelCounts, BeforeValidator(_label_counts)] = "all"
    splits: int = Field(default=5, ge=1, le=1000)
    baselines: bool = True

    @field_validator("methods")
    @classmethod
    def _steps_are_taken(cls, names: tuple[str, ...], others: ValidationInfo) -> tuple[str, ...]:
        _refuse_unused_steps(others.data.get("steps"), names)
        return names
