"""``gpu-ssl encode``: embeddings of images."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpu_ssl.cli.answer_file import check_output, refuse_inputs
from gpu_ssl.cli.fit import tell_skipped
from gpu_ssl.cli.messages import show
from gpu_ssl.cli.options import CACHE_DIR, DEVICE, QUIET
from gpu_ssl.cli.own_options import Asked, image_options, open_stream, tell_problems
from gpu_ssl.cli.paths import GivenPath
from gpu_ssl.cli.predict import read_paths, refuse_exchanged
from gpu_ssl.errors import DataError, UsageError

if TYPE_CHECKING:
    import torch

    from gpu_ssl.data.stream import ImageStream
    from gpu_ssl.fitted.encoding import BlockEncoder


@click.command()
@click.argument("what", metavar="MODEL|ENCODER")
@click.argument("data", type=GivenPath(allow_dash=True))
@click.option(
    "--output",
    type=GivenPath(),
    required=True,
    metavar="FILE",
    help="An .npy or .parquet file for the embeddings; an interrupted command leaves no file.",
)
@click.option(
    "--image-size",
    type=int,
    metavar="PIXELS",
    help="With ENCODER, longest side that images are scaled to.  [default: their own, at most 64; pretrained "
    "takes its own]",
)
@image_options
@DEVICE
@CACHE_DIR
@QUIET
def command(
    what: str,
    data: Path,
    output: Path,
    image_size: int | None,
    device: str,
    quiet: bool,
    **asked: Any,
) -> None:
    """Write embeddings of images: the features that a classifier works on, for fit or for other programs.

    MODEL is a folder written by gpu-ssl fit; its embeddings are the features of the classifier. ENCODER is
    an encoder that needs no training: hog, pixels, ranks, pretrained or pretrained:NAME (see gpu-ssl fit
    --help). DATA is what gpu-ssl predict takes; with ENCODER, no single
    image and no paths on stdin. Memory does not grow with the number of images, except for their names.

    A .parquet file has the columns path and embedding (a list of float32). An .npy file is a float32 array
    of shape (images, features), in the order of the images; their paths are written next to it, one a line:
    for z.npy to z.paths.txt. gpu-ssl fit reads both, with labels by these paths.

    \b
      gpu-ssl encode pretrained photos --output z.parquet
      gpu-ssl fit z.parquet --labels labels.csv --output model
      gpu-ssl encode pretrained new-photos --output new.parquet
      gpu-ssl predict model new.parquet > answers.csv
      gpu-ssl encode model-of-photos photos --output z.npy
    """
    import torch

    from gpu_ssl.cli.display import make_progress
    from gpu_ssl.data.embedding_file import check_ending, embedding_file
    from gpu_ssl.fitted.storage import MODEL
    from gpu_ssl.runtime.device import memory_errors, resolve_device

    refuse_exchanged("encode", Path(what), data)
    refuse_inputs(output, Path(what), data)
    check_ending(output)
    check_output(output)
    place = torch.device(resolve_device(device).used)
    if (Path(what) / MODEL).is_file():
        if image_size is not None:
            raise UsageError(f"--image-size {image_size}: a model has a size of its own; leave it out")
        encoder, stream = _of_model(Path(what), data, device, Asked(**asked))
    else:
        encoder, stream = _of_encoder(what, data, image_size, place, Asked(**asked))
    check_output(output, 4 * encoder.width * (stream.total or 0))
    with (
        make_progress(quiet).task("encode", stream.total or 0) as advance,
        embedding_file(output, encoder.width) as write,
    ):
        for block in stream:
            with memory_errors(place, "give `device=cpu`"):
                write(block.names, encoder.encode(block))
            advance("", len(block.names))
        if not stream.n_read:
            raise DataError(f"no readable image in {data}")
    tell_skipped(stream.n_skipped, stream.skipped)
    show(f"{stream.n_read:,} embeddings of {encoder.width:,} numbers, written to {output}")


def _of_model(folder: Path, data: Path, device: str, asked: Asked) -> "tuple[BlockEncoder, ImageStream]":
    from gpu_ssl.fitted.encoding import of_model
    from gpu_ssl.fitted.storage import load

    fitted, record = load(folder, device)
    stream = open_stream(read_paths() if str(data) == "-" else data, fitted, record, asked)
    return of_model(fitted), stream


def _of_encoder(
    name: str, data: Path, image_size: int | None, device: "torch.device", asked: Asked
) -> "tuple[BlockEncoder, ImageStream]":
    from gpu_ssl.config import FitConfig
    from gpu_ssl.data.collection import Reading, look_at
    from gpu_ssl.data.label_columns import Columns
    from gpu_ssl.data.preparation import Preparation
    from gpu_ssl.data.stream import ImageStream
    from gpu_ssl.fitted.encoding import check_name, of_encoder

    check_name(name)
    FitConfig.of(image_size=image_size)  # refuses an invalid size
    if str(data) == "-":
        raise UsageError("paths on stdin need a model; give a folder of images")
    columns = Columns(path=asked.path_column)
    how = Preparation(pages=asked.pages or "first", large_images=asked.large_images)
    shape, how = look_at(data, Reading(image_size, how, columns))
    encoder = of_encoder(name, shape, device)
    stream = ImageStream(data, shape, how, columns, encoder.other_shapes)
    tell_problems(stream.problems)
    return encoder, stream
