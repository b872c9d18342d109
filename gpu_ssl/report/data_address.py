"""Images as data URLs, which are embedded in a page."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LARGEST = 96
"""Maximum side length in pixels of an image on a page."""


def address_of(image: Image.Image) -> str:
    """Return an image as a data URL: PNG for grey images, JPEG, which is smaller, for colour."""
    kind, options = ("PNG", {"optimize": True}) if image.mode == "L" else ("JPEG", {"quality": 80})
    file = io.BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def image_of(pixels: NDArray[Any], largest: int = LARGEST) -> Image.Image:
    """Return pixels (channels, height, width), uint8 or from 0 to 1, as an image of at most that size."""
    if pixels.dtype != np.uint8:
        pixels = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    image = Image.fromarray(
        pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
    )
    image.thumbnail((largest, largest))
    return image


def sheet_of(images: Sequence[Image.Image], columns: int, gap: int = 0, ground: int = 0) -> Image.Image:
    """Return images of one size in rows, `gap` pixels apart."""
    width, height = images[0].size
    rows = -(-len(images) // columns)
    size = columns * (width + gap) - gap, rows * (height + gap) - gap
    whole = Image.new(images[0].mode, size, (ground,) * len(images[0].getbands()))
    for i, image in enumerate(images):
        whole.paste(image, (i % columns * (width + gap), i // columns * (height + gap)))
    return whole
