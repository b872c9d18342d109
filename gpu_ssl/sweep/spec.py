"""The specification of a sweep: a TOML file, and its cells."""

import itertools
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from gpu_ssl import catalog
from gpu_ssl.config import (
    DataConfig,
    LabelCount,
    MethodNames,
    ModelConfig,
    Preset,
    RunConfig,
    Settings,
    SVMConfig,
    TrainConfig,
)
from gpu_ssl.errors import UsageError
from gpu_ssl.runtime.files import read_given, to_keep

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$", max_length=60)]


class Variant(Settings):
    """Named settings to compare; others keep their defaults."""

    name: Name = "default"
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    svm: SVMConfig = SVMConfig()
    preset: Preset = "modern"

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_preset(cls, values: Any) -> Any:
        parts = [values.get(name, {}) for name in ("model", "train")] if isinstance(values, dict) else []
        if not parts or values.get("preset") != "paper" or not all(isinstance(part, dict) for part in parts):
            return values
        model, train = catalog.with_preset("paper", *parts)
        return {**values, "model": model, "train": train}


class SweepSpec(Settings):
    """A sweep: every data set with every method, number of labels, seed and variant of the settings.

    `splits` is the number of choices of labels in each cell; each seed has its own choices and VAE.
    """

    datasets: tuple[Name, ...] = Field(min_length=1)
    methods: MethodNames = ("m1",)
    labels: tuple[LabelCount, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    splits: int = Field(default=5, ge=1, le=1000)
    data_dir: Path | None = None
    settings: tuple[Variant, ...] = Field(default=(Variant(),), min_length=1)

    @classmethod
    def read(cls, path: Path) -> "SweepSpec":
        """Read a sweep from a TOML file.

        Raises
        ------
        UsageError
            If it is unreadable or invalid.
        """
        try:
            content = tomllib.loads(read_given(path).decode())
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} is not TOML: {error}") from error
        try:
            spec = cls.of(**content)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error
        names = [variant.name for variant in spec.settings]
        if len(set(names)) < len(names):
            raise UsageError(f"{path}: two settings are named {max(names, key=names.count)!r}")
        return spec


@dataclass(frozen=True)
class SweepCell:
    """One method at one number of labels, of one data set, seed and variant."""

    variant: str
    config: RunConfig

    @property
    def vae_name(self) -> str:
        """Name of the VAE shared with other cells."""
        return f"{self.config.data.dataset}-{self.variant}-seed-{self.config.seed}"

    @property
    def name(self) -> str:
        """Name of the cell's folder."""
        assert self.config.labels != "all"
        return f"{self.vae_name}-{self.config.methods[0]}-{self.config.labels[0]}-labels"


def sweep_cells(spec: SweepSpec, device: str) -> list[SweepCell]:
    """Return the cells of a sweep, ordered by VAE.

    The baselines are computed with the cells of the first method, once for each combination.
    """
    groups = itertools.product(spec.datasets, spec.settings, spec.seeds, spec.methods, spec.labels)
    return [
        SweepCell(
            variant.name,
            RunConfig.of(
                data=DataConfig(dataset=dataset, data_dir=spec.data_dir and to_keep(spec.data_dir)),
                model=variant.model,
                train=variant.train,
                svm=variant.svm,
                preset=variant.preset,
                methods=(method,),
                labels=(labels,),
                splits=spec.splits,
                seed=seed,
                baselines=method == spec.methods[0],
                device=device,
            ),
        )
        for dataset, variant, seed, method, labels in dict.fromkeys(groups)
    ]
