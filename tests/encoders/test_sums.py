"""Sums of encoders: blocks of features that count alike."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.encoders.encoder import BLOCK, encode
from gpu_ssl.encoders.hog import HOG
from gpu_ssl.encoders.pixels import Pixels
from gpu_ssl.encoders.sums import Sum, fit_sum
from tests.encoders import fitted

PARTS = ("vae", "hog", "pixels")


def test_the_features_of_each_part_have_a_mean_norm_of_1(digits: Dataset, tmp_path: Path) -> None:
    """Over the images it is scaled by, some of all: of raw features the longest would dominate."""
    encoders = fitted(digits.train.images, tmp_path, "vae+hog+pixels")
    rows = np.linspace(0, len(digits.train) - 1, BLOCK).astype(int)
    encoder, sample = encoders["vae+hog+pixels"], torch.from_numpy(digits.train.images[rows])
    features = encode(encoder, sample)
    lengths = [part.width for part in encoder.parts]
    for own in torch.split(features, lengths, dim=1):
        assert float(own.norm(dim=1).mean()) == pytest.approx(1, abs=1e-4)
    raw = [float(encode(encoders[name], sample).norm(dim=1).mean()) for name in PARTS]
    assert max(raw) > 1.2 * min(raw)
    # Test images are scaled by the same numbers, not by their own.
    new = torch.from_numpy(digits.test.images)
    expected = [encode(encoders[name], new) / length for name, length in zip(PARTS, raw, strict=True)]
    torch.testing.assert_close(encode(encoder, new), torch.cat(expected, dim=1), rtol=1e-4, atol=1e-5)


def test_images_of_one_colour_that_come_first_do_not_decide_the_scales(
    digits: Dataset, tmp_path: Path
) -> None:
    """A folder called "background" may, and HOG finds nothing in its images."""
    blank = np.full((BLOCK, 1, 8, 8), 9, np.uint8)
    encoder = fitted(np.concatenate([blank, digits.train.images]), tmp_path, "pixels+hog")["pixels+hog"]
    assert isinstance(encoder, Sum)
    assert float(encoder.scales.max()) < 5 * float(encoder.scales.min())


def test_the_sum_is_the_join_of_its_parts(digits: Dataset, tmp_path: Path) -> None:
    """So what was encoded for one part serves every sum that it is in."""
    encoder = fitted(digits.train.images, tmp_path, "pixels+hog")["pixels+hog"]
    images = torch.from_numpy(digits.test.images)
    assert [part.name for part in encoder.parts] == ["pixels", "hog"]
    assert torch.equal(
        encoder.join([encode(part, images) for part in encoder.parts]), encode(encoder, images)
    )


def test_parts_keep_their_order(digits: Dataset) -> None:
    images = torch.from_numpy(digits.test.images)
    hog, pixels = HOG((1, 8, 8)), Pixels((1, 8, 8))
    of_hog, of_pixels = encode(hog, images), encode(pixels, images)
    one, other = fit_sum([hog, pixels], [of_hog, of_pixels]), fit_sum([pixels, hog], [of_pixels, of_hog])
    assert (one.name, other.name) == ("hog+pixels", "pixels+hog")
    features = encode(other, images)
    assert torch.equal(encode(one, images), torch.cat([features[:, 64:], features[:, :64]], dim=1))


def test_a_part_with_a_weight_has_that_mean_norm(digits: Dataset) -> None:
    images = torch.from_numpy(digits.test.images)
    parts = HOG((1, 8, 8)), Pixels((1, 8, 8))
    encoder = fit_sum(parts, [encode(part, images) for part in parts], (1.0, 2.5))
    hog, pixels = encode(encoder, images).split([parts[0].width, 64], dim=1)
    assert float(hog.norm(dim=1).mean()) == pytest.approx(1, abs=1e-4)
    assert float(pixels.norm(dim=1).mean()) == pytest.approx(2.5, abs=1e-4)


def test_a_part_that_sees_nothing_adds_nothing() -> None:
    """Black images have no edges; a scale of 0 would make what is no number of them."""
    images = torch.zeros(20, 1, 8, 8, dtype=torch.uint8)
    parts = HOG((1, 8, 8)), Pixels((1, 8, 8))
    encoder = fit_sum(parts, [encode(part, images) for part in parts])
    assert torch.equal(encode(encoder, images), torch.zeros(20, encoder.width))


def test_scales_are_part_of_what_is_saved() -> None:
    encoder = Sum([Pixels((1, 2, 2)), Pixels((1, 2, 2))], [2.0, 4.0])
    assert torch.equal(encoder.state_dict()["scales"], torch.tensor([2.0, 4.0]))
    images = torch.full((1, 1, 2, 2), 255, dtype=torch.uint8)
    np.testing.assert_array_equal(encode(encoder, images), [[0.5] * 4 + [0.25] * 4])
