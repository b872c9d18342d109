"""``gpu-ssl export``: an ONNX file for programs without gpu-ssl."""

from pathlib import Path

import click

from gpu_ssl.cli.messages import show
from gpu_ssl.cli.paths import GivenPath


@click.command()
@click.argument("model", type=GivenPath())
@click.option("--onnx", type=GivenPath(), required=True, metavar="FILE", help="File to write.")
def command(model: Path, onnx: Path) -> None:
    """Export a fitted model as one ONNX file.

    Its input is uint8 images of any size, (n, channels, height, width), or float32 embeddings, (n, width),
    for a model of embeddings. Its outputs are the number of the class, calibrated probabilities and the
    out-of-distribution score. The metadata of the file hold the class names and how to prepare images that
    are transparent, rotated by EXIF or of 16 bits, as JSON.

    \b
      gpu-ssl export model --onnx model.onnx
    """
    from gpu_ssl.cli.answer_file import check_output, refuse_inputs
    from gpu_ssl.fitted.onnx_file import OUTPUTS, export, input_name, input_shape
    from gpu_ssl.fitted.storage import load

    refuse_inputs(onnx, model)
    check_output(onnx)
    fitted, record = load(model, "cpu", "sklearn")
    export(fitted, record, onnx)
    shape = ", ".join(map(str, input_shape(record)))
    kind = "float32" if record.takes_embeddings else "uint8"
    show(f"Written to {onnx}: {input_name(record)} (n, {shape}) as {kind} in; {', '.join(OUTPUTS)} out")
