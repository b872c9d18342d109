"""``gpu-ssl label``: a page to label images on while models train in the background."""

import secrets
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpu_ssl.cli.messages import print_message, show
from gpu_ssl.cli.options import CACHE_DIR, DEVICE, QUIET, SEED
from gpu_ssl.cli.own_options import described, tell_problems
from gpu_ssl.cli.paths import GivenPath
from gpu_ssl.config import FitConfig
from gpu_ssl.errors import UsageError

if TYPE_CHECKING:
    from gpu_ssl.data.own import OwnImages
    from gpu_ssl.fitted.fitting import Fit
    from gpu_ssl.fitted.model import FittedModel
    from gpu_ssl.runtime.progress import Progress


@click.command()
@click.argument("data", type=GivenPath())
@click.option(
    "--labels",
    type=GivenPath(),
    default=Path("labels.csv"),
    show_default=True,
    metavar="FILE",
    help="CSV file with the columns path and label to which labels are added; created if missing.",
)
@click.option(
    "--model",
    "folder",
    type=GivenPath(),
    default=Path("model"),
    show_default=True,
    metavar="MODEL",
    help="Folder that the page writes the model to. An existing model of the same images makes the "
    "first suggestions, and is replaced when the page saves a model.",
)
@click.option(
    "--classes",
    default="",
    metavar="A,B,C",
    help="Initial classes, in the order of their keys; more can be added on the page.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port.  [default: a free one]")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Address to serve on. Any other than 127.0.0.1 admits other machines, unencrypted: whoever reads "
    "the traffic sees images and token. For remote access prefer ssh -L (docs/labelling.md).",
)
@click.option(
    "--open/--no-open", "opens", default=True, show_default=True, help="Open the page in a browser."
)
@click.option(
    "--mirror/--no-mirror",
    default=True,
    show_default=True,
    help="Whether mirroring keeps the class. It does not for writing, or for left and right hands.",
)
@click.option(
    "--image-size",
    type=int,
    metavar="PIXELS",
    help="Longest side of images for the models, in pixels; arrays keep their size.  [default: 64 at most]",
)
@click.option(
    "--pages",
    type=click.Choice(["first", "all"]),
    default="first",
    show_default=True,
    help="Pages or frames to use of multi-page files.",
)
@click.option(
    "--large-images", is_flag=True, help="Also read images that take more than 1 GiB of memory each."
)
@click.option("--path-column", metavar="NAME", help="Column of a Parquet file with images.")
@SEED
@DEVICE
@CACHE_DIR
@QUIET
def command(
    data: Path,
    labels: Path,
    folder: Path,
    classes: str,
    port: int,
    host: str,
    opens: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Label images on a page in your browser while models train in the background.

    DATA is a folder of images, an .npy or .npz file of images, or .parquet files of encoded images. The page
    shows typical images first, then those whose labels improve the model most. Keys 1 to 9 or a click give
    the class; a label is written to --labels before the page confirms it, so Ctrl-C loses none. A model is
    refitted in the background within seconds; the page shows its estimated accuracy, and saves it to --model.

    \b
      gpu-ssl label photos --classes cat,dog,other
      gpu-ssl label photos --labels pets.csv --model pets
      gpu-ssl predict pets photos > answers.csv
    """
    from gpu_ssl.runtime.optional import require

    require("gpu-ssl label", "starlette", "uvicorn", extra="label")
    from gpu_ssl.cli.display import make_progress
    from gpu_ssl.label.server import bind, make_app, serve
    from gpu_ssl.label.session import Session
    from gpu_ssl.report.model_folder import check_folder, write_model
    from gpu_ssl.runtime.files import alone_in

    config = FitConfig.of(**{name: options[name] for name in ("mirror", "image_size", "seed", "device")})
    _check_labels(labels, folder)
    check_folder(folder, data, "model")
    images = _load(data, labels, options, make_progress(quiet))
    model = _begin_with(folder, images, config)

    def write(fitted: "Fit", labelled: "OwnImages") -> Path:
        with alone_in(folder):
            write_model(folder, fitted, labelled, described(labelled))
        return folder

    named = [name for name in classes.split(",") if name.strip()]
    session = Session(images, data, labels, named, config, write, model)
    listening = bind(host, port)
    token = secrets.token_urlsafe(24)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listening.getsockname()[1]}/?token={token}"

    def ready() -> None:
        print_message(f"{len(images):,} images, {len(session.said()):,} of them labelled in {labels}")
        show(address)
        print_message("open this address in a browser; Ctrl-C stops the server and loses no label")
        if opens:
            click.launch(address)

    session.learner.start()
    try:
        serve(make_app(session, token, [host]), listening, ready)
    finally:
        session.learner.stop()
    print_message(f"{len(session.said()):,} images are labelled in {labels}")


def _check_labels(labels: Path, folder: Path) -> None:
    if labels.is_dir():
        raise UsageError(f"--labels {labels} is a folder; name a file")
    if labels.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"--labels {labels} lies in --model {folder}; name another file")


def _load(data: Path, labels: Path, options: dict[str, Any], progress: "Progress") -> "OwnImages":
    """Read the images and the label file; folder names are not taken as classes."""
    from gpu_ssl.data.collection import Reading
    from gpu_ssl.data.label_columns import Columns
    from gpu_ssl.data.labels import is_no_label
    from gpu_ssl.data.own import load_own, with_labels
    from gpu_ssl.data.preparation import Preparation
    from gpu_ssl.label.store import LabelStore

    how = Preparation(pages=options["pages"], large_images=options["large_images"])
    # The column is one of a Parquet file of images; the label file has its own.
    begun = any(not is_no_label(label) for label in LabelStore(labels).labels().values())
    columns = Columns(path=None if begun else options["path_column"])
    images = load_own(data, [labels] if begun else (), Reading(options["image_size"], how, columns), progress)
    if images.are_embeddings or images.image_shape[1] == 1:
        raise UsageError(f"{data} holds embeddings, which cannot be shown; give images")
    if not begun:  # few labels are the reason to label, not a problem
        images = replace(images, problems=tuple(own for own in images.problems if own.kind != "few-labels"))
    tell_problems(images.problems)
    return images if begun else with_labels(images, {})


def _begin_with(folder: Path, images: "OwnImages", config: FitConfig) -> "FittedModel | None":
    """Load an existing model, if it is one of these images."""
    from gpu_ssl.fitted.storage import MODEL, load

    if not (folder / MODEL).is_file():
        return None
    model, record = load(folder, config.device)
    if record.images_sha256 != images.sha256:
        raise UsageError(
            f"--model {folder} holds a model of other images (other files, or another --image-size), which "
            "would be replaced; name another folder"
        )
    return model
