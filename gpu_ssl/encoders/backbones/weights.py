"""Files of weights: found on the disk, or fetched."""

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from torch import Tensor

from gpu_ssl.errors import GpuSslError, StorageError
from gpu_ssl.runtime.cache import cache_folder, cache_folders

KIND = "weights"
"""Folder of the cache."""

PATIENCE = 3.0
"""Seconds to wait for a server to answer, before weights count as out of reach."""


class NoWeightsError(GpuSslError):
    """Weights that are not at hand and cannot be fetched; the message says what to do."""


def find_or_fetch(
    url: str, name: str, elsewhere: tuple[Path, ...] = (), sha256: str = "", *, fetch: bool = True
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

    Raises
    ------
    NoWeightsError
        If it is not at hand, and may or can not be fetched.
    """
    for path in (*(folder / name for folder in cache_folders(KIND)), *elsewhere):
        if path.is_file():
            return path
    if not fetch:
        raise NoWeightsError(f"the weights {name} are not on this machine")
    path = cache_folder(KIND) / name
    try:
        _reach(url)
        torch.hub.download_url_to_file(url, str(path), sha256 or None, progress=sys.stderr.isatty())
    except (OSError, URLError, RuntimeError) as error:  # the last where the hash is another
        reason = getattr(error, "reason", None) or error
        raise NoWeightsError(
            f"the weights {name} are not on this machine and cannot be fetched ({reason}); fetch {url} "
            f"elsewhere, and save it as {path}"
        ) from error
    return path


def _reach(url: str) -> None:
    """Fail soon where there is no network, and not after the many tries of whoever fetches."""
    parts = urlsplit(url)
    if parts.hostname and parts.scheme not in getproxies() and not os.environ.get("ALL_PROXY"):
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname, port), PATIENCE).close()


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """Read the tensors of a file that holds nothing else.

    Raises
    ------
    StorageError
        If it is damaged, or holds something else.
    """
    try:
        tensors: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling raises whatever it meets
        raise StorageError(f"{path} holds no weights: {error}; delete it, and it is fetched anew") from error
    return tensors
