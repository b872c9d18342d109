"""A cache for the features of expensive pretrained encoders.

Images are decoded to the encoder's size in background threads and are not stored. An interrupted computation
resumes where it stopped. The CRC-32 of every block of features is stored next to them; from the first damaged
block on, features are computed again.
"""

import hashlib
import json
import logging
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gpu_ssl.data.decoding import BLOCK
from gpu_ssl.encoders.encoder import Encoder, encode
from gpu_ssl.errors import StorageError, TrainingError
from gpu_ssl.runtime.cache import cache_folder, cache_folders, forget_old, mark_used
from gpu_ssl.runtime.environment import release
from gpu_ssl.runtime.progress import Progress

if TYPE_CHECKING:
    from gpu_ssl.encoders.fitting import TrainingImages

logger = logging.getLogger(__name__)

KIND = "features"
"""Folder of the cache."""

VERSION = 4
"""Version of the feature computation; features of an earlier version are not used."""

_SUM = struct.Struct("<I")

ADVICE = "free some space, or set `cache_dir` to another folder; features computed so far are kept"


def features_of(encoder: Encoder, images: "TrainingImages", progress: Progress) -> Tensor:
    """Return the features of all images, (n, width), float32, on their device.

    Features of images without a content hash are not cached. On a CPU the features are a memory map of the
    cache file, which may be larger than memory. On a GPU, computed features stay on the device, column-major,
    and a copy is written to the cache.

    Parameters
    ----------
    encoder : Encoder
        An encoder with `own_shape`, on the device of the images.
    images : TrainingImages
        The images.
    progress : Progress
        Shows the progress of encoding.

    Raises
    ------
    StorageError
        If the cache cannot be written.
    TrainingError
        If a feature is not finite.
    """
    shape = len(images), encoder.width
    if not images.sha256:
        features = _empty(shape, images.device)
        for start, block in _encoded(encoder, images, 0):
            features[start : start + len(block)] = block
        return features
    name = _file_name(encoder, images)
    for folder in cache_folders(KIND):
        path = folder / name
        if _is_whole(path, shape):
            mark_used(path, _sums_path(path))
            return _read(path, shape, images.device)
    folder = cache_folder(KIND)
    forget_old(folder)
    path, unfinished = folder / name, folder / f"{name}.part"
    kept = None if _maps(images.device) else _empty(shape, images.device)
    try:
        with _alone(unfinished) as file:
            if _is_whole(path, shape):  # another process has computed it meanwhile
                unfinished.unlink(missing_ok=True)
                kept = None
            else:
                with _sums_path(path).open("a+b") as sums:
                    _append(file, sums, encoder, images, progress, kept)
                unfinished.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}; {ADVICE}") from error
    return _read(path, shape, images.device) if kept is None else kept


def _maps(device: torch.device) -> bool:
    """Whether features on this device are a memory map of the file."""
    return device.type == "cpu"


def _empty(shape: tuple[int, int], device: torch.device) -> Tensor:
    """Return an empty feature tensor, column-major, which cuML takes without a copy."""
    return torch.empty(shape[::-1], device=device).T


def _encoded(encoder: Encoder, images: "TrainingImages", start: int) -> Iterator[tuple[int, Tensor]]:
    """Yield blocks of features from image `start` on, each with the position of its first image."""
    for block in images.blocks(encoder.image_shape, start):
        features = encode(encoder, torch.from_numpy(block).to(images.device))
        if not bool(features.isfinite().all()):
            raise TrainingError(
                f"the encoder {encoder.name} returned features that are not finite; try `precision=float32`"
            )
        yield start, features
        start += len(block)


def _is_whole(path: Path, shape: tuple[int, int]) -> bool:
    if not path.is_file() or path.stat().st_size != 4 * shape[0] * shape[1]:
        return False
    with path.open("rb") as file, suppress(OSError), _sums_path(path).open("rb") as sums:
        if _undamaged(file, sums, shape) == shape[0]:
            return True
    logger.info("%s is damaged: its checksums differ; it is made again", path)
    return False


def _undamaged(file: IO[bytes], sums: IO[bytes], shape: tuple[int, int]) -> int:
    """Return the number of rows, in whole blocks, before the first missing or damaged block."""
    file.seek(0)
    sums.seek(0)
    done, row = 0, 4 * shape[1]
    while done < shape[0]:
        rows = min(BLOCK, shape[0] - done)
        block, known = file.read(rows * row), sums.read(_SUM.size)
        if len(block) < rows * row or len(known) < _SUM.size or _SUM.pack(zlib.crc32(block)) != known:
            break
        done += rows
    return done


def _sums_path(path: Path) -> Path:
    return path.with_suffix(".sums")


def _append(
    file: IO[bytes],
    sums: IO[bytes],
    encoder: Encoder,
    images: "TrainingImages",
    progress: Progress,
    features: Tensor | None = None,
) -> None:
    """Append the missing features to a partial file, and fill `features`, if given, with all of them.

    `sums` is its file of checksums.
    """
    row = 4 * encoder.width
    # Whole blocks: the last bits of features may depend on the other images of the block.
    done = _undamaged(file, sums, (len(images), encoder.width))
    for opened, size in ((file, done * row), (sums, -(-done // BLOCK) * _SUM.size)):
        opened.truncate(size)
    if features is not None:
        file.seek(0)
        known = np.frombuffer(file.read(done * row), np.float32).reshape(done, encoder.width)
        features[:done] = torch.from_numpy(known.copy()).to(features.device)
    for opened in (file, sums):
        opened.seek(0, os.SEEK_END)
    with progress.task("encode", len(images)) as advance:
        advance("", done)
        for start, block in _encoded(encoder, images, done):
            if features is not None:
                features[start : start + len(block)] = block
            content = np.ascontiguousarray(block.cpu().numpy()).data
            for opened, written in ((file, content), (sums, _SUM.pack(zlib.crc32(content)))):
                opened.write(written)
                opened.flush()
            advance("", len(block))


@contextmanager
def _alone(path: Path) -> Iterator[IO[bytes]]:
    """Open a file under an exclusive lock, waiting for other processes that hold it."""
    with path.open("a+b") as file:
        try:
            import fcntl
        except ImportError:  # not on Unix
            yield file
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _read(path: Path, shape: tuple[int, int], device: torch.device) -> Tensor:
    # Copy on write, because torch shares memory only with writable arrays; nothing is written.
    features = torch.from_numpy(np.memmap(path, np.float32, "c", shape=shape))
    if _maps(device):
        return features
    return features.to(device).T.contiguous().T  # column-major, which cuML takes without a copy


def _file_name(encoder: Encoder, images: "TrainingImages") -> str:
    """Return a file name: a hash of everything that determines the features."""
    digest = hashlib.sha256()
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
    settings = {name: value for name, value in encoder.settings().items() if name != "why"}
    decided_by = {
        "gpu_ssl": release(),
        "version": VERSION,
        "encoder": [encoder.name.partition(":")[0], encoder.image_shape, settings],
        "state": digest.hexdigest(),
        "images": images.sha256,
        "shape": images.image_shape,
        "originals": None if images.originals is None else str(images.originals.how),
        "device": images.device.type,
        "precision": str(encoder.precision),
        "torch": torch.__version__,
    }
    whole = hashlib.sha256(json.dumps(decided_by, sort_keys=True).encode()).hexdigest()
    return f"{whole[:32]}.f32"
