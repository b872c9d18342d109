"""Options that several commands share; defaults and names come from the catalog."""

import os
from pathlib import Path
from typing import Any, get_args

import click

from gpu_ssl import catalog
from gpu_ssl.cli.paths import GivenPath
from gpu_ssl.config import ModelConfig, SVMBackendName, SVMConfig, TrainConfig
from gpu_ssl.runtime.cache import VARIABLE


def _defaults(field: str) -> str:
    """Say what a setting is by default for each network of the VAE."""
    first, *others = catalog.NETWORKS
    listed = "".join(f"; {spec.name}: {getattr(spec, field):g}" for spec in others)
    return f"[default: {getattr(first, field):g}{listed}]"


def methods_help(*, baselines: bool) -> str:
    """Return one sentence a method."""
    specs = [spec for spec in catalog.METHODS if baselines or not spec.baseline]
    return " ".join(f"{spec.name}: {spec.help}." for spec in specs)


def encoders_help() -> str:
    """Return what encoders there are."""
    specs = [spec for spec in catalog.ENCODERS if not spec.internal]
    return ", ".join(f"{spec.name} ({spec.help})" for spec in specs)


def _choose_cache(ctx: click.Context, parameter: click.Parameter, folder: Path | None) -> None:
    """Tell all that reads the cache, in processes that this one starts, too."""
    if folder is not None:
        os.environ[VARIABLE] = str(folder.absolute())


CACHE_DIR = click.option(
    "--cache-dir",
    type=GivenPath(),
    envvar=VARIABLE,
    show_envvar=True,
    expose_value=False,
    callback=_choose_cache,
    metavar="DIR",
    help="Folder that keeps what is fetched, decoded or learned for the next time.  [default: the user's "
    "cache; where that cannot be written to, a temporary folder]",
)
DEVICE = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="DEVICE",
    help="Where to compute: auto, cpu, cuda or cuda:N. Only auto may fall back to the CPU.",
)
SVM = click.option(
    "--svm",
    "svm_backend",
    type=click.Choice(get_args(SVMBackendName)),
    default="auto",
    show_default=True,
    help="What solves the SVMs: auto (cuml where latents are on a GPU and cuML works, else sklearn), sklearn "
    "(LIBSVM on the CPU), cuml (one pair of classes at a time on the GPU), or batched (LIBSVM's algorithm in "
    "torch on any device, all pairs of all splits at once).",
)
SVM_C = click.option("--svm-c", type=float, help=f"Penalty C of the SVM.  [default: {SVMConfig().C:g}]")
CLASS_WEIGHT = click.option(
    "--class-weight",
    type=click.Choice(["balanced", "none"]),
    default=SVMConfig().class_weight,
    show_default=True,
    help="balanced: SVMs give rare classes as much weight as frequent ones, by a penalty C in inverse "
    "proportion to the labelled images of a class.",
)
ENCODER = click.option(
    "--encoder",
    metavar="NAME",
    help="Features that the method works on, where it leaves the choice: "
    + encoders_help()
    + "; joined by + such as vae+hog.  [default: those the method is made for]",
)
EFFORT_CHOICES = click.Choice(["auto", "quick", "normal", "best"])
EFFORT_HELP = (
    "What may be spent: with quick, --method auto takes seconds; with normal it may train a network (a "
    "minute or more on a CPU); with best it may train three that decide together, as --method consistency "
    "then does, in three times the time. auto is best on a GPU and quick on a CPU."
)
PRESET = click.option(
    "--preset",
    type=click.Choice(["modern", "paper"]),
    default="modern",
    show_default=True,
    help="Networks and objectives: ours, or those of Kingma et al. 2014 (for m1, m2 and m1m2).",
)
QUIET = click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
SEED = click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of everything that is random."
)
_OF_THE_VAE = (
    click.option(
        "--network",
        type=click.Choice([spec.name for spec in catalog.NETWORKS]),
        help="Network of the VAE: "
        + ", ".join(f"{spec.name} ({spec.help})" for spec in catalog.NETWORKS)
        + f".  [default: {catalog.NETWORKS[0].name}; with --preset paper: mlp]",
    ),
    click.option("--latent-dim", type=int, help=f"Dimensions of the latents.  {_defaults('latent_dim')}"),
    click.option("--kl-weight", type=float, help=f"Weight of the KL divergence.  {_defaults('kl_weight')}"),
    click.option(
        "--epochs",
        type=int,
        help=f"Passes over the images.  {_defaults('epochs')[:-1]}; of few images as many as "
        f"{catalog.NETWORKS[0].minimum_steps} steps take]",
    ),
    click.option(
        "--batch-size", type=int, help="Images in a step of training.  [default: 256; fewer for few]"
    ),
    click.option("--learning-rate", type=float, help=f"Peak learning rate.  {_defaults('learning_rate')}"),
    click.option(
        "--augment/--no-augment",
        default=None,
        help="Train on augmented images (shifted, stretched, brighter or darker; mirrored where a mirror "
        "image is of the same class) with one reconstruction target for all.  [default: on; mlp: off]",
    ),
    click.option(
        "--precision",
        type=click.Choice(["auto", "float32", "bfloat16"]),
        help="Number format of matrix products.  [default: auto, bfloat16 where the hardware has it]",
    ),
)


def vae_options(command: Any) -> Any:
    """Add the options of the VAE to a command."""
    for option in reversed(_OF_THE_VAE):
        command = option(command)
    return command


def take_vae_settings(options: dict[str, Any]) -> tuple[ModelConfig, TrainConfig]:
    """Take the settings of the VAE out of the options of a command.

    Raises
    ------
    UsageError
        If one is invalid.
    """
    network = options.pop("network") or ("mlp" if options["preset"] == "paper" else None)
    model = ModelConfig.of(
        network=network, **{name: options.pop(name) for name in ("latent_dim", "kl_weight")}
    )
    names = ("epochs", "batch_size", "learning_rate", "augment", "precision")
    return model, TrainConfig.of(**{name: options.pop(name) for name in names})
