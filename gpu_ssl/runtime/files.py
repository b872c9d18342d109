"""Files that are whole or not there: written beside their place, flushed, then renamed."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gpu_ssl.errors import StorageError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well, it takes the place of `path`.

    Raises
    ------
    StorageError
        If the file cannot be written (no space, no permission, a read-only disk). Nothing half-written
        stays behind.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path  # A pipe or a device is written to, not replaced.
        return
    path = Path(os.path.realpath(path))  # What a link points to is replaced, not the link.
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(6)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
