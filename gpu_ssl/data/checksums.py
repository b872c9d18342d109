"""Whether a file is the published one, or holds what that holds.

A gzip file that was compressed again has other bytes, and torchvision puts decompressed files next to the
original or in its place, so contents are compared. An MD5 sum tells a damaged or exchanged file from the
published one: nobody can make a second file with a given sum.
"""

import gzip
import hashlib
import zlib
from functools import cached_property
from io import BufferedIOBase
from pathlib import Path

from gpu_ssl.data.catalog import RemoteFile
from gpu_ssl.data.formats import GZIP_MAGIC
from gpu_ssl.errors import DataError, either


class Sums:
    """The MD5 sums of a file, each taken when it is first asked for.

    Parameters
    ----------
    path : Path
        A file, or the folder that an archive was unpacked to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def of_file(self) -> str:
        """Sum of its bytes."""
        try:
            with self.path.open("rb") as stream:
                return _md5(stream)
        except OSError as error:
            raise DataError(f"cannot read {self.path}: {error.strerror}") from error

    @cached_property
    def of_content(self) -> str:
        """Sum of what it holds, if it is a gzip file; empty if that is not whole."""
        try:
            with self.path.open("rb") as stream:
                if stream.read(len(GZIP_MAGIC)) != GZIP_MAGIC:
                    return self.of_file
                stream.seek(0)
                with gzip.open(stream) as content:
                    return _md5(content)
        except (gzip.BadGzipFile, EOFError, zlib.error):
            return ""
        except OSError as error:
            raise DataError(f"cannot read {self.path}: {error.strerror}") from error

    def differ(self, file: RemoteFile) -> str | None:
        """Say in what way this is not `file`, or None where it is.

        Raises
        ------
        DataError
            If it cannot be read.
        """
        if self.path.is_dir():
            return self._members_differ(file)
        if self.of_file in file.md5s:
            return None
        if file.content_md5 is None:
            return f"MD5 {self.of_file}, expected {either(file.md5s)}"
        if not self.of_content:
            return "it is not a whole gzip file"
        if self.of_content != file.content_md5:
            return f"MD5 of what it holds {self.of_content}, expected {file.content_md5}"
        return None

    def _members_differ(self, file: RemoteFile) -> str | None:
        for member, md5 in file.members:
            path = self.path / member
            if not path.exists():
                return f"{member} is missing"
            found = Sums(path).of_file
            if found != md5:
                return f"MD5 of {member} {found}, expected {md5}"
        return None


def _md5(stream: BufferedIOBase) -> str:
    return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
