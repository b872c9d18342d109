"""The first part of an ONNX graph: it brings images of any size to the model's, as `data.decoding` does."""

from typing import TYPE_CHECKING

from gpu_ssl.data.preparation import STRIP, ImageShape

if TYPE_CHECKING:
    import onnx

# Pairs are of height and width. Fractions are float64, as Python's, and Round takes halves to even, as
# Python's round: so sizes are those of `data.decoding` to the pixel.
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


def with_resizing(model: "onnx.ModelProto", shape: ImageShape, ground: int, name: str) -> "onnx.ModelProto":
    """Return a model that takes images of any one height and width, from one that takes those of `shape`.

    They are scaled to fit whole, with antialiasing, and placed in the middle of the grey level `ground`;
    strips are squeezed. Images of `shape` are left as they are.

    Parameters
    ----------
    model : onnx.ModelProto
        Of one input (n, channels, height, width), uint8, and of opset 18 or later, where `Resize` learned
        antialiasing.
    shape : tuple of int
        Channels, height and width of its input.
    ground : int
        See `data.preparation.Preparation`.
    name : str
        What the new input is called.
    """
    import onnx.compose
    import onnx.parser

    channels, height, width = shape
    (opset,) = (own.version for own in model.opset_import if own.domain == "")
    text = _TEXT.format(
        name=name,
        channels=channels,
        height=height,
        width=width,
        strip=STRIP,
        ground=ground,
        opset=opset,
        ir_version=model.ir_version,
    )
    first = onnx.compose.add_prefix(onnx.parser.parse_model(text), "resize_", rename_inputs=False)
    (resized,) = (own.name for own in first.graph.output)
    (taken,) = (own.name for own in model.graph.input)
    return onnx.compose.merge_models(first, model, [(resized, taken)])
