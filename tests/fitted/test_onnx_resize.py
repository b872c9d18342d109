"""The graph resizes images of any size as `decode` does: Pillow and onnxruntime are compared."""

from pathlib import Path

import numpy as np
import onnx.parser
import onnxruntime
import pytest
from PIL import Image

from gpu_ssl.data.decoding import decode
from gpu_ssl.data.preparation import STRIP, ImageShape, Preparation
from gpu_ssl.fitted.onnx_resize import with_resizing

OPSETS = [18, 20]


def resizer(shape: ImageShape, ground: int, opset: int) -> onnxruntime.InferenceSession:
    """Return a graph that resizes, and gives that back."""
    sides = ", ".join(map(str, shape))
    same = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : {opset}]>'
        f"same (uint8[n, {sides}] taken) => (uint8[n, {sides}] given) {{ given = Identity (taken) }}"
    )
    model = with_resizing(same, [shape], ground, "images")
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def sizes_for(shape: ImageShape) -> list[tuple[int, int]]:
    """Return heights and widths: chosen at random, and on both sides of what makes a difference."""
    _, height, width = shape
    rng = np.random.default_rng(0)
    known = [
        (height, width),
        (2 * height, 2 * width),
        (height, width + 1),
        (height + 1, width),
        (1, 1),
        (1, 99),
    ]
    strips = [(height, STRIP * width + more) for more in (-1, 0, 1)]
    strips += [(STRIP * height + more, width) for more in (-1, 0, 1)]
    return [*known, *strips, *map(tuple, rng.integers(1, 160, (25, 2)).tolist())]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(("shape", "ground"), [((3, 43, 64), 255), ((1, 28, 28), 0), ((3, 31, 17), 128)])
def test_it_resizes_as_decoding_does(shape: ImageShape, ground: int, opset: int, tmp_path: Path) -> None:
    run, rng = resizer(shape, ground, opset), np.random.default_rng(1)
    for height, width in sizes_for(shape):
        pixels = rng.integers(0, 256, (2, shape[0], height, width), dtype=np.uint8)
        (found,) = run.run(None, {"images": pixels})
        for image, mine in zip(pixels, found, strict=True):
            picture = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
            Image.fromarray(picture).save(tmp_path / "image.png")
            expected = decode(tmp_path / "image.png", shape, Preparation(ground=ground)).pixels
            difference = np.abs(mine.astype(int) - expected)
            assert difference.max() <= 1, (height, width)


def test_images_of_the_shape_are_left_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 20, 30), dtype=np.uint8)
    (found,) = resizer((3, 20, 30), 7, 20).run(None, {"images": pixels})
    assert np.array_equal(found, pixels)
