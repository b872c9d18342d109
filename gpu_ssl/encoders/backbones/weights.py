"""Files of weights: found on the disk, or fetched."""

import hashlib
import threading
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from queue import Empty, Queue
from typing import Any
from urllib.request import Request, urlopen

import torch
from torch import Tensor, nn

import gpu_ssl
from gpu_ssl.errors import GpuSslError, StorageError
from gpu_ssl.runtime.cache import cache_folder, cache_folders
from gpu_ssl.runtime.files import atomic_path
from gpu_ssl.runtime.progress import SILENT, Progress

KIND = "weights"
"""Folder of the cache."""

PATIENCE = 4.0
"""Seconds to wait for a server to answer, before weights count as out of reach."""

SILENCE = 30.0
"""Seconds that a server may fall silent for once it answers."""

BLOCK_BYTES = 2**20


class NoWeightsError(GpuSslError):
    """Weights that are not at hand and cannot be fetched; the message says what to do.

    Parameters
    ----------
    brief : str
        What is the matter.
    advice : str
        What to do, if there is something.
    """

    def __init__(self, brief: str, advice: str = "") -> None:
        super().__init__(f"{brief}; {advice}" if advice else brief)
        self.brief = brief


class _FetchError(Exception):
    """Why a file did not come."""


def find_or_fetch(
    url: str,
    name: str,
    elsewhere: tuple[Path, ...] = (),
    sha256: str = "",
    *,
    fetch: bool = True,
    progress: Progress = SILENT,
) -> Path:
    """Return a file of weights.

    Parameters
    ----------
    url : str
        Where it is published.
    name : str
        What it is called on the disk.
    elsewhere : tuple of Path
        Files that it may lie in beside the cache: what other programs have fetched.
    sha256 : str
        With what the SHA-256 of a fetched file begins, where that is known.
    fetch : bool
        Whether it may be fetched.
    progress : Progress
        Shows how far that is.

    Raises
    ------
    NoWeightsError
        If it is not at hand, and may or can not be fetched.
    StorageError
        If what is fetched cannot be written.
    """
    for path in (*(folder / name for folder in cache_folders(KIND)), *elsewhere):
        if path.is_file():
            return path
    if not fetch:
        raise NoWeightsError(f"the weights {name} are not on this machine")
    path = cache_folder(KIND) / name
    try:
        _fetch(url, path, sha256, progress)
    except _FetchError as error:
        raise NoWeightsError(
            f"the weights {name} are not on this machine and cannot be fetched ({error})",
            f"fetch {url} elsewhere, and save it as {path}",
        ) from error
    return path


def _fetch(url: str, path: Path, sha256: str, progress: Progress) -> None:
    digest, size = hashlib.sha256(), 0
    with _answer(url) as response, atomic_path(path) as temporary:
        whole = int(response.headers.get("Content-Length") or 0)
        task = progress.task(f"Fetching {path.name} (MiB)", whole // BLOCK_BYTES + 1)
        with temporary.open("wb") as file, task as advance:
            for block in _blocks(response):
                digest.update(block)
                size += len(block)
                file.write(block)
                advance("", len(block) / BLOCK_BYTES)
        if whole and size != whole:
            raise _FetchError(f"it ended after {size:,} of {whole:,} bytes")
        if not digest.hexdigest().startswith(sha256):
            raise _FetchError(f"its SHA-256 does not begin with {sha256}, so it is not the published file")


def _answer(url: str) -> Any:
    """Return what a server answers, if it does so soon.

    The limits of libraries are those of a single step; names are looked up, several addresses tried, and
    proxies asked without an end.
    """
    outcome: Queue[Any] = Queue()

    def ask() -> None:
        request = Request(url, headers={"User-Agent": f"gpu-ssl/{gpu_ssl.__version__}"})
        try:
            outcome.put(urlopen(request, timeout=SILENCE))
        except (OSError, HTTPException) as error:
            outcome.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = outcome.get(timeout=PATIENCE)
    except Empty:
        raise _FetchError(f"no answer within {PATIENCE:g} seconds") from None
    if isinstance(answer, Exception):
        raise _FetchError(_reason(answer)) from answer
    return answer


def _blocks(response: Any) -> Iterator[bytes]:
    try:
        while block := response.read(BLOCK_BYTES):
            yield block
    except (OSError, HTTPException) as error:
        raise _FetchError(_reason(error)) from error


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    reason = getattr(reason, "strerror", None) or reason
    return " ".join(str(reason).split()) or type(error).__name__


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file that holds nothing else.

    Raises
    ------
    StorageError
        If it is damaged, or holds something else.
    """
    try:
        tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        if not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
            raise TypeError("not all that it holds are tensors")
    except Exception as error:  # unpickling raises whatever it meets
        raise StorageError(f"{path} holds no weights: {_first_line(error)}; {_ANEW}") from error
    return tensors


def give(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Give a network the weights that were read from a file.

    Raises
    ------
    StorageError
        If they are another network's.
    """
    try:
        network.load_state_dict(tensors)
    except (RuntimeError, ValueError) as error:
        raise not_its_weights(path, error) from error


def not_its_weights(path: Path, error: Exception) -> StorageError:
    """Return what tells that a file holds no weights of the network that it is named after."""
    return StorageError(f"{path} does not hold the weights of this network: {_first_line(error)}; {_ANEW}")


_ANEW = "delete it, and it is fetched anew"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(" .:")
