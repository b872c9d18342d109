"""Finding, downloading and reading files of pretrained weights."""

import hashlib
import os
import re
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

PACKAGED = "efficientnet_lite0"
"""Network whose weights are a Python package."""

PATIENCE = 4.0
"""Seconds to wait for the first response of a server before weights count as unavailable."""

SILENCE = 30.0
"""Timeout in seconds between data once the server has responded."""

BLOCK_BYTES = 2**20


class NoWeightsError(GpuSslError):
    """Weights that are not available locally and cannot be downloaded.

    Parameters
    ----------
    brief : str
        The problem, without local paths.
    advice : str
        What the user can do, if anything.
    """

    def __init__(self, brief: str, advice: str = "") -> None:
        super().__init__(f"{brief}; {advice}" if advice else brief)
        self.brief = brief


class _FetchError(Exception):
    """A failed download, with the reason."""


def find_or_fetch(
    url: str,
    name: str,
    elsewhere: tuple[Path, ...] = (),
    sha256: str = "",
    *,
    fetch: bool = True,
    progress: Progress = SILENT,
) -> Path:
    """Return the path of a weights file, downloading it if necessary.

    Parameters
    ----------
    url : str
        URL to download from.
    name : str
        File name in the cache.
    elsewhere : tuple of Path
        Further paths to search, such as downloads of other programs.
    sha256 : str
        Expected prefix of the SHA-256 of a downloaded file; "" if unknown.
    fetch : bool
        Whether downloading is allowed.
    progress : Progress
        Shows the progress of the download.

    Raises
    ------
    NoWeightsError
        If the file is not available locally and cannot be downloaded.
    StorageError
        If the download cannot be written.
    """
    for path in (*(folder / name for folder in cache_folders(KIND)), *elsewhere):
        if path.is_file():
            return path
    if not fetch:
        raise NoWeightsError(f"the weights {name} are not available locally")
    path = cache_folder(KIND) / name
    try:
        _fetch(url, path, sha256, progress)
    except _FetchError as error:
        raise NoWeightsError(
            f"the weights {name} are not available locally and cannot be fetched ({error})",
            f"fetch {url} elsewhere, and save it as {path}",
        ) from error
    return path


def may_be_at_hand(name: str) -> bool:
    """Return whether files on this machine may be the weights of a network, by their names.

    No library is imported for it: torchvision and timm take a second, on most machines in vain.

    Parameters
    ----------
    name : str
        Name of the network. One whose weights are a Python package counts as available.
    """
    if name == PACKAGED:
        return True
    stem = re.split(r"[.@]", name)[0]
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface")
    of_timm = Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()
    folders = (*cache_folders(KIND), Path(torch.hub.get_dir()) / "checkpoints", of_timm)
    return any(stem in path.name for folder in folders if folder.is_dir() for path in folder.iterdir())


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
    """Return the response of a server, or fail after `PATIENCE` seconds.

    The timeouts of libraries apply to single steps; name resolution, several addresses and proxies can take
    arbitrarily long in total.
    """
    outcome: Queue[Any] = Queue()

    def request_url() -> None:
        request = Request(url, headers={"User-Agent": f"gpu-ssl/{gpu_ssl.__version__}"})
        try:
            outcome.put(urlopen(request, timeout=SILENCE))
        except (OSError, HTTPException) as error:
            outcome.put(error)

    threading.Thread(target=request_url, daemon=True).start()
    try:
        answer = outcome.get(timeout=PATIENCE)
    except Empty:
        raise _FetchError(f"no response within {PATIENCE:g} seconds") from None
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
    """Read a file that holds only tensors.

    Raises
    ------
    StorageError
        If the file is damaged, or holds other objects.
    """
    try:
        tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        if not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
            raise TypeError("it holds objects that are not tensors")
    except Exception as error:  # unpickling a damaged file raises exceptions of many types
        raise StorageError(f"{path} holds no weights: {_first_line(error)}; {_ANEW}") from error
    return tensors


def give(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load tensors that were read from a file into a network.

    Raises
    ------
    StorageError
        If they belong to another network.
    """
    try:
        network.load_state_dict(tensors)
    except (RuntimeError, ValueError) as error:
        raise not_its_weights(path, error) from error


def not_its_weights(path: Path, error: Exception) -> StorageError:
    """Return the error for a file that does not hold the weights of its network."""
    return StorageError(f"{path} does not hold the weights of this network: {_first_line(error)}; {_ANEW}")


_ANEW = "delete it, and it will be fetched again"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(" .:")
