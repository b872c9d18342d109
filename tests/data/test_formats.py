"""Readers: what is written in a data set's own format comes back, and damage is named."""

import gzip
import hashlib
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from gpu_ssl.data import formats
from gpu_ssl.errors import DataError

ARRAYS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3, max_side=6))


def idx(array: NDArray[np.uint8]) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


@given(ARRAYS)
def test_idx_comes_back(array: NDArray[np.uint8]) -> None:
    assert np.array_equal(formats.parse_idx(idx(array), "x"), array)


@given(ARRAYS, st.data())
def test_a_truncated_idx_is_refused_by_name(array: NDArray[np.uint8], data: st.DataObject) -> None:
    content = idx(array)
    length = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(DataError, match="the-file"):
        formats.parse_idx(content[:length], "the-file")


@given(st.binary(max_size=64))
def test_any_bytes_are_an_array_or_an_error(content: bytes) -> None:
    try:
        array = formats.parse_idx(content, "x")
    except DataError:
        return
    assert idx(array) == content


def write_mnist_like(folder: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> dict[str, Path]:
    files = {}
    for part in ("train", "t10k"):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            name = f"{part}-{kind}-ubyte.gz"
            files[name] = folder / name
            files[name].write_bytes(gzip.compress(idx(array)))
    return files


def test_mnist_like_files_become_images_with_a_channel(tmp_path: Path) -> None:
    images = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    raw = formats.read_mnist_like(write_mnist_like(tmp_path, images, np.array([0, 1], np.uint8)))
    assert np.array_equal(raw.train_images, images[:, None])
    assert raw.test_labels.tolist() == [0, 1]


def test_mnist_like_files_may_lie_uncompressed(tmp_path: Path) -> None:
    images = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    files = write_mnist_like(tmp_path, images, np.array([0, 1], np.uint8))
    for name, path in files.items():
        files[name] = path.with_suffix("")
        files[name].write_bytes(gzip.decompress(path.read_bytes()))
    raw = formats.read_mnist_like(files)
    assert np.array_equal(raw.test_images, images[:, None])
    assert raw.train_labels.tolist() == [0, 1]


def test_a_cut_gzip_file_is_refused_by_name(tmp_path: Path) -> None:
    files = write_mnist_like(tmp_path, np.zeros((9, 5, 5), np.uint8), np.zeros(9, np.uint8))
    path = files["t10k-images-idx3-ubyte.gz"]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=str(path)):
        formats.read_mnist_like(files)


def test_emnist_images_are_turned_upright(tmp_path: Path) -> None:
    upright = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    path = tmp_path / "gzip.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for part in ("train", "test"):
            for kind, array in (
                ("images-idx3", upright.swapaxes(1, 2)),
                ("labels-idx1", np.array([46, 0], np.uint8)),
            ):
                name = f"gzip/emnist-balanced-{part}-{kind}-ubyte.gz"
                archive.writestr(name, gzip.compress(idx(np.ascontiguousarray(array))))
    raw = formats.read_emnist_balanced({"gzip.zip": path})
    assert np.array_equal(raw.train_images, upright[:, None])
    assert raw.test_labels.tolist() == [46, 0]


def test_an_archive_without_the_balanced_split_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gzip.zip"
    zipfile.ZipFile(path, "w").close()
    with pytest.raises(DataError, match=str(path)):
        formats.read_emnist_balanced({"gzip.zip": path})


def test_svhn_label_ten_is_the_digit_zero(tmp_path: Path) -> None:
    from scipy.io import savemat

    images = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 4), np.uint8)
    files = {name: tmp_path / name for name in ("train_32x32.mat", "test_32x32.mat")}
    for path in files.values():
        savemat(path, {"X": images, "y": np.array([[10], [1], [9], [10]], np.uint8)})
    raw = formats.read_svhn(files)
    assert raw.train_labels.tolist() == [0, 1, 9, 0]
    assert np.array_equal(raw.test_images[2, 1], images[:, :, 1, 2])


def test_cifar10_is_read_through_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10

    rows = np.random.default_rng(0).integers(0, 256, (2, 3 * 32 * 32), np.uint8)
    batch = pickle.dumps({"data": rows, "labels": [3, 9]})
    meta = pickle.dumps({"label_names": [str(i) for i in range(10)]})
    path = tmp_path / "cifar-10-python.tar.gz"
    names = [name for name, _ in CIFAR10.train_list + CIFAR10.test_list]
    with tarfile.open(path, "w:gz") as archive:
        for name, content in [*((name, batch) for name in names), ("batches.meta", meta)]:
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))

    # torchvision checks the sums of the published files; ours are those of the small ones above.
    def md5(content: bytes) -> str:
        return hashlib.md5(content, usedforsecurity=False).hexdigest()

    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5(batch)] for name, _ in CIFAR10.train_list])
    monkeypatch.setattr(CIFAR10, "test_list", [[name, md5(batch)] for name, _ in CIFAR10.test_list])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5(meta)})
    raw = formats.read_cifar10({path.name: path})
    assert raw.train_images.shape == (10, 3, 32, 32)
    assert np.array_equal(raw.test_images.reshape(2, -1), rows)
    assert raw.test_labels.tolist() == [3, 9]
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = formats.read_cifar10({path.name: tmp_path / "cifar-10-batches-py"})
    assert np.array_equal(unpacked.train_images, raw.train_images)
    assert unpacked.train_labels.tolist() == raw.train_labels.tolist()


def test_digits_are_split_once_and_for_all() -> None:
    raw, again = formats.read_digits({}), formats.read_digits({})
    assert raw.train_images.shape == (1347, 1, 8, 8)
    assert raw.test_images.shape == (450, 1, 8, 8)
    assert raw.train_images.max() == 255
    assert np.array_equal(raw.test_labels, again.test_labels)
