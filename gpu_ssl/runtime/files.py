"""Atomic writes of files, locks on folders, and readers that never block.

A file is written next to its place, flushed, then renamed. Partly written files of killed processes are
deleted by the next process that writes the same file: a lock, which the system releases with the process,
shows whether the writer still runs.
"""

import errno
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
except ImportError:  # not Unix
    fcntl = None  # type: ignore[assignment]

PATIENCE = 20.0
"""Seconds to wait for a pipe."""

ATTEMPTS = 100
"""How often to create a folder that another process deletes."""

LONGEST_NAME = 255
"""Maximum length in bytes of a file's name on most file systems."""


def to_keep(path: Path) -> Path:
    """Return an absolute path, to be kept in a file with settings.

    Raises
    ------
    UsageError
        If it is not UTF-8, as these files are.
    """
    absolute = path.absolute()
    try:
        str(absolute).encode()
    except UnicodeEncodeError:
        raise UsageError(f"the name of {absolute} is not UTF-8; rename it, or give a link to it") from None
    return absolute


@contextmanager
def atomic_path(path: Path, *, devices: bool = True) -> Iterator[Path]:
    """Yield a temporary path next to `path`, which replaces `path` when the block succeeds.

    Parameters
    ----------
    path : Path
        The file.
    devices : bool
        Whether to write to `path` directly if it is a pipe or a device; else it is replaced.

    Raises
    ------
    StorageError
        If the file cannot be written (no space, no permission, a read-only disk). No partly written file
        remains.
    """
    if devices and path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    path = Path(os.path.realpath(path))  # The target of a link is replaced, not the link.
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
    """Return the content of a file; pipes and devices, which might never end, are refused.

    Parameters
    ----------
    path : Path
        The file.
    most : int, optional
        Maximum size in bytes; a larger file is refused before it is read.

    Raises
    ------
    OSError
        If it is not readable.
    """
    # Opening a pipe without a writer would block.
    with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(0, "it is not a regular file", str(path))
        if most is not None and found.st_size > most:
            raise OSError(0, f"it has {found.st_size:,} bytes, more than the {most:,} allowed", str(path))
        return file.read()


def read_given(path: Path) -> bytes:
    """Return the content of a file that the user named, which may be a pipe, such as ``<(command)``.

    Raises
    ------
    OSError
        If it is not readable, or nothing is written to the pipe for `PATIENCE` seconds.
    """
    if not stat.S_ISFIFO(path.stat().st_mode):
        return read_whole(path)
    import select

    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as pipe:
        waiting = select.poll()  # distinguishes a pipe without a writer from one at its end
        waiting.register(pipe, select.POLLIN)
        if not waiting.poll(1000 * PATIENCE):
            raise OSError(
                0, f"it is a pipe, and nothing was written to it for {PATIENCE:.0f} seconds", str(path)
            )
        os.set_blocking(pipe.fileno(), True)
        return pipe.read()


@contextmanager
def alone_in(folder: Path, needed: int = 0) -> Iterator[None]:
    """Create a folder, check that it is writable, and lock it against other processes of gpu-ssl.

    The lock ends with the process, however that ends. A folder that was created here and is empty at the end
    is deleted.

    Parameters
    ----------
    folder : Path
        The folder.
    needed : int
        Number of bytes that must be free on its disk.

    Raises
    ------
    UsageError
        If another process is writing to it.
    StorageError
        If it cannot be created or written to, or the disk has too little space.
    """
    try:
        held, made = _locked_folder(folder)
    except OSError as error:
        raise StorageError(f"cannot write to {folder}: {error.strerror}") from error
    try:
        require_space(folder, needed)
        yield
    finally:
        if made:
            with suppress(OSError):  # while it is locked, so that nobody writes to it
                folder.rmdir()
        os.close(held)


def _locked_folder(folder: Path) -> tuple[int, bool]:
    """Create and lock a folder; return its descriptor, and whether it was created here.

    Another process, which had created it, may delete it at any moment before it is locked here.
    """
    for left in reversed(range(ATTEMPTS)):
        try:
            made = not folder.exists()
            folder.mkdir(parents=True, exist_ok=True)
            held = os.open(folder, os.O_RDONLY)
        except (FileNotFoundError, FileExistsError):
            if not left:
                raise
            continue
        if not _lock(held):
            os.close(held)
            raise UsageError(
                f"`output={folder}` is being written to by another gpu-ssl; wait for it, or name "
                "another folder"
            )
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(held), folder.stat()):
                return held, made
        os.close(held)
    raise FileNotFoundError(errno.ENOENT, "it was deleted again and again", str(folder))


def require_space(folder: Path, needed: int = 0) -> None:
    """Check that a folder is writable, and that its disk has enough space.

    Parameters
    ----------
    folder : Path
        The folder; if it does not exist, its nearest existing parent is checked.
    needed : int
        Number of bytes.

    Raises
    ------
    StorageError
        If not.
    """
    place = folder.absolute()
    while not place.exists() and place.parent != place:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):  # Permissions are not enough: the disk may be read-only.
            pass
        found = os.statvfs(place) if hasattr(os, "statvfs") else None
    except OSError as error:
        raise StorageError(f"cannot write to {folder}: {error.strerror}") from error
    # Some file systems report nothing, with 0 blocks in total.
    if found is not None and found.f_blocks and found.f_bavail * found.f_frsize < needed:
        raise StorageError(
            f"cannot write to {folder}: {found.f_bavail * found.f_frsize / 2**20:,.0f} MiB are free on its "
            f"disk, and {needed / 2**20:,.0f} MiB are needed"
        )


@contextmanager
def _begun(path: Path) -> Iterator[Path]:
    """Create a temporary file next to `path`, locked during the block."""
    while True:
        temporary = path.with_name(_temporary_name(path, secrets.token_hex(6)))
        held = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        with suppress(OSError):  # The file that is replaced may be private, or that of a group.
            temporary.chmod(stat.S_IMODE(path.stat().st_mode) | 0o600)
        try:
            _lock(held)
            # Before it was locked, another process may have deleted it as abandoned.
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
    """Delete temporary files whose names match a regular expression if their writer has ended."""
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
    """Lock an open file; False if another process has locked it, True on systems without locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # for instance on a network file system
        return True
    return True
