"""``gpu-ssl export``: a model for programs that know nothing of gpu-ssl."""

from pathlib import Path

import click

from gpu_ssl.cli.messages import show
from gpu_ssl.cli.paths import GivenPath


@click.command()
@click.argument("model", type=GivenPath())
@click.option("--onnx", type=GivenPath(), required=True, metavar="FILE", help="Write this file.")
def command(model: Path, onnx: Path) -> None:
    """Write a model that gpu-ssl fit made as one ONNX file.

    It takes images as uint8, (n, channels, height, width), of any size, and gives the number of the class,
    the calibrated probabilities and the out-of-distribution score. A model of embeddings takes these, as
    float32, (n, width). The names of the classes are in the
    metadata of the file, as JSON, and so is what to do to images that are transparent, turned or of 16 bits.

    \b
      gpu-ssl export model --onnx model.onnx
    """
    from gpu_ssl.cli.answer_file import check_output
    from gpu_ssl.fitted.onnx_file import OUTPUTS, export, input_name, input_shape
    from gpu_ssl.fitted.storage import load

    check_output(onnx)
    fitted, record = load(model, "cpu", "sklearn")
    export(fitted, record, onnx)
    shape = ", ".join(map(str, input_shape(record)))
    kind = "float32" if record.takes_embeddings else "uint8"
    show(f"Written to {onnx}: {input_name(record)} (n, {shape}) as {kind} in; {', '.join(OUTPUTS)} out")
