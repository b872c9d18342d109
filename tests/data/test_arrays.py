"""Files of NumPy: every usual layout is read, and what is none of them refused."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from gpu_ssl.data.arrays import read_arrays
from gpu_ssl.errors import DataError


@pytest.mark.parametrize("shape", [(6, 8, 9), (6, 8, 9, 3), (6, 3, 8, 9), (6, 8, 9, 1), (6, 1, 8, 9)])
def test_arrays_of_any_usual_layout_are_read(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.save(tmp_path / "x.npy", pixels)
    images, labels = read_arrays(tmp_path / "x.npy")
    assert images.shape == (6, 3 if 3 in shape[1:] else 1, 8, 9)
    assert labels == {}
    expected = pixels.reshape(6, 8, 9, -1) if shape[1] not in (1, 3) else pixels.transpose(0, 2, 3, 1)
    assert np.array_equal(images.transpose(0, 2, 3, 1), expected)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"images": np.zeros((4, 8, 8))}, "must be uint8"),
        ({"images": np.zeros((4, 8, 8, 5), np.uint8)}, "1 or 3 channels"),
        ({"images": np.zeros((0, 8, 8), np.uint8)}, "at least one"),
        ({"a": np.zeros((4, 8, 8), np.uint8), "b": np.zeros((4, 8, 8), np.uint8)}, "one array of images"),
        (
            {"images": np.zeros((4, 8, 8), np.uint8), "labels": np.zeros(3, int)},
            "4 images need as many labels",
        ),
        ({"images": np.zeros((4, 8, 8), np.uint8), "labels": np.zeros(4)}, "whole numbers or words"),
    ],
)
def test_arrays_that_are_no_images_are_refused(
    tmp_path: Path, content: dict[str, np.ndarray], words: str
) -> None:
    np.savez(tmp_path / "x.npz", **content)
    with pytest.raises(DataError, match=words):
        read_arrays(tmp_path / "x.npz")


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=np.zeros((40, 8, 8), np.uint8))
    content = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[:-30])
    (tmp_path / "flipped.npz").write_bytes(content[:300] + b"\xff\xff" + content[302:])
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("notes.txt", "no array")
    for name in ("cut.npz", "flipped.npz", "text.npz"):
        with pytest.raises(DataError, match=r"not a readable|no array|neither an image"):
            read_arrays(tmp_path / name)


def test_pickles_and_rubbish_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object))
    (tmp_path / "y.npy").write_bytes(b"rubbish")
    for name in ("x.npy", "y.npy"):
        with pytest.raises(DataError, match=r"not a readable|neither an image"):
            read_arrays(tmp_path / name)
