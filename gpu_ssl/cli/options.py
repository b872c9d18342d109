"""Options shared by several commands; defaults and names come from the catalog."""

import os
from pathlib import Path
from typing import Any, get_args

import click

from gpu_ssl import catalog
from gpu_ssl.cli.paths import GivenPath
from gpu_ssl.config import ModelConfig, SVMBackendName, SVMConfig, TrainConfig
from gpu_ssl.runtime.cache import VARIABLE


def _defaults(field: str) -> str:
    """Return the default of a setting for each network of the VAE."""
    first, *others = catalog.NETWORKS
    listed = "".join(f"; {spec.name}: {getattr(spec, field):g}" for spec in others)
    return f"[default: {getattr(first, field):g}{listed}]"


def methods_help(*, baselines: bool) -> str:
    """Return one sentence for each method."""
    specs = [spec for spec in catalog.METHODS if baselines or not spec.baseline]
    return " ".join(f"{spec.name}: {spec.help}." for spec in specs)


def encoders_help() -> str:
    """Return the encoders with their descriptions."""
    specs = [spec for spec in catalog.ENCODERS if not spec.internal]
    return ", ".join(f"{spec.name} ({spec.help})" for spec in specs)


def _choose_cache(ctx: click.Context, parameter: click.Parameter, folder: Path | None) -> None:
    """Set the cache folder for this process and those that it starts."""
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
    help="Cache for downloads, decoded images and trained encoders.  [default: the user's cache, or a "
    "temporary folder if that is not writable]",
)
DEVICE = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="DEVICE",
    help="Device: auto, cpu, cuda or cuda:N. Only auto may fall back to the CPU.",
)
SVM = click.option(
    "--svm",
    "svm_backend",
    type=click.Choice(get_args(SVMBackendName)),
    default="auto",
    show_default=True,
    help="SVM solver: auto (cuml if features are on a GPU and cuML works, else sklearn; on a CPU "
    "up to 200 points batched), sklearn (LIBSVM on the CPU), cuml (several pairs of classes in parallel on "
    "the GPU), or batched (LIBSVM's algorithm in torch on any device, all pairs of all splits at once).",
)
SVM_C = click.option("--svm-c", type=float, help=f"Penalty C of the SVM.  [default: {SVMConfig().C:g}]")
CLASS_WEIGHT = click.option(
    "--class-weight",
    type=click.Choice(["balanced", "none"]),
    default=SVMConfig().class_weight,
    show_default=True,
    help="balanced: weight classes in inverse proportion to their number of labelled images.",
)
ENCODER = click.option(
    "--encoder",
    metavar="NAME",
    help="Features for methods that work with any: "
    + encoders_help()
    + "; sums such as vae+hog.  [default: depends on the method]",
)
EFFORT_CHOICES = click.Choice(["auto", "quick", "normal", "best"])
EFFORT_HELP = (
    "Computing budget. quick: --method auto takes seconds. normal: it may train a network (a minute or more "
    "on a CPU). best: it may train an ensemble of three, as --method consistency then does, in three times "
    "the time. auto: normal on a GPU, quick on a CPU."
)
PRESET = click.option(
    "--preset",
    type=click.Choice(["modern", "paper"]),
    default="modern",
    show_default=True,
    help="Networks and objectives: modern, or as published by Kingma et al. 2014 (for m1, m2 and m1m2).",
)
STEPS = click.option(
    "--steps",
    type=int,
    help="Number of training steps per network, for the methods m2, m1m2, consistency and cnn.  "
    "[default: depends on method, labels and images; the paper's authors took 300,000 for m1m2]",
)
QUIET = click.option("-q", "--quiet", is_flag=True, help="Hide progress.")
SEED = click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
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
        "--kl-warm-up",
        type=float,
        help="Fraction of the steps in which that weight rises from 0 to its value, so that more latents are "
        f"used.  {_defaults('kl_warm_up')[:-1]}; with --preset paper: 0]",
    ),
    click.option(
        "--epochs",
        type=int,
        help=f"Number of epochs.  {_defaults('epochs')[:-1]}; more for small data sets, to reach "
        f"{catalog.NETWORKS[0].minimum_steps} steps ({catalog.NETWORKS[0].steps_of_tiny} of images of up to "
        f"{catalog.TINY} pixels; mlp: {catalog.NETWORKS[1].minimum_steps})]",
    ),
    click.option(
        "--batch-size", type=int, help="Batch size of VAE training.  [default: 256; less for small data sets]"
    ),
    click.option("--learning-rate", type=float, help=f"Peak learning rate.  {_defaults('learning_rate')}"),
    click.option(
        "--augment/--no-augment",
        default=None,
        help="Train the VAE with augmentation (shift, stretch, brightness, and mirroring unless it changes "
        "the class), with one reconstruction target for all augmentations.  [default: on; mlp: off]",
    ),
    click.option(
        "--binarize/--no-binarize",
        default=None,
        help="Train the VAE on pixels that are 0 or 1, sampled by their intensities in every step, without "
        "augmentation, as Kingma et al. did.  [default: off; with --preset paper: on]",
    ),
    click.option(
        "--precision",
        type=click.Choice(["auto", "float32", "bfloat16"]),
        help="Precision of matrix products.  [default: auto, bfloat16 where that is faster]",
    ),
)


def vae_options(command: Any) -> Any:
    """Add the options of the VAE to a command."""
    for option in reversed(_OF_THE_VAE):
        command = option(command)
    return command


def take_vae_settings(options: dict[str, Any]) -> tuple[ModelConfig, TrainConfig]:
    """Pop the settings of the VAE from the options of a command.

    Raises
    ------
    UsageError
        If one is invalid.
    """
    given = [
        {name: options.pop(name) for name in settings.model_fields if name in options}
        for settings in (ModelConfig, TrainConfig)
    ]
    model, train = catalog.with_preset(options["preset"], *given)
    return ModelConfig.of(**model), TrainConfig.of(**train)
