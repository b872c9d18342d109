"""``gpu-ssl fit``: a model from the user's images and a few labels."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpu_ssl import catalog
from gpu_ssl.cli.messages import print_item, print_message, show
from gpu_ssl.cli.options import (
    CACHE_DIR,
    CLASS_WEIGHT,
    DEVICE,
    EFFORT_CHOICES,
    EFFORT_HELP,
    ENCODER,
    PRESET,
    QUIET,
    SEED,
    STEPS,
    SVM,
    SVM_C,
    methods_help,
    take_vae_settings,
    vae_options,
)
from gpu_ssl.cli.own_options import described, reading_options, take_reading, tell_problems
from gpu_ssl.cli.paths import GivenPath
from gpu_ssl.cli.ranks import one_tells
from gpu_ssl.cli.tracking import TRACK, tracking
from gpu_ssl.config import FitConfig, SVMConfig
from gpu_ssl.errors import InterruptError, RankError, UsageError

if TYPE_CHECKING:
    from gpu_ssl.data.own import OwnImages
    from gpu_ssl.fitted.fitting import Fit
    from gpu_ssl.runtime.progress import Progress
    from gpu_ssl.runtime.ranks import Ranks

SPACE = 16 * 2**20
"""Minimum size in bytes of a model with the checkpoint of its training."""

LISTED = 5
"""Maximum number of files named in a message."""


@click.command()
@click.argument("data", type=GivenPath())
@reading_options
@click.option("--output", type=GivenPath(), required=True, metavar="MODEL", help="Folder for the model.")
@click.option(
    "--mirror/--no-mirror",
    default=True,
    show_default=True,
    help="Whether mirroring keeps the class. It does not for writing, or for left and right hands.",
)
@click.option(
    "--method",
    default=FitConfig().method,
    show_default=True,
    metavar="METHOD",
    help="How to use the labels. " + methods_help(baselines=False),
)
@ENCODER
@click.option(
    "--effort",
    type=EFFORT_CHOICES,
    default=FitConfig().effort,
    show_default=True,
    help=EFFORT_HELP,
)
@click.option(
    "--from",
    "base",
    type=GivenPath(),
    metavar="MODEL",
    help="Reuse the encoders of a model of the same images. Needed only if they are not in the cache: it "
    "was cleared or is on another machine, or the seed, number of threads or version differs.",
)
@PRESET
@STEPS
@vae_options
@SVM_C
@CLASS_WEIGHT
@SEED
@DEVICE
@SVM
@CACHE_DIR
@TRACK
@click.option("--json", "as_json", is_flag=True, help="Print only the content of model.json.")
@QUIET
def command(
    data: Path,
    label_files: tuple[Path, ...],
    output: Path,
    base: Path | None,
    trackers: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Fit a classifier to your images, a few of which are labelled.

    DATA is a folder of images of any size and format, an .npy or .npz array, or one or more .parquet files of
    encoded images as on Hugging Face, which may contain labels. Or it holds precomputed embeddings: a float
    array of shape (n, d) as .npy, .npz or .safetensors, or a Parquet column of lists, such as gpu-ssl encode
    writes.

    Encoders are trained on all images without labels. Cross-validation on the labelled
    images chooses the method and estimates its accuracy. Trained encoders are cached, so another fit with
    more labels for the same images takes seconds. DATA may be larger than memory. The same command resumes
    an interrupted fit.

    \b
      gpu-ssl check photos --labels labels.csv
      gpu-ssl fit photos --labels labels.csv --output model
      gpu-ssl fit sorted-into-folders --output model --effort best
      gpu-ssl fit photos --labels more.csv --from model --output model-2
      gpu-ssl fit embeddings.npy --labels labels.csv --output model
      torchrun --nproc-per-node=4 -m gpu_ssl fit many.npy --labels labels.csv --output model
      gpu-ssl predict model photos > answers.csv
    """
    from gpu_ssl.runtime import cuda_context

    cuda_context.begin_context(options["device"])
    from gpu_ssl.cli.display import make_progress
    from gpu_ssl.data.own import load_own, require_classes
    from gpu_ssl.encoders.pretrained import require_weights
    from gpu_ssl.runtime.files import alone_in
    from gpu_ssl.runtime.ranks import join_ranks
    from gpu_ssl.tracking.sending import send_model

    model, train = take_vae_settings(options)
    svm = SVMConfig.of(C=options.pop("svm_c"), class_weight=options.pop("class_weight"))
    reading = take_reading(options)
    config = FitConfig.of(model=model, train=train, svm=svm, **options)
    ranks = join_ranks()
    with one_tells(ranks), ExitStack() as stack:
        progress = make_progress(quiet or not ranks.leads)
        if ranks.leads:
            _check_output(output, data)
            stack.enter_context(alone_in(output, SPACE))
            _check_output(output, data)  # Another fit may have written it just now.
        started = stack.enter_context(tracking(trackers if ranks.leads else (), output))
        if ranks.leads:
            if config.encoder and base is None:
                require_weights(config.encoder)
            images = load_own(data, label_files, reading, progress)
            found = len(images.class_names)  # the error below is about too few
            tell_problems([own for own in images.problems if found > 1 or own.kind != "few-labels"])
            require_classes(images, data)
        ranks.share(None)
        if not ranks.leads:  # rank 0 has written the decoded images to the cache
            images = load_own(data, label_files, reading, progress)
        fitted = _fit(images, config, output, base, progress, ranks)
        send_model(started, fitted.record, output)
    if as_json:
        click.echo(json.dumps(fitted.record.model_dump(mode="json", by_alias=True), indent=2))
    else:
        _tell(fitted, output)


def _fit(
    images: "OwnImages",
    config: FitConfig,
    output: Path,
    base: Path | None,
    progress: "Progress",
    ranks: "Ranks",
) -> "Fit":
    """Fit and write the model; processes other than rank 0 take part in training and exit here."""
    from gpu_ssl.fitted.fitting import fit
    from gpu_ssl.fitted.storage import UNFINISHED, load
    from gpu_ssl.report.expectation import notes
    from gpu_ssl.report.model_folder import write_model

    unfinished = output / UNFINISHED
    try:
        known = None if base is None else load(base, config.device, config.svm_backend)
        fitted = fit(images, config, unfinished, progress, ranks, known, keep_encoders=True)
    except RankError as error:
        raise RankError(f"{error}; the same command resumes, on any number of processes") from None
    except KeyboardInterrupt:
        raise InterruptError("interrupted; the same command resumes") from None
    write_model(output, fitted, images, described(images))
    for note in notes(fitted.record, output):
        print_message(note)
    return fitted


def _check_output(output: Path, data: Path) -> None:
    from gpu_ssl.fitted.storage import MODEL
    from gpu_ssl.report.model_folder import check_folder

    check_folder(output, data)
    if (output / MODEL).exists():
        raise UsageError(f"--output {output} holds a model already; name another folder, or delete it")


def tell_skipped(count: int, lines: list[str]) -> None:
    """Print to stderr how many files were skipped, and the first of them."""
    if not count:
        return
    from gpu_ssl.data.problems import counted

    print_message(f"{counted(count, 'image')} skipped, as unreadable:")
    for line in lines[:LISTED]:
        print_item(line)
    if count > LISTED:
        print_item(f"and {count - LISTED:,} more")


def _tell(fitted: "Fit", output: Path) -> None:
    from gpu_ssl.data.problems import counted
    from gpu_ssl.data.summary import sizes
    from gpu_ssl.report.card import encoder_of
    from gpu_ssl.report.command import command_of_predict
    from gpu_ssl.report.expectation import expectation, warning
    from gpu_ssl.report.html import PAGE
    from gpu_ssl.statistics import in_percent

    record = fitted.record
    labelled = sum(record.n_labelled.values())
    what = sizes(record.n_images, record.encoded_shapes, record.takes_embeddings)
    show(f"{what}; {labelled:,} labelled, {counted(len(record.class_names), 'class', 'classes')}")
    if fitted.reused:
        show(f"Reused from an earlier fit to these images: {', '.join(fitted.reused)}")
    show(f"Method: {catalog.title(record.chosen.method)}")
    if (usual := catalog.method(record.chosen.method).encoder) and record.encoder["name"] != usual:
        show(f"Encoder: {encoder_of(record)}")
    if record.chosen.reason:
        show(f"Chosen by cross-validation: {record.chosen.reason}")
    show(f"On images like the labelled ones: {expectation(record)}")
    if record.estimate is not None and record.estimate.raw_pixels is not None:
        show(f"An SVM on the raw pixels reaches {in_percent(record.estimate.raw_pixels)} on the same images")
    if (problem := warning(record.estimate)) is not None:
        print_message(f"warning: {problem}")
    show(f"Written to {output}; use it with: {command_of_predict(output, record.takes_embeddings)}")
    if record.takes_embeddings:
        show(f"EMBEDDINGS are rows of {record.image_shape[2]} numbers, made as those fitted were made")
    show(f"Read {output / PAGE}")
