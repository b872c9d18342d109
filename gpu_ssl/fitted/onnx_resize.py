"""ONNX nodes that resize images of any size to the shape of the model, as `data.decoding` does."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpu_ssl.data.preparation import STRIP, ImageShape

if TYPE_CHECKING:
    import onnx

# Pairs are (height, width). Ratios are float64 as in Python, and Round rounds halves to even as Python's
# round does, so sizes equal those of `data.decoding` to the pixel.
_TEXT = """
<ir_version: {ir_version}, opset_import: ["" : {opset}]>
resize (uint8[n, {channels}, height, width] {name}) => (uint8[n, {channels}, {height}, {width}] resized)
<int64[2] wanted = {{{height}, {width}}}, double strip = {{{strip}}}, uint8 ground = {{{ground}}},
 int64[2] swap = {{1, 0}}, int64[2] nothing = {{0, 0}}, double one = {{1}}, double half = {{0.5}},
 int64 at_width = {{1}}>
{{
  wanted_exact = Cast <to = 11> (wanted)
  wanted_swapped = Gather (wanted_exact, swap)
  wanted_ratios = Div (wanted_exact, wanted_swapped)
  sides = Shape <start = 2> ({name})
  sides_exact = Cast <to = 11> (sides)
  sides_swapped = Gather (sides_exact, swap)
  ratios = Div (sides_exact, sides_swapped)

  excesses = Div (ratios, wanted_ratios)
  wider = Gather (excesses, at_width)
  taller = Div (one, wider)
  excess = Max (wider, taller)
  is_strip = Greater (excess, strip)

  ratios_swapped = Gather (ratios, swap)
  wanted_ratios_swapped = Gather (wanted_ratios, swap)
  fills = LessOrEqual (ratios_swapped, wanted_ratios_swapped)
  keeps = Or (is_strip, fills)
  scaled_exact = Mul (ratios, wanted_swapped)
  scaled_round = Round (scaled_exact)
  scaled = Cast <to = 7> (scaled_round)
  new = Where (keeps, wanted, scaled)
  outer = Shape <end = 2> ({name})
  sizes = Concat <axis = 0> (outer, new)
  small = Resize <mode = "linear", antialias = 1, exclude_outside = 1> ({name}, , , sizes)

  free = Sub (wanted, new)
  free_exact = Cast <to = 11> (free)
  before_exact = Mul (free_exact, half)
  before_round = Round (before_exact)
  before = Cast <to = 7> (before_round)
  after = Sub (free, before)
  margins = Concat <axis = 0> (nothing, before, nothing, after)
  resized = Pad (small, margins, ground)
}}
"""


def with_resizing(
    model: "onnx.ModelProto", shapes: Sequence[ImageShape], ground: int, name: str
) -> "onnx.ModelProto":
    """Extend a model for images of `shapes` to batches of images of any height and width.

    Images are resized with antialiasing, keeping the aspect ratio, and padded with the grey level `ground`;
    long strips are squeezed. Images that have a shape already are not changed.

    Parameters
    ----------
    model : onnx.ModelProto
        Model whose inputs are the same images (n, channels, height, width), uint8, at each of `shapes`.
        Requires opset 18, in which `Resize` supports antialiasing.
    shapes : sequence of tuple of int
        Channels, height and width of each input; the number of channels is equal.
    ground : int
        See `data.preparation.Preparation`.
    name : str
        Name of the new input.
    """
    import onnx.compose
    import onnx.parser

    (opset,) = (each.version for each in model.opset_import if each.domain == "")
    common = {"name": name, "strip": STRIP, "ground": ground, "opset": opset, "ir_version": model.ir_version}
    resizers = []
    for number, (channels, height, width) in enumerate(shapes):
        text = _TEXT.format(channels=channels, height=height, width=width, **common)
        graph = onnx.parser.parse_model(text)
        resizers.append(onnx.compose.add_prefix(graph, f"resize_{number}_", rename_inputs=False))
    first, *others = resizers
    for other in others:  # all share the input
        for part in ("node", "initializer", "output"):
            getattr(first.graph, part).extend(getattr(other.graph, part))
    outputs, inputs = ([value.name for value in values] for values in (first.graph.output, model.graph.input))
    return onnx.compose.merge_models(first, model, list(zip(outputs, inputs, strict=True)))
