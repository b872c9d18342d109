"""Precomputed embeddings in files: rows of floats, read one block at a time."""

import math
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.data.positions import Positions
from gpu_ssl.data.problems import counted, printable
from gpu_ssl.errors import DataError
from gpu_ssl.runtime.files import read_whole
from gpu_ssl.runtime.memory_map import release

BLOCK = 1024
"""Number of rows read at a time."""

LEAST_WIDTH = 2
"""Minimum width of embeddings: a single column may be labels."""

NAMES = ".paths.txt"
"""Ending of the text file next to embeddings that names their rows, one per line; replaces their ending."""


class Embeddings(ABC):
    """Rows of floats in a file.

    Attributes
    ----------
    place : Path
        The file, or the folder of files.
    part : str
        Name of the array or column.
    shape : tuple of int
        Number of rows, and width of a row.
    """

    ndim = 2
    place: Path
    part: str
    shape: tuple[int, int]

    def __len__(self) -> int:
        return self.shape[0]

    @cached_property
    def names(self) -> Sequence[str]:
        """Name of each row: those given, if there is a different one for each row, else its position."""
        return Positions(len(self)) if self.unused_names or not self.given_names else self.given_names

    @property
    def unused_names(self) -> str:
        """Why the given names are not those of the rows; empty if they are, or none are given."""
        given, n = self.given_names, len(self)
        if not given or len(given) == n == len(set(given)):
            return ""
        if len(given) != n:
            return f"{self.named_by} has {counted(len(given), 'name')} for {counted(n, 'row')}"
        name, count = Counter(given).most_common(1)[0]
        return f"{self.named_by} has the name {printable(name)!r} {count} times"

    @cached_property
    def given_names(self) -> Sequence[str]:
        """The names of `named_by`."""
        return _lines_of(names_beside(self.place))

    @property
    def named_by(self) -> str:
        """What gives the names of the rows: the text file next to the embeddings."""
        return str(names_beside(self.place))

    @property
    def files(self) -> Sequence[Path]:
        """The files that hold the rows."""
        return (self.place,)

    @property
    def whole(self) -> NDArray[np.float32] | None:
        """A memory map of all rows, if the file stores them as contiguous float32; else None."""
        return None

    @abstractmethod
    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield all rows in blocks (m, width); rows of another width are NaN.

        Raises
        ------
        DataError
            If the file cannot be read.
        """


@dataclass(frozen=True)
class ArrayEmbeddings(Embeddings):
    """Embeddings in an array, such as a memory map."""

    place: Path
    part: str
    array: NDArray[Any]

    @property
    def shape(self) -> tuple[int, int]:  # type: ignore[override]
        """See `Embeddings`."""
        n, width = self.array.shape
        return n, width

    @property
    def whole(self) -> NDArray[np.float32] | None:
        """See `Embeddings.whole`."""
        as_it_is = self.array.dtype == np.float32 and self.array.flags.c_contiguous
        return self.array if as_it_is and self.array.flags.writeable else None

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """See `Embeddings.blocks`."""
        for start in range(0, len(self), BLOCK):
            yield to_float32(self.array[start : start + BLOCK])
            release(self.array)


@dataclass(frozen=True)
class NpzEmbeddings(Embeddings):
    """Embeddings in an array of an ``.npz`` file, never loaded as a whole."""

    place: Path
    part: str
    shape: tuple[int, int]
    dtype: np.dtype[Any]

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """See `Embeddings.blocks`."""
        n, width = self.shape
        try:
            with zipfile.ZipFile(self.place) as archive, archive.open(f"{self.part}.npy") as file:
                read_header(file)
                for start in range(0, n, BLOCK):
                    m = min(BLOCK, n - start)
                    content = file.read(m * width * self.dtype.itemsize)
                    yield to_float32(np.frombuffer(content, self.dtype).reshape(m, width))
        except (OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{self.place} is damaged: {error}") from error


@dataclass(frozen=True)
class TensorEmbeddings(Embeddings):
    """Embeddings in a tensor of a ``.safetensors`` file, of any float dtype."""

    place: Path
    part: str
    shape: tuple[int, int]

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """See `Embeddings.blocks`."""
        from safetensors import safe_open

        with safe_open(self.place, framework="pt") as file:
            rows = file.get_slice(self.part)
            for start in range(0, len(self), BLOCK):
                yield rows[start : start + BLOCK].float().numpy()


def in_npz(path: Path) -> dict[str, Embeddings]:
    """Return the arrays of an ``.npz`` file that may be embeddings, by name, without reading them.

    Arrays that cannot be read row by row are left out.
    """
    found: dict[str, Embeddings] = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if member.endswith(".npy"):
                with archive.open(member) as file, suppress(ValueError):
                    shape, by_columns, dtype = read_header(file)
                    size = archive.getinfo(member).file_size
                    if may_be(shape, dtype) and not by_columns and size >= math.prod(shape) * dtype.itemsize:
                        name = member.removesuffix(".npy")
                        found[name] = NpzEmbeddings(path, name, (shape[0], shape[1]), dtype)
    return found


def in_safetensors(path: Path) -> dict[str, Any]:
    """Return the tensors of a ``.safetensors`` file by name: possible embeddings unread, others as arrays.

    Raises
    ------
    DataError
        If the file cannot be read as safetensors.
    """
    from safetensors import SafetensorError, safe_open

    found: dict[str, Any] = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                rows = file.get_slice(name)
                shape, kind = rows.get_shape(), rows.get_dtype()
                if kind.startswith(("F", "BF")) and len(shape) == 2 and shape[1] >= LEAST_WIDTH:
                    found[name] = TensorEmbeddings(path, name, (shape[0], shape[1]))
                else:
                    tensor = file.get_tensor(name)
                    # NumPy has no bfloat16 or smaller floats.
                    found[name] = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    except (OSError, SafetensorError, TypeError) as error:
        raise DataError(f"{path} is not a readable .safetensors file: {error}") from error
    return found


def may_be(shape: Sequence[int], dtype: np.dtype[Any]) -> bool:
    """Whether an array may be embeddings: two-dimensional, of a float dtype."""
    return len(shape) == 2 and dtype.kind == "f" and shape[1] >= LEAST_WIDTH


def are_embeddings(images: NDArray[Any]) -> bool:
    """Whether an array of shape (n, 1, 1, width) holds embeddings rather than pixels."""
    return images.dtype == np.float32


def to_float32(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Return rows as float32; values out of range become infinite."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(rows, np.float32)


def names_beside(path: Path) -> Path:
    """Return the path of the text file that names the rows of an embedding file; it need not exist."""
    return path.with_name(path.stem + NAMES)


def _lines_of(path: Path) -> Sequence[str]:
    with suppress(OSError):
        text = read_whole(path).removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape")
        lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
        return tuple(lines) if text else ()
    return ()


def read_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an ``.npy`` file: shape, whether in Fortran order, and dtype."""
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read:
        raise ValueError(f"unsupported .npy version {version}")
    shape, by_columns, dtype = read[version](file)
    return shape, by_columns, dtype
