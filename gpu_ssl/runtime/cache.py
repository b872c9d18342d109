"""The cache folder for data sets, decoded images and encoders, which can be recreated.

It is the user's cache, or the folder that `GPU_SSL_CACHE_DIR` names, which ``--cache-dir`` sets. If the user
has no writable cache, as in many containers and batch jobs, a temporary folder takes its place until the
process ends. A read-only cache is still read.
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
"""Environment variable with the cache folder, inherited by child processes."""

TEMPORARY: Final = "GPU_SSL_TEMPORARY_CACHE"
"""Environment variable with the temporary folder for child processes, such as the workers of a sweep."""

KEPT_DAYS: Final = 30
"""Days after which unused files are deleted."""

LIBRARIES: Final = {"MPLCONFIGDIR": "matplotlib", "CUPY_CACHE_DIR": "cupy"}
"""Environment variables for the caches of libraries, and the kind of each."""

_ADVICE: Final = f"set {VARIABLE} to a writable folder"

_to_delete: dict[int, Path] = {}
"""The temporary folder that a process deletes, by process number, as a forked process has a copy of this."""


def cache_folders(kind: str) -> list[Path]:
    """Return the folders that may contain files of a kind, best first; they need not exist.

    Parameters
    ----------
    kind : str
        Name of a folder in the cache, such as ``decoded``.
    """
    places = [_lasting(), None if os.environ.get(VARIABLE) else _temporary()]
    return [place / kind for place in places if place is not None]


def cache_folder(kind: str, *, temporary: bool = True) -> Path:
    """Return the folder to write files of a kind to. It exists and is writable.

    Parameters
    ----------
    kind : str
        Name of a folder in the cache.
    temporary : bool
        Whether a folder that is deleted at the end of the process is acceptable.

    Raises
    ------
    UsageError
        If `GPU_SSL_CACHE_DIR` names a folder that is not writable.
    StorageError
        If neither the user's cache nor, if acceptable, a temporary folder is writable.
    """
    lasting = _lasting()
    problem = "there is no home folder" if lasting is None else _cannot_write(lasting / kind)
    if lasting is not None and problem is None:
        return lasting / kind
    if named := os.environ.get(VARIABLE):
        raise UsageError(f"`cache_dir={named}` is not writable: {problem}; name another folder")
    why = f"{lasting or 'the cache'} is not writable: {problem}"
    if not temporary:
        raise StorageError(f"{why}; {_ADVICE}")
    folder = (_temporary() or _make_temporary(why)) / kind
    if (problem := _cannot_write(folder)) is not None:
        raise StorageError(f"{folder} is not writable: {problem}; {_ADVICE}")
    if kind not in LIBRARIES.values() and os.getpid() in _to_delete:
        _tell(why, folder.parent)
    return folder


def lend_to_libraries() -> None:
    """Redirect caches of libraries here if the home folder is not writable.

    Otherwise matplotlib warns about a temporary folder, and CuPy fails to import. Called before they are
    imported; without any writable folder, the code that needs one reports it.
    """
    if not os.access(os.path.expanduser("~/."), os.W_OK):  # noqa: PTH111 (never raises)
        with suppress(StorageError, UsageError):
            for variable, kind in LIBRARIES.items():
                if variable not in os.environ:
                    os.environ[variable] = str(cache_folder(kind))


def mark_used(*paths: Path) -> None:
    """Mark files or folders of a cache as used now, if they are writable."""
    for path in paths:
        with suppress(OSError):
            os.utime(path)


def forget_old(folder: Path) -> None:
    """Delete what was not used for `KEPT_DAYS`, and partly written files older than a day.

    Files with the same name up to the first dot belong together; the newest determines their last use.

    Parameters
    ----------
    folder : Path
        A folder of `cache_folder`; `mark_used` records uses.
    """
    now = time.time()
    together: dict[str, list[Path]] = {}
    for path in folder.iterdir():
        half_written = path.name.startswith(".")
        together.setdefault(path.name if half_written else path.name.partition(".")[0], []).append(path)
    for name, paths in together.items():
        with suppress(OSError):  # Another process may delete the same files.
            days = (now - max(path.stat().st_mtime for path in paths)) / 86_400
            if days > (1 if name.startswith(".") else KEPT_DAYS):
                for path in paths:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def delete_temporary() -> None:
    """Delete the temporary folder, if this process owns it.

    Called at exit; code that ends the process without Python's exit handlers calls it before.
    """
    folder = _to_delete.pop(os.getpid(), None)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
        os.environ.pop(TEMPORARY, None)


def _lasting() -> Path | None:
    """Return the named cache, or the user's; None if the user has no home folder."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    try:
        users = platformdirs.user_cache_path("gpu-ssl")
    except RuntimeError:
        return None
    return users if users.is_absolute() else None


def _cannot_write(folder: Path) -> str | None:
    """Return why a folder is not writable, or None; it is created if missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Permissions are not enough: the disk may be read-only.
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)


def _temporary() -> Path | None:
    """Return the temporary folder created by this process, its parent or another rank."""
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
    """Warn once about the temporary folder."""
    logger.warning("gpu-ssl: %s; using the temporary folder %s; to keep files, %s", why, folder, _ADVICE)


def _of_all_ranks() -> Path | None:
    """Return the temporary folder shared by the processes that torchrun started on this machine.

    Files decoded by the first are read by the others; its name is derived from what all of them know.
    """
    if not by_torchrun():
        return None
    known = [os.environ.get(name, "") for name in ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT")]
    digest = hashlib.sha256("\0".join(known).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"gpu-ssl-{_user()}-{digest}"


def _join(shared: Path) -> None:
    """Use the shared folder, unless another user owns it. The first process on this machine deletes it."""
    state = shared.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != _user():
        raise StorageError(f"{shared} belongs to another user; {_ADVICE}")
    if os.environ.get("LOCAL_RANK") == "0":
        _delete_at_end(shared)


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0


def _delete_at_end(folder: Path) -> None:
    _to_delete[os.getpid()] = folder
    atexit.unregister(delete_temporary)
    atexit.register(delete_temporary)
