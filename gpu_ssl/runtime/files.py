"""Files that are whole or not there, folders that one process writes to, and readers that never wait.

A file is written beside its place, flushed, then renamed. What a killed process left half-written is
deleted by the next one that writes the same file: a lock, which the system drops with the process, tells
whose writer is gone.
"""

import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gpu_ssl.errors import StorageError, UsageError

try:
    import fcntl
except ImportError:  # no Unix
    fcntl = None  # type: ignore[assignment]

PATIENCE = 20.0
"""Seconds that a pipe is waited for."""

LONGEST_NAME = 255
"""Bytes of a file's name on most file systems."""


@contextmanager
def atomic_path(path: Path, *, devices: bool = True) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well, it takes the place of `path`.

    Parameters
    ----------
    path : Path
        The file.
    devices : bool
        Whether a pipe or a device is written to, where `path` is one; else it is replaced.

    Raises
    ------
    StorageError
        If the file cannot be written (no space, no permission, a read-only disk). Nothing half-written
        stays behind.
    """
    if devices and path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    path = Path(os.path.realpath(path))  # What a link points to is replaced, not the link.
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _forget_half_written(path)
        with _begun(path) as temporary:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
            temporary = None
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, devices: bool = True) -> None:
    """Write `text` to `path`; see `atomic_path`."""
    with atomic_path(path, devices=devices) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_whole(path: Path, most: int | None = None) -> bytes:
    """Return the content of a file; a pipe or device, which might never end, is refused.

    Parameters
    ----------
    path : Path
        The file.
    most : int, optional
        Bytes; a larger file is refused before it is read.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    # A pipe without a writer would keep an open that waits.
    with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(0, "it is no regular file", str(path))
        if most is not None and found.st_size > most:
            raise OSError(0, f"it has {found.st_size:,} bytes, more than the {most:,} allowed", str(path))
        return file.read()


def read_given(path: Path) -> bytes:
    """Return the content of a file that the user named, which may be a pipe, such as ``<(command)``.

    Raises
    ------
    OSError
        If it cannot be read, or nobody writes to the pipe for `PATIENCE` seconds.
    """
    if not stat.S_ISFIFO(path.stat().st_mode):
        return read_whole(path)
    import select

    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as pipe:
        waiting = select.poll()  # which tells a pipe without a writer from one at its end
        waiting.register(pipe, select.POLLIN)
        if not waiting.poll(1000 * PATIENCE):
            raise OSError(0, f"it is a pipe that nobody writes to for {PATIENCE:.0f} seconds", str(path))
        os.set_blocking(pipe.fileno(), True)
        return pipe.read()


@contextmanager
def alone_in(folder: Path, needed: int = 0) -> Iterator[None]:
    """Make a folder, check that it can be written to, and keep other processes of gpu-ssl out of it.

    The lock ends with the process, however that ends. A folder that was made here and is still empty at the
    end is deleted.

    Parameters
    ----------
    folder : Path
        The folder.
    needed : int
        Bytes that must be free on its disk.

    Raises
    ------
    UsageError
        If another process is writing to it.
    StorageError
        If it cannot be made or written to, or the disk is too full.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise StorageError(f"cannot write to {folder}: {error.strerror}") from error
    try:
        if not _lock(held):
            raise UsageError(
                f"`output={folder}` is being written to by another gpu-ssl; wait for it, or name "
                "another folder"
            )
        require_space(folder, needed)
        yield
    finally:
        os.close(held)
        if made:
            with suppress(OSError):
                folder.rmdir()


def require_space(folder: Path, needed: int = 0) -> None:
    """Check that a file can be written into a folder, and that its disk has room.

    Parameters
    ----------
    folder : Path
        It need not exist; then the nearest one above is checked.
    needed : int
        Bytes.

    Raises
    ------
    StorageError
        If not.
    """
    place = folder.absolute()
    while not place.exists() and place.parent != place:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):  # Permissions do not tell: the disk may be read-only.
            pass
        found = os.statvfs(place) if hasattr(os, "statvfs") else None
    except OSError as error:
        raise StorageError(f"cannot write to {folder}: {error.strerror}") from error
    # Some file systems tell nothing, and have 0 blocks in all.
    if found is not None and found.f_blocks and found.f_bavail * found.f_frsize < needed:
        raise StorageError(
            f"cannot write to {folder}: {found.f_bavail * found.f_frsize / 2**20:,.0f} MiB are free on its "
            f"disk, and {needed / 2**20:,.0f} MiB are needed"
        )


@contextmanager
def _begun(path: Path) -> Iterator[Path]:
    """Make a temporary file beside `path`, and hold a lock on it as long as the block runs."""
    while True:
        temporary = path.with_name(_temporary_name(path, secrets.token_hex(6)))
        held = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            _lock(held)
            # Before the lock was there, another process may have taken the file for forgotten.
            if temporary.exists():
                yield temporary
                return
        finally:
            os.close(held)


def _temporary_name(path: Path, unique: str) -> str:
    suffix = path.suffix
    stem = path.name.removesuffix(suffix) if suffix else path.name
    while len(os.fsencode(name := f".{stem}-{unique}{suffix}")) > LONGEST_NAME and stem:
        stem = stem[:-1]
    return name


def _forget_half_written(path: Path) -> None:
    before, after = map(re.escape, _temporary_name(path, "\0").split("\0"))
    forget_half_written(path.parent, f"{before}[0-9a-f]{{12}}{after}")


def forget_half_written(folder: Path, pattern: str) -> None:
    """Delete temporary files, whose names match a regular expression, if their writer is gone."""
    if fcntl is None:
        return
    known = re.compile(pattern, re.DOTALL)
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and known.fullmatch(entry.name):
                with suppress(OSError):
                    held = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                    try:
                        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        Path(entry.path).unlink()
                    finally:
                        os.close(held)


def _lock(held: int) -> bool:
    """Lock an open file for this process; False if another one has. Where there are no locks, True."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # such as on a network
        return True
    return True
