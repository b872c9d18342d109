"""Images that are on the device come to the same as those that are decoded at the encoder's size."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from gpu_ssl.data.decoding import decode
from gpu_ssl.data.preparation import STRIP, ImageShape
from gpu_ssl.encoders.resizing import fit_within

SIZES = [
    (64, 64),
    (65, 64),
    (64, 65),
    (40, 40),
    (300, 400),
    (400, 300),
    (427, 640),
    (50, 50 * STRIP),
    (50 * STRIP, 50),
    (20, 20 * STRIP + 1),
    (90 * STRIP, 20),
    (7, 9),
    (1, 1),
    (1, 3),
    (192, 105),
    (74, 37),
]
"""Heights and widths: wider and taller, strips, to be scaled up, and sizes that round to a half."""


def picture(height: int, width: int, kind: str) -> Image.Image:
    """Return a part of a real photograph."""
    whole = Image.fromarray(load_sample_images().images[0])
    part = whole.crop((0, 0, width, height)) if height <= 427 else whole.resize((width, height))
    return part.convert("L" if kind == "grey" else "RGB")


def on_device(image: Image.Image, device: str = "cpu") -> torch.Tensor:
    pixels = np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)
    return torch.from_numpy(pixels.astype(np.float32) / 255)[None].to(device)


@pytest.mark.parametrize("kind", ["grey", "colour"])
@pytest.mark.parametrize("shape", [(3, 64, 64), (3, 224, 224), (3, 43, 64)], ids=str)
def test_it_fits_images_as_decoding_does(shape: ImageShape, kind: str, tmp_path: Path) -> None:
    """To about one grey level, the rounding of which is all that differs."""
    for height, width in SIZES:
        image = picture(height, width, kind)
        image.save(tmp_path / "image.png")
        decoded = decode(tmp_path / "image.png", shape).pixels.astype(np.float32)
        ours = fit_within(on_device(image), shape)
        assert (tuple(ours.shape), ours.dtype) == ((1, *shape), torch.float32)
        difference = np.abs(ours[0].numpy() * 255 - decoded)
        assert difference.max() <= 1.01, (height, width)
        assert difference.mean() < 0.5


def test_sizes_are_those_of_decoding_to_the_pixel(tmp_path: Path) -> None:
    """White images show where they end; a pixel more or less would shift all others."""
    shape = (3, 43, 64)
    rng = np.random.default_rng(0)
    known = [(74, 37), (86, 101), (86, 103), (148, 74)]  # halves, which products of fractions miss
    for height, width in [*known, *rng.integers(1, 200, (60, 2)).tolist()]:
        image = Image.new("RGB", (width, height), "white")
        image.save(tmp_path / "image.png")
        decoded = decode(tmp_path / "image.png", shape).pixels > 0
        ours = fit_within(on_device(image), shape)[0].numpy() > 0
        assert np.array_equal(ours, decoded), (height, width)


def test_images_of_the_shape_are_left_alone() -> None:
    images = torch.rand(3, 3, 20, 30)
    assert torch.equal(fit_within(images, (3, 20, 30)), images)
    grey = torch.rand(3, 1, 20, 30)
    assert torch.equal(fit_within(grey, (3, 20, 30)), grey.repeat(1, 3, 1, 1))


def test_no_image_and_many_are_fitted_alike() -> None:
    images = torch.rand(5, 1, 10, 14)
    whole = fit_within(images, (3, 32, 32))
    assert torch.equal(torch.cat([fit_within(image[None], (3, 32, 32)) for image in images]), whole)
    assert fit_within(images[:0], (3, 32, 32)).shape == (0, 3, 32, 32)


@pytest.mark.parametrize("sides", [(10, 14), (64, 64), (8, 80), (300, 200)])
def test_the_meta_device_works(sides: tuple[int, int]) -> None:
    """No size depends on a value on the device."""
    ours = fit_within(torch.empty(2, 1, *sides, device="meta"), (3, 64, 64))
    assert (tuple(ours.shape), ours.device.type) == ((2, 3, 64, 64), "meta")
