"""The folder for what can be had again: data sets, decoded images, encoders.

It is the user's cache, or the folder that `GPU_SSL_CACHE_DIR` names, which ``--cache-dir`` sets. Where the
user has no cache that can be written to, as in many containers and batch jobs, a temporary folder takes its
place until the process ends. What a read-only cache holds is read all the same.
"""

import atexit
import hashlib
import logging
import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

import platformdirs

from gpu_ssl.errors import StorageError, UsageError
from gpu_ssl.runtime.torchrun import by_torchrun

logger = logging.getLogger(__name__)

VARIABLE: Final = "GPU_SSL_CACHE_DIR"
"""Names the cache, in place of the user's own. Processes that this one starts inherit it."""

TEMPORARY: Final = "GPU_SSL_TEMPORARY_CACHE"
"""Names the temporary folder to processes that this one starts, such as the workers of a sweep."""

KEPT_DAYS: Final = 30
"""What was not used for so long is deleted."""

LIBRARIES: Final = {"MPLCONFIGDIR": "matplotlib", "CUPY_CACHE_DIR": "cupy"}
"""Variables that tell libraries where to keep what they make again otherwise, and the kinds of that."""

_ADVICE: Final = f"set {VARIABLE} to a folder that can be written to"

_to_delete: dict[int, Path] = {}
"""The temporary folder that a process deletes; by its number, as a forked process has a copy of this."""


def cache_folders(kind: str) -> list[Path]:
    """Return the folders in which something of a kind may lie, best first; they need not exist.

    Parameters
    ----------
    kind : str
        Name of a folder in the cache, such as ``decoded``.
    """
    places = [_lasting(), None if os.environ.get(VARIABLE) else _temporary()]
    return [place / kind for place in places if place is not None]


def cache_folder(kind: str, *, temporary: bool = True) -> Path:
    """Return the folder to put something of a kind into. It exists and can be written to.

    Parameters
    ----------
    kind : str
        Name of a folder in the cache.
    temporary : bool
        Whether one that lasts until the end of the process will do, too.

    Raises
    ------
    UsageError
        If `GPU_SSL_CACHE_DIR` names a folder that cannot be written to.
    StorageError
        If neither the user's cache nor, where that will do, a temporary folder can be written to.
    """
    lasting = _lasting()
    problem = "there is no home folder" if lasting is None else _cannot_write(lasting / kind)
    if lasting is not None and problem is None:
        return lasting / kind
    if named := os.environ.get(VARIABLE):
        raise UsageError(f"`cache_dir={named}` cannot be written to: {problem}; name another folder")
    why = f"{lasting or 'the cache'} cannot be written to: {problem}"
    if not temporary:
        raise StorageError(f"{why}; {_ADVICE}")
    folder = (_temporary() or _make_temporary(why)) / kind
    if (problem := _cannot_write(folder)) is not None:
        raise StorageError(f"{folder} cannot be written to: {problem}; {_ADVICE}")
    if kind not in LIBRARIES.values() and os.getpid() in _to_delete:
        _tell(why, folder.parent)
    return folder


def lend_to_libraries() -> None:
    """Let libraries keep here what they keep in the home folder, where that cannot be written to.

    Otherwise matplotlib tells of a temporary folder of its own, in two lines, and CuPy cannot be imported.
    Called before they are; where there is no folder to lend, whoever needs one tells.
    """
    if not os.access(os.path.expanduser("~/."), os.W_OK):  # noqa: PTH111 (never raises)
        with suppress(StorageError, UsageError):
            for variable, kind in LIBRARIES.items():
                if variable not in os.environ:
                    os.environ[variable] = str(cache_folder(kind))


def mark_used(*paths: Path) -> None:
    """Let files or folders of a cache count as used now, where that can be written."""
    for path in paths:
        with suppress(OSError):
            os.utime(path)


def forget_old(folder: Path) -> None:
    """Delete what was not used for `KEPT_DAYS`, and what a killed process left half-written a day ago.

    What bears the same name up to the first dot is used together, and the youngest of it tells when.

    Parameters
    ----------
    folder : Path
        Of `cache_folder`; `mark_used` tells what in it is used.
    """
    now = time.time()
    together: dict[str, list[Path]] = {}
    for path in folder.iterdir():
        half_written = path.name.startswith(".")
        together.setdefault(path.name if half_written else path.name.partition(".")[0], []).append(path)
    for name, paths in together.items():
        with suppress(OSError):  # Another process may delete the same.
            days = (now - max(path.stat().st_mtime for path in paths)) / 86_400
            if days > (1 if name.startswith(".") else KEPT_DAYS):
                for path in paths:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def delete_temporary() -> None:
    """Delete the temporary folder, if this process is the one to do so.

    Called at the end of the process; what ends it in a way that Python does not notice, calls it before.
    """
    folder = _to_delete.pop(os.getpid(), None)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
        os.environ.pop(TEMPORARY, None)


def _lasting() -> Path | None:
    """Return the cache that is named, or the user's; None where nobody knows a home of the user."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    try:
        users = platformdirs.user_cache_path("gpu-ssl")
    except RuntimeError:
        return None
    return users if users.is_absolute() else None


def _cannot_write(folder: Path) -> str | None:
    """Say why a folder cannot be written to, if so; it is made where it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Permissions do not tell: the disk may be read-only.
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)


def _temporary() -> Path | None:
    """Return the temporary folder that this process, the one that started it or another rank has made."""
    if inherited := os.environ.get(TEMPORARY):
        return Path(inherited)
    shared = _of_all_ranks()
    if shared is None or not os.path.lexists(shared):
        return None
    _join(shared)
    return shared


def _make_temporary(why: str) -> Path:
    folder = _of_all_ranks()
    try:
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="gpu-ssl-"))
            os.environ[TEMPORARY] = str(folder)
            _delete_at_end(folder)
        else:
            folder.mkdir(mode=0o700, exist_ok=True)
            _join(folder)
    except OSError as error:
        raise StorageError(f"{why}, nor is there a temporary folder: {error.strerror}; {_ADVICE}") from error
    return folder


@cache
def _tell(why: str, folder: Path) -> None:
    """Warn, once. Nothing is lost of what libraries keep but the time to make it again."""
    logger.warning("gpu-ssl: %s; %s takes its place until the end; to keep that, %s", why, folder, _ADVICE)


def _of_all_ranks() -> Path | None:
    """Return the one temporary folder of the ranks that torchrun has started on this machine.

    What the first rank decodes the others read; its name is made of what all of them know.
    """
    if not by_torchrun():
        return None
    known = [os.environ.get(name, "") for name in ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT")]
    digest = hashlib.sha256("\0".join(known).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"gpu-ssl-{_user()}-{digest}"


def _join(shared: Path) -> None:
    """Use the folder of all ranks, unless somebody else has made it. The first rank here deletes it."""
    state = shared.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != _user():
        raise StorageError(f"{shared} is somebody else's; {_ADVICE}")
    if os.environ.get("LOCAL_RANK") == "0":
        _delete_at_end(shared)


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0


def _delete_at_end(folder: Path) -> None:
    _to_delete[os.getpid()] = folder
    atexit.unregister(delete_temporary)
    atexit.register(delete_temporary)
