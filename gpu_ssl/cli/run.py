"""``gpu-ssl run``: one experiment, one table, one folder."""

import itertools
import shlex
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpu_ssl.cli.data import DATA_DIR
from gpu_ssl.cli.ranks import one_tells
from gpu_ssl.config import (
    DataConfig,
    ModelConfig,
    RunConfig,
    SVMConfig,
    TrainConfig,
    option_name,
    parse_label_counts,
)
from gpu_ssl.errors import GpuSslError, InterruptError, RankError, UsageError

if TYPE_CHECKING:
    from gpu_ssl.runtime.ranks import Ranks

NOT_SETTINGS = {"output", "resume", "as_json", "plots", "quiet"}
"""Options that do not change the outcome."""


@click.command()
@click.option(
    "--labels",
    default="all",
    show_default=True,
    metavar="COUNTS",
    help="Numbers of labelled images: 'all' (100, 600, 1000, 3000), 'full' (every label), or a list such as "
    "50,100,2000. Each is drawn with equally many images of every class.",
)
@click.option(
    "--method",
    "methods",
    default="m1",
    show_default=True,
    metavar="METHODS",
    help="How to use the labels; several separated by commas. m1: an SVM on the latents. graph: labels "
    "spread over the nearest latents (better with few labels). consistency: a network that must say the "
    "same of two views of an image, then an SVM on its features (best; on a CPU minutes for each split and "
    "number of labels). auto: consistency, or m1 where the labels speak against it. m2, m1m2: Kingma et "
    "al.'s generative models of images, and of latents. cnn: a network on the labelled images alone.",
)
@click.option(
    "--preset",
    type=click.Choice(["modern", "paper"]),
    default="modern",
    show_default=True,
    help="Networks and objectives: ours, or those of Kingma et al. 2014 (for m1, m2 and m1m2).",
)
@click.option(
    "--dataset",
    default="fashion-mnist",
    show_default=True,
    metavar="NAME",
    help="Data set; see: gpu-ssl data list.",
)
@DATA_DIR
@click.option(
    "--splits",
    type=int,
    default=5,
    show_default=True,
    help="How many choices of labelled images to average over.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of the VAE and of the choices of labels."
)
@click.option(
    "--baselines/--no-baselines",
    default=True,
    show_default=True,
    help="Also fit the SVM on raw pixels, principal components and ranks of pixels, on the same labels.",
)
@click.option(
    "--network",
    type=click.Choice(["conv", "mlp"]),
    help="The VAE's network: ours, or the perceptron of Kingma et al. 2014.  [default: conv; with --preset "
    "paper: mlp]",
)
@click.option("--latent-dim", type=int, help="Dimensions of the latents.  [default: 64; mlp: 50]")
@click.option("--kl-weight", type=float, help="Weight of the KL divergence.  [default: 0.05; mlp: 1]")
@click.option(
    "--epochs",
    type=int,
    help="Times to go through the images.  [default: 2 (mlp: 10), or as many as 300 (mlp: 1000) steps take]",
)
@click.option(
    "--batch-size", type=int, help="Images in a step of training.  [default: 256; fewer for a small data set]"
)
@click.option("--learning-rate", type=float, help="Peak learning rate.  [default: 0.01 (mlp: 0.006)]")
@click.option(
    "--augment/--no-augment",
    default=None,
    help="Train on random views (shifted, stretched, brighter or darker; mirrored where a mirror image is of "
    "the same class) to draw the same picture from all of them.  [default: on; mlp: off]",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    help="Number format of matrix products.  [default: auto, bfloat16 where the hardware has it]",
)
@click.option(
    "--features",
    type=click.Choice(["mean", "both"]),
    default="mean",
    show_default=True,
    help="What the SVM of m1 sees of an image: the posterior mean, or also the VAE's last hidden layer (some "
    "half a point better, and many times slower where labels are many).",
)
@click.option("--svm-c", type=float, help="Penalty C of the SVM.  [default: 5]")
@click.option("--svm-gamma", help="Kernel width of the SVM: 'scale' or a number.  [default: scale]")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="DEVICE",
    help="Where to compute: auto, cpu, cuda or cuda:N. Only auto may fall back to the CPU.",
)
@click.option(
    "--svm",
    "svm_backend",
    type=click.Choice(["auto", "sklearn", "cuml"]),
    default="auto",
    show_default=True,
    help="Who fits the SVMs.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for report, models and plots.  [default: runs/<time>-<dataset>-<method>]",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Go on with the unfinished run in DIR, with its settings.",
)
@click.option("--plots/--no-plots", default=True, show_default=True, help="Draw the plots.")
@click.option("--json", "as_json", is_flag=True, help="Print report.json on stdout, and nothing else.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Train a VAE on all images, use a few labels, print the table of accuracies.

    The VAE reads no label and is trained once; for each number of labels and each split every --method
    predicts the test images from the labelled ones. The test labels are read once, at the end. Report,
    settings, models and plots go to --output; an interrupted run goes on with --resume.

    \b
      gpu-ssl run --labels all
      gpu-ssl run --method m1,graph --labels all
      gpu-ssl run --method consistency --labels 100 --splits 1
      gpu-ssl run --dataset digits --labels 50,100,full --splits 10
      gpu-ssl run --labels 100 --json | jq '.results[0].accuracy_mean'
      torchrun --nproc-per-node=8 -m gpu_ssl run --batch-size 4096    the VAE on 8 GPUs
    """
    if options["resume"] is not None:
        _refuse_settings(ctx)
    config = None if options["resume"] is not None else make_config(options)
    from gpu_ssl.runtime.ranks import join_ranks

    ranks = join_ranks()
    with one_tells(ranks):
        if config is None:
            _resume(options["resume"], options, ranks)
        else:
            _begin(config, options, ranks)


def _begin(config: RunConfig, options: dict[str, Any], ranks: "Ranks") -> None:
    from gpu_ssl import experiment

    experiment.check(config, ranks)
    folder = ranks.share(_claim(options["output"], config) if ranks.leads else Path())
    _run(config, folder, options, ranks)


def _resume(folder: Path, options: dict[str, Any], ranks: "Ranks") -> None:
    """Go on with a run. Rank 0 reads its folder, which other machines need not see."""
    from gpu_ssl.report import writing

    found = (writing.read_config(folder), writing.read_report(folder)) if ranks.leads else None
    shared = ranks.share(found)
    assert shared is not None
    config, finished = shared
    if finished is None:
        _run(config, folder, options, ranks)
    elif ranks.leads:
        click.echo(f"{folder} holds a finished run; this is its report", err=True)
        _print_report(finished, folder, options["as_json"])


def _run(config: RunConfig, folder: Path, options: dict[str, Any], ranks: "Ranks") -> None:
    from gpu_ssl import experiment
    from gpu_ssl.cli.display import make_progress
    from gpu_ssl.report import writing

    progress = make_progress(options["quiet"] or not ranks.leads)
    resume = f"gpu-ssl run --resume {shlex.quote(str(folder))}"
    try:
        outcome = experiment.run_together(config, folder, progress, ranks)
        if outcome is None:
            return
        writing.finish_folder(folder, outcome, options["plots"])
    except RankError as error:
        raise RankError(f"{error}; go on, on any number of ranks, with: {resume}") from None
    except KeyboardInterrupt:
        raise InterruptError(f"interrupted; go on with: {resume}") from None
    except GpuSslError:
        if ranks.leads:
            writing.release_folder(folder)
        raise
    _print_report(outcome.report, folder, options["as_json"])


def _claim(output: Path | None, config: RunConfig) -> Path:
    """Make the folder of a new run; without `output` one with a name that no other run has."""
    from gpu_ssl.report import writing

    if output is not None:
        writing.claim_folder(output, config)
        return output
    name = f"{datetime.now().strftime('%Y%m%d-%H%M%S')}-{config.data.dataset}-{'-'.join(config.methods)}"
    for suffix in itertools.chain([""], (f"-{n}" for n in itertools.count(2))):
        folder = writing.DEFAULT_PARENT / f"{name}{suffix}"
        if not folder.exists():
            with suppress(UsageError):
                writing.claim_folder(folder, config)
                return folder
    raise AssertionError("unreachable: there is always another number")


def make_config(options: dict[str, Any]) -> RunConfig:
    """Make the settings of a run from the options of the command.

    Raises
    ------
    UsageError
        If an option cannot be; the message is one line that names it.
    """
    data_dir: Path | None = options["data_dir"]
    return RunConfig.of(
        # --resume may be called from another folder.
        data=DataConfig.of(dataset=options["dataset"], data_dir=data_dir and data_dir.absolute()),
        model=ModelConfig.of(
            network=options["network"] or ("mlp" if options["preset"] == "paper" else None),
            latent_dim=options["latent_dim"],
            kl_weight=options["kl_weight"],
        ),
        train=TrainConfig.of(
            **{
                name: options[name]
                for name in ("epochs", "batch_size", "learning_rate", "augment", "precision")
            }
        ),
        svm=SVMConfig.of(C=options["svm_c"], gamma=options["svm_gamma"]),
        labels=parse_label_counts(options["labels"]),
        **{
            name: options[name]
            for name in (
                "methods",
                "preset",
                "features",
                "splits",
                "seed",
                "baselines",
                "device",
                "svm_backend",
            )
        },
    )


def _refuse_settings(ctx: click.Context) -> None:
    given = [
        name
        for name in ctx.params
        if name not in NOT_SETTINGS
        and ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
    ]
    if given or ctx.params["output"] is not None:
        names = ", ".join(option_name(name) for name in given or ["output"])
        raise UsageError(
            f"--resume takes the settings of the run it goes on with; leave out {names}, "
            "or start a new run without --resume"
        )


def _print_report(report: Any, folder: Path, as_json: bool) -> None:
    from gpu_ssl.cli.display import make_console
    from gpu_ssl.report.table import render

    if as_json:
        click.echo(report.to_json(), nl=False)
        return
    console = make_console()
    console.print(render(report))
    console.print(f"Written to {folder}", soft_wrap=True, markup=False)
