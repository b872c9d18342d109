"""Readers of the files that data sets come in. Each returns arrays or raises DataError by file name."""

import gzip
import math
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.data.splits import stratified_split
from gpu_ssl.errors import DataError


class RawParts(NamedTuple):
    """Training and test images (n, channels, height, width) and labels (n,), all uint8 or integers."""

    train_images: NDArray[Any]
    train_labels: NDArray[Any]
    test_images: NDArray[Any]
    test_labels: NDArray[Any]


GZIP_MAGIC = b"\x1f\x8b"
"""What a gzip file begins with, and no IDX file does."""

Files = Mapping[str, Path]
"""Verified files by the name that the catalog gives them; they may lie under another, uncompressed."""


def parse_idx(content: bytes, name: str) -> NDArray[np.uint8]:
    """Parse an array in the IDX format of the MNIST files (unsigned bytes only).

    Raises
    ------
    DataError
        If `content` is not such an array, or is shorter or longer than its header says.
    """
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise DataError(f"{name} is not an IDX file of unsigned bytes")
    n_dims = content[3]
    start = 4 + 4 * n_dims
    if len(content) < start:
        raise DataError(f"{name} is truncated: its header announces {n_dims} dimensions and ends before")
    shape = struct.unpack(f">{n_dims}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise DataError(
            f"{name} is truncated: its header announces {shape}, it holds {len(content) - start} bytes"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _read_idx(stream: IO[bytes], name: str) -> NDArray[np.uint8]:
    """Read an IDX file, gzipped or not."""
    content = stream.read()
    try:
        return parse_idx(gzip.decompress(content) if content.startswith(GZIP_MAGIC) else content, name)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{name} is not a whole gzip file: {error}") from error


def read_mnist_like(files: Files) -> RawParts:
    """Read the four IDX files, gzipped or not, of MNIST and of the sets that follow its layout."""
    arrays = {}
    for name, path in files.items():
        with path.open("rb") as stream:
            arrays[name] = _read_idx(stream, str(path))
    return RawParts(
        arrays["train-images-idx3-ubyte.gz"][:, None],
        arrays["train-labels-idx1-ubyte.gz"],
        arrays["t10k-images-idx3-ubyte.gz"][:, None],
        arrays["t10k-labels-idx1-ubyte.gz"],
    )


def read_emnist_balanced(files: Files) -> RawParts:
    """Read the balanced split out of the EMNIST archive; its images are stored transposed."""
    path = files["gzip.zip"]
    arrays = []
    try:
        with zipfile.ZipFile(path) as archive:
            for part in ("train-images-idx3", "train-labels-idx1", "test-images-idx3", "test-labels-idx1"):
                member = f"gzip/emnist-balanced-{part}-ubyte.gz"
                with archive.open(member) as stream:
                    arrays.append(_read_idx(stream, f"{path}:{member}"))
    except (zipfile.BadZipFile, KeyError) as error:
        raise DataError(f"{path} is not the EMNIST archive: {error}") from error
    train_images, train_labels, test_images, test_labels = arrays
    return RawParts(
        train_images.swapaxes(1, 2)[:, None], train_labels, test_images.swapaxes(1, 2)[:, None], test_labels
    )


def read_cifar10(files: Files) -> RawParts:
    """Read CIFAR-10 through torchvision, unpacked already or into a folder that is deleted again."""
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import extract_archive

    path = files["cifar-10-python.tar.gz"]
    with tempfile.TemporaryDirectory() as temporary:
        if not path.is_dir():
            extract_archive(str(path), temporary)
        root = path.parent if path.is_dir() else temporary
        train, test = (CIFAR10(root, train=train) for train in (True, False))
    return RawParts(
        train.data.transpose(0, 3, 1, 2),
        np.asarray(train.targets),
        test.data.transpose(0, 3, 1, 2),
        np.asarray(test.targets),
    )


def read_svhn(files: Files) -> RawParts:
    """Read the cropped digits of SVHN (MATLAB files, images last); the label 10 stands for the digit 0."""
    from scipy.io import loadmat

    parts = []
    for name in ("train_32x32.mat", "test_32x32.mat"):
        content = loadmat(files[name])
        parts += [content["X"].transpose(3, 2, 0, 1), content["y"].ravel() % 10]
    return RawParts(*parts)


def read_digits(files: Files) -> RawParts:
    """Return scikit-learn's embedded 8 x 8 digits; a fixed stratified quarter of them is the test set."""
    package = find_spec("sklearn")  # which does not import it
    if package is None or package.origin is None:
        raise DataError("scikit-learn, which brings these digits, is not installed")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    rows = np.loadtxt(path, delimiter=",", dtype=np.int64)
    images = np.rint(rows[:, :-1].reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = rows[:, -1]
    train, test = stratified_split(labels, math.ceil(len(rows) / 4), seed=0)
    return RawParts(images[train], labels[train], images[test], labels[test])
