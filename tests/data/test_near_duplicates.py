"""Near duplicates are found after any modification, and distinct images are not."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from gpu_ssl.data import near_duplicates as module
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.near_duplicates import near_duplicates


def scene(rng: np.random.Generator) -> Image.Image:
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return coarse.resize((64, 64), Image.Resampling.BICUBIC)


def saved_anew(image: Image.Image) -> Image.Image:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=60)
    return Image.open(content).convert("RGB")


@pytest.mark.parametrize("labelled_only", [False, True])
def test_copies_are_found_and_nothing_else(monkeypatch: pytest.MonkeyPatch, labelled_only: bool) -> None:
    rng = np.random.default_rng(0)
    scenes = [scene(rng) for _ in range(30)]
    copies = [
        saved_anew(scenes[0]),
        scenes[1].resize((40, 40)).resize((64, 64)),
        ImageEnhance.Brightness(scenes[2]).enhance(0.8),
        saved_anew(ImageEnhance.Contrast(scenes[2]).enhance(0.9)),
    ]
    images = np.stack([np.asarray(image).transpose(2, 0, 1) for image in (*scenes, *copies)])
    labels = np.full(34, -1)
    labels[:10] = 0
    if labelled_only:
        monkeypatch.setattr(module, "ALL_PAIRS", 5)
    assert near_duplicates(images, np.arange(34), labels) == [[0, 30], [1, 31], [2, 32, 33]]
    assert near_duplicates(images, np.arange(1), labels) == []


def test_digits_are_no_copies_of_each_other(digits: Dataset) -> None:
    images = digits.train.images
    assert near_duplicates(images, np.arange(len(images)), digits.train.labels) == []
