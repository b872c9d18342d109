"""NumPy files: every usual layout is read, and others are refused."""

import io
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gpu_ssl.data import arrays
from gpu_ssl.data.array_range import holds_levels, range_for_levels, range_in, scale
from gpu_ssl.data.arrays import read_arrays
from gpu_ssl.errors import DataError

PICTURES = np.zeros((4, 8, 8), np.uint8)


@pytest.mark.parametrize("shape", [(6, 8, 9), (6, 8, 9, 3), (6, 3, 8, 9), (6, 8, 9, 1), (6, 1, 8, 9)])
def test_arrays_of_any_usual_layout_are_read(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.save(tmp_path / "x.npy", pixels)
    found = read_arrays(tmp_path / "x.npy")
    assert found.pixels.shape == (6, 3 if 3 in shape[1:] else 1, 8, 9)
    assert found.labels == {}
    expected = pixels.reshape(6, 8, 9, -1) if shape[1] not in (1, 3) else pixels.transpose(0, 2, 3, 1)
    assert np.array_equal(found.pixels.transpose(0, 2, 3, 1), expected)


@pytest.mark.parametrize(
    ("images", "labels"), [("train_images", "train_labels"), ("x_train", "y_train"), ("X_train", "Y_train")]
)
def test_of_several_parts_the_one_for_training_counts(tmp_path: Path, images: str, labels: str) -> None:
    """As Keras and MedMNIST write them; the latter with labels of shape (n, 1)."""
    test = images.replace("train", "test"), labels.replace("train", "test")
    content = {images: PICTURES + 7, labels: np.array([[2], [3], [2], [2]])}
    np.savez(tmp_path / "x.npz", **content, **{test[0]: PICTURES[:2], test[1]: np.array([[5], [5]])})
    found = read_arrays(tmp_path / "x.npz")
    assert found.pixels.min() == 7
    assert found.labels == {"0": "2", "1": "3", "2": "2", "3": "2"}
    assert found.unused == test


@pytest.mark.parametrize(
    "labels",
    [
        np.array([1, -1, 0, -1]),
        np.array([1.0, np.nan, 0.0, -1.0]),
        np.array(["1", "", "0", "unlabelled"]),
        np.array([b"1", b"nan", b"0", b"None"]),
    ],
)
def test_what_says_nothing_is_no_label(tmp_path: Path, labels: np.ndarray) -> None:
    np.savez(tmp_path / "x.npz", images=PICTURES, labels=labels)
    assert read_arrays(tmp_path / "x.npz").labels == {"0": "1", "2": "0"}


def test_arrays_of_other_names_are_no_labels(tmp_path: Path) -> None:
    """Patients are not classes; and they are told as unused."""
    np.savez(tmp_path / "x.npz", images=PICTURES, patient=np.array([0, 0, 1, 1]))
    found = read_arrays(tmp_path / "x.npz")
    assert (found.labels, found.unused) == ({}, ("patient",))
    np.savez(tmp_path / "x.npz", images=PICTURES, patient=np.array([0, 0, 1, 1]), class_ids=np.arange(4))
    assert read_arrays(tmp_path / "x.npz").labels == {"0": "0", "1": "1", "2": "2", "3": "3"}
    np.savez(tmp_path / "x.npz", PICTURES, np.arange(4))
    assert len(read_arrays(tmp_path / "x.npz").labels) == 4


def test_text_as_pandas_holds_it_is_refused_with_advice(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=PICTURES, labels=np.array(["a", "b", "a", None], object))
    with pytest.raises(DataError, match="save text with `"):
        read_arrays(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"images": np.zeros((4, 8, 8), complex)}, "expected images of a real dtype"),
        ({"images": np.zeros((4, 8, 8, 5), np.uint8)}, "1 or 3 channels"),
        ({"images": np.zeros((0, 8, 8), np.uint8)}, "at least one"),
        ({"a": PICTURES, "b": PICTURES}, "one array of images"),
        ({"images": PICTURES, "labels": np.zeros(3, int)}, r"expected labels of shape \(4,\)"),
        ({"images": PICTURES, "labels": np.full(4, 0.5)}, "whole numbers or words"),
        (
            {"images": PICTURES, "labels": np.zeros(4, int), "classes": np.zeros(4, int)},
            "several arrays that may be labels",
        ),
    ],
)
def test_arrays_that_are_no_images_are_refused(
    tmp_path: Path, content: dict[str, np.ndarray], words: str
) -> None:
    np.savez(tmp_path / "x.npz", **content)
    with pytest.raises(DataError, match=words):
        read_arrays(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (np.array([0, 255], np.uint8), (0, 255)),
        (np.array([0, 9], np.uint8), (0, 255)),
        (np.array([0, 0.5]), (0, 1)),
        (np.array([-0.5, 0.9]), (-1, 1)),
        (np.array([0, 250.0]), (0, 255)),
        (np.array([0, 4000], np.uint16), (0, 4095)),
        (np.array([False, True]), (0, 1)),
        (np.linspace(-1000, 3000, 2001), (-998, 2996)),
        (np.array([np.nan, 0.2, 0.4, np.inf]), (0, 1)),
    ],
)
def test_the_range_of_numbers_is_found(numbers: np.ndarray, expected: tuple[float, float]) -> None:
    images = np.resize(numbers, (2, 1, 40, 51))
    assert range_in(images, Path("x")) == pytest.approx(expected)


def test_numbers_are_scaled_to_grey_levels_and_what_is_none_is_black() -> None:
    images = np.array([-5, -1, 0, 1, 7, np.nan, np.inf]).reshape(1, 1, 1, 7)
    assert scale(images, -1, 1).ravel().tolist() == [0, 0, 128, 255, 255, 0, 0]
    whole = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    assert scale(whole, 0, 255) is whole


@pytest.mark.parametrize(
    ("numbers", "words"), [(np.full(4, 3.0), "are 3"), (np.full(4, np.nan), "is finite")]
)
def test_numbers_that_tell_nothing_are_refused(numbers: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        range_in(np.resize(numbers, (2, 1, 8, 8)), Path("x"))


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=np.zeros((40, 8, 8), np.uint8))
    content = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[:-30])
    (tmp_path / "flipped.npz").write_bytes(content[:300] + b"\xff\xff" + content[302:])
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("notes.txt", "no array")
    for name in ("cut.npz", "flipped.npz", "text.npz"):
        with pytest.raises(DataError, match=r"not a readable|not an array|neither an image"):
            read_arrays(tmp_path / name)


def test_why_a_file_cannot_be_read_is_told_in_plain_words(tmp_path: Path) -> None:
    np.save(tmp_path / "cut.npy", np.zeros((40, 8, 8), np.uint8))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:1000])
    sizes = np.empty(2, object)
    sizes[:] = [np.zeros((8, 8)), np.zeros((9, 9))]
    np.save(tmp_path / "sizes.npy", sizes)
    for name, words in (
        ("cut", "file: it is truncated$"),
        ("sizes", "Python objects; give all images one size"),
    ):
        with pytest.raises(DataError, match=words):
            read_arrays(tmp_path / f"{name}.npy")


def test_pickles_and_rubbish_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object))
    (tmp_path / "y.npy").write_bytes(b"rubbish")
    for name in ("x.npy", "y.npy"):
        with pytest.raises(DataError, match=r"not a readable|neither an image"):
            read_arrays(tmp_path / name)


def test_an_archive_that_inflates_to_more_than_fits_is_refused_by_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A megabyte of zeros compresses to a thousandth: nothing is inflated to find that out."""
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((1000, 32, 32), np.uint8), y=np.arange(1000))
    assert (tmp_path / "x.npz").stat().st_size < 10_000
    assert len(read_arrays(tmp_path / "x.npz").pixels) == 1000
    monkeypatch.setattr(arrays, "LARGEST", 1_000_000)
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", lambda *_: pytest.fail("it was inflated"))
    with pytest.raises(DataError, match=r"x\.npz take 0\.0 GiB, .* save each as \.npy"):
        read_arrays(tmp_path / "x.npz")


def test_an_archive_that_is_shorter_than_its_header_says_is_damaged(tmp_path: Path) -> None:
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        content, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 32, 32)}
    )
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", content.getvalue() + bytes(100))
    with pytest.raises(DataError, match="shorter than its header says"):
        read_arrays(tmp_path / "x.npz")


@pytest.mark.parametrize("shape", [(9, 8, 8), (9, 3, 8, 8)])
@pytest.mark.parametrize("kind", [torch.uint8, torch.bfloat16])
def test_images_and_labels_in_safetensors_are_read(
    tmp_path: Path, shape: tuple[int, ...], kind: torch.dtype
) -> None:
    """None is skipped for its dimensions or its dtype."""
    pixels = torch.arange(math.prod(shape)).remainder(200).reshape(shape).to(kind)
    save_file({"images": pixels, "labels": torch.arange(9).to(torch.bfloat16)}, tmp_path / "x.safetensors")
    found = read_arrays(tmp_path / "x.safetensors")
    assert np.array_equal(np.asarray(found.pixels).reshape(shape), pixels.float().numpy())
    assert found.labels == {str(row): str(row) for row in range(9)}


def levels(dtype: str, scale_by: float = 1.0) -> np.ndarray:
    """Dark images, of values from 7 to 50."""
    return (np.linspace(7, 50, 4 * 64).reshape(4, 1, 8, 8).round() * scale_by).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float32"])
def test_for_a_model_of_levels_the_same_values_are_the_same_in_any_dtype(dtype: str) -> None:
    """However dark the images are."""
    images = levels(dtype)
    assert range_for_levels(images, Path("x")) == (0, 255)
    assert np.array_equal(scale(images, 0, 255), levels("uint8"))


@pytest.mark.parametrize(
    "images",
    [
        levels("float64", 1 / 50),
        levels("float64", 1.02 / 50),  # a little above 1, as after interpolation
        levels("int64", 1 / 50),
        levels("int64", 1 / 3),  # of 4 bits
        levels("uint16", 80),
        levels("uint8") > 20,
    ],
)
def test_for_a_model_of_levels_other_ranges_are_what_they_are(images: np.ndarray) -> None:
    assert range_for_levels(images, Path("x")) == range_in(images, Path("x"))


@pytest.mark.parametrize(("low", "high", "top"), [(0, 0.1, 0.5), (0, 1, 4), (-2.4, 2.4, 10), (0, 16, 31)])
def test_brighter_images_are_cut_and_no_levels(low: float, high: float, top: float) -> None:
    assert not holds_levels(levels("float64", top / 50), low, high)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
def test_a_model_of_fractions_knows_levels_in_any_dtype(dtype: str) -> None:
    assert holds_levels(levels(dtype, 4), 0, 1)
    assert not holds_levels(levels("float32", 1 / 50), 0, 1)


def test_values_of_another_range_are_refused_and_outliers_are_not() -> None:
    images = np.random.default_rng(0).normal(size=(50, 1, 8, 8))
    images[0, 0, 0, :3] = 40
    assert not holds_levels(images, -2, 2)
    with pytest.raises(DataError, match=r"expected values from 0 to 1 .* got values from 560 to 4000"):
        holds_levels(levels("float32", 80), 0, 1)
