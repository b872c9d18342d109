"""``gpu-ssl fit``: images of the user's own and a few labels in, a model out."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpu_ssl.cli.ranks import one_tells
from gpu_ssl.config import FitConfig, ModelConfig, SVMConfig, TrainConfig
from gpu_ssl.errors import InterruptError, RankError, UsageError

if TYPE_CHECKING:
    from gpu_ssl.data.own import OwnImages
    from gpu_ssl.fitted.records import ModelRecord
    from gpu_ssl.runtime.progress import Progress
    from gpu_ssl.runtime.ranks import Ranks

DEVICE = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="DEVICE",
    help="Where to compute: auto, cpu, cuda or cuda:N. Only auto may fall back to the CPU.",
)

LISTED = 5
"""Files that a message names."""


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--labels",
    "label_file",
    type=click.Path(path_type=Path),
    metavar="CSV",
    help="File with the columns path and label, for the few images that have one; paths are those below "
    "DATA, or positions in a file of many.  [default: the folders right below DATA name the classes]",
)
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, metavar="MODEL", help="Folder for the model."
)
@click.option(
    "--image-size",
    type=int,
    metavar="PIXELS",
    help="Longest side that images are scaled to.  [default: their own, at most 64]",
)
@click.option(
    "--mirror/--no-mirror",
    default=True,
    show_default=True,
    help="Whether a mirror image is of the same class. It is not for writing, or for left and right hands.",
)
@click.option("--latent-dim", type=int, help="Dimensions of the latents.  [default: 64]")
@click.option("--epochs", type=int, help="Times to go through the images.  [default: 2, or 300 steps]")
@click.option("--batch-size", type=int, help="Images in a step of training.  [default: 256; fewer for few]")
@click.option("--learning-rate", type=float, help="Peak learning rate.  [default: 0.01]")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    help="Number format of matrix products in training.  [default: auto, bfloat16 where the hardware has it]",
)
@click.option("--svm-c", type=float, help="Penalty C of the SVM.  [default: 5]")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of everything random.")
@DEVICE
@click.option(
    "--svm",
    "svm_backend",
    type=click.Choice(["auto", "sklearn", "cuml"]),
    default="auto",
    show_default=True,
    help="Who fits the SVM.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what model.json tells, and nothing else.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
def command(
    data: Path, label_file: Path | None, output: Path, as_json: bool, quiet: bool, **options: Any
) -> None:
    """Fit a classifier to images of your own, of which a few carry a label.

    DATA is a folder of images of any size and format, an .npy or .npz file, or a .parquet file of encoded
    images, or a folder of these, as Hugging Face has them (which may hold labels, too). A VAE learns from
    all images, an SVM from those with a label; cross-validation on these tells what to expect. DATA may be
    larger than memory: what does not fit is read as it is needed. An interrupted fit goes on when the same
    command is given again.

    \b
      gpu-ssl fit photos --labels labels.csv --output model
      gpu-ssl fit sorted-into-folders --output model
      torchrun --nproc-per-node=4 -m gpu_ssl fit many.npy --labels labels.csv --output model
      gpu-ssl predict model photos > answers.csv
    """
    from gpu_ssl.cli.display import make_progress
    from gpu_ssl.data.own import load_own
    from gpu_ssl.fitted.storage import MODEL, UNFINISHED
    from gpu_ssl.runtime.ranks import join_ranks

    config = FitConfig.of(
        model=ModelConfig.of(latent_dim=options.pop("latent_dim")),
        train=TrainConfig.of(
            **{name: options.pop(name) for name in ("epochs", "batch_size", "learning_rate", "precision")}
        ),
        svm=SVMConfig.of(C=options.pop("svm_c")),
        **options,
    )
    ranks = join_ranks()
    with one_tells(ranks):
        progress = make_progress(quiet or not ranks.leads)
        if ranks.leads:
            _check_output(output, data, MODEL, output / UNFINISHED)
            images = load_own(data, label_file, config.image_size, progress)
            _tell_of_trouble(images)
        ranks.share(None)
        if not ranks.leads:  # now that what rank 0 decoded is in the cache
            images = load_own(data, label_file, config.image_size, progress)
        record = _fit(images, config, output, progress, ranks)
    if record is None:
        return
    if as_json:
        click.echo(record.model_dump_json(by_alias=True, indent=2))
    else:
        _tell(record, output)


def _fit(
    images: "OwnImages", config: FitConfig, output: Path, progress: "Progress", ranks: "Ranks"
) -> "ModelRecord | None":
    """Fit, and write the model; on other ranks than the first only help."""
    from gpu_ssl.fitted.card import write_card
    from gpu_ssl.fitted.fitting import fit_together
    from gpu_ssl.fitted.storage import UNFINISHED, save
    from gpu_ssl.models import checkpoint

    unfinished = output / UNFINISHED
    try:
        fitted = fit_together(images, config, unfinished, progress, ranks)
    except RankError as error:
        raise RankError(f"{error}; the same command goes on, on any number of ranks") from None
    except KeyboardInterrupt:
        raise InterruptError("interrupted; the same command goes on") from None
    if fitted is None:
        return None
    save(output, fitted.model, fitted.record)
    write_card(output, fitted.record)
    checkpoint.remove(unfinished)
    return fitted.record


def _check_output(output: Path, data: Path, model: str, unfinished: Path) -> None:
    if output.resolve().is_relative_to(data.resolve()):
        raise UsageError(
            f"--output {output} lies in {data}, whose images it would join; name a folder elsewhere"
        )
    if (output / model).exists():
        raise UsageError(f"--output {output} holds a model already; name another folder, or delete it")
    if output.exists() and not (output.is_dir() and all(map(_is_of_checkpoint, output.iterdir()))):
        raise UsageError(f"--output {output} exists and is not an empty folder; name another")


def _is_of_checkpoint(path: Path) -> bool:
    """Whether `path` is what an interrupted fit leaves, wherever it was stopped."""
    return path.name.lstrip(".").startswith(("checkpoint.json", "checkpoint-", "model-"))


def _tell_of_trouble(images: "OwnImages") -> None:
    from gpu_ssl.data.own import duplicates

    tell_skipped(len(images.skipped), [f"{name}: {reason}" for name, reason in images.skipped.items()])
    for group in duplicates(images)[:LISTED]:
        click.echo(f"gpu-ssl: the same image under different labels: {', '.join(group)}", err=True)


def tell_skipped(count: int, lines: list[str]) -> None:
    """Tell on stderr how many files were skipped, and the first of them."""
    if not count:
        return
    click.echo(f"gpu-ssl: {count} files skipped, which are no readable images:", err=True)
    for line in lines[:LISTED]:
        click.echo(f"  {line}", err=True)
    if count > LISTED:
        click.echo(f"  and {count - LISTED} more", err=True)


def _tell(record: "ModelRecord", output: Path) -> None:
    from gpu_ssl.fitted.card import expectation, warning

    labelled = sum(record.n_labelled.values())
    channels, height, width = record.image_shape
    colours = "grey" if channels == 1 else "in colour"
    click.echo(
        f"{record.n_images:,} images of {width} x {height} pixels, {colours}; {labelled:,} labelled, "
        f"{len(record.class_names)} classes"
    )
    click.echo(f"On images like the labelled ones: {expectation(record)}")
    if record.estimate is not None and record.estimate.raw_pixels is not None:
        click.echo(f"An SVM on the raw pixels reaches {record.estimate.raw_pixels:.1%} on the same images")
    if (problem := warning(record.estimate)) is not None:
        click.echo(f"gpu-ssl: warning: {problem}", err=True)
    click.echo(f"Written to {output}; use it with: gpu-ssl predict {output} IMAGES")
