"""Near duplicates are found after any modification, and distinct images are not."""

import io
import tracemalloc

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


def test_frames_of_a_still_camera_take_no_memory_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(30, 220, (1, 1, 16, 16))
    frames = (frame + rng.integers(-2, 3, (2500, 1, 16, 16))).astype(np.uint8)
    other = rng.integers(0, 256, (3, 1, 16, 16), dtype=np.uint8)
    images = np.concatenate([other[:2], frames, other[2:]])
    tracemalloc.start()
    try:
        groups = near_duplicates(images, np.arange(len(images)), np.full(len(images), -1))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert groups == [list(range(2, 2502))]
    assert most < 2**27  # The positions of all pairs would take 100 MB.


def test_groups_that_grow_together_late_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image resembles only the next, and few pairs are compared at a time."""
    monkeypatch.setattr(module, "PAIRS", 1)
    monkeypatch.setattr(module, "LEAST_ROWS", 1)
    rng = np.random.default_rng(0)
    start, way = rng.normal(128, 30, (2, 16, 16))
    images = np.stack([start + 0.08 * i * (way - 128) for i in range(9)]).clip(0, 255)[:, None]
    order = rng.permutation(9)
    found = near_duplicates(images[order].astype(np.uint8), np.arange(9), np.full(9, -1))
    assert found == [list(range(9))]
    assert len(near_duplicates(images[[0, 8]].astype(np.uint8), np.arange(2), np.full(2, -1))) == 0
