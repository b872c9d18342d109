"""Finding or downloading the files of a data set: the given folder, the cache, Debian's folder, the network.

Every file is searched for separately and verified. Downloads are written to a hidden folder next to the
target, verified, and renamed one by one. So several processes may download at the same time, and no partial
file ever has the name of a complete one.
"""

import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import gpu_ssl
from gpu_ssl.data.catalog import CATALOG, DatasetSpec, RemoteFile
from gpu_ssl.data.checksums import Sums
from gpu_ssl.errors import DataError, UsageError
from gpu_ssl.runtime.cache import cache_folder, cache_folders
from gpu_ssl.runtime.progress import SILENT, Progress

logger = logging.getLogger(__name__)

PACKAGED = PurePosixPath("usr/share/datasets")
"""Folder in which Debian's packages install data sets, relative to the root."""

KIND = "datasets"
"""Folder of the cache."""

DEBIAN_DATASETS = Path("/") / PACKAGED

TIMEOUT_SECONDS = 30
BLOCK_BYTES = 2**20


def search_folders(spec: DatasetSpec, data_dir: Path | None) -> Iterator[Path]:
    """Yield the folders to search for the files of `spec`, preferred first."""
    if data_dir is not None:
        yield data_dir / spec.name
        yield data_dir / spec.torchvision_folder
        yield data_dir
    for folder in cache_folders(KIND):
        yield folder / spec.name
    yield DEBIAN_DATASETS / spec.name


def find_files(spec: DatasetSpec, data_dir: Path | None = None) -> dict[str, Path]:
    """Find and verify the files of `spec` that are available locally.

    Raises
    ------
    UsageError
        If `data_dir` is not a folder.
    DataError
        If a file differs from the published one; the message names it.
    """
    try:
        is_folder = data_dir is None or data_dir.is_dir()
    except OSError as error:
        raise UsageError(f"`data_dir={data_dir}` cannot be read: {error.strerror}") from error
    if not is_folder:
        raise UsageError(f"`data_dir={data_dir}` is not a folder; give an existing folder")
    found = {}
    for file in spec.files:
        for path in _candidates(spec, file, data_dir):
            sums = Sums(path)
            difference = sums.differ(file)
            if difference is None:
                found[file.name] = path
                break
            if not _is_of_another_set(sums, file):
                raise DataError(_damaged(path, difference, spec))
    return found


def _candidates(spec: DatasetSpec, file: RemoteFile, data_dir: Path | None) -> Iterator[Path]:
    """Yield the existing paths at which `file` may be found, preferred first."""
    for folder in search_folders(spec, data_dir):
        for name in file.names:
            if os.path.isfile(folder / name):  # noqa: PTH113 (never raises)
                yield folder / name
        if file.unpacked_to is not None and os.path.isdir(folder / file.unpacked_to):  # noqa: PTH112 (never raises)
            yield folder / file.unpacked_to


def _is_of_another_set(sums: Sums, file: RemoteFile) -> bool:
    """Whether a file belongs to another data set that uses the same file names, such as MNIST and KMNIST."""
    same_name = (other for spec in CATALOG.values() for other in spec.files if other.name == file.name)
    return any(sums.differ(other) is None for other in same_name if other != file)


def _damaged(path: Path, difference: str, spec: DatasetSpec) -> str:
    return (
        f"{path} is damaged or not the published file ({difference}); "
        f"delete it, then run: gpu-ssl data fetch {spec.name}"
    )


def ensure_files(
    spec: DatasetSpec, data_dir: Path | None = None, progress: Progress = SILENT
) -> dict[str, Path]:
    """Return the verified files of `spec`, downloading those that are not available locally.

    Parameters
    ----------
    spec : DatasetSpec
        The data set.
    data_dir : Path, optional
        Folder to search first; downloads go to its subfolder with the name of the data set.
    progress : Progress
        Shows the progress of downloads.

    Raises
    ------
    DataError
        If a file is damaged, or cannot be downloaded; the message lists the sources tried.
    """
    found = find_files(spec, data_dir)
    missing = [file for file in spec.files if file.name not in found]
    if missing:
        target = (data_dir or cache_folder(KIND)) / spec.name
        _fetch(spec, missing, target, progress)
        found |= {file.name: target / file.name for file in missing}
    return {file.name: found[file.name] for file in spec.files}


def _fetch(spec: DatasetSpec, missing: list[RemoteFile], target: Path, progress: Progress) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target) as folder:
            fetcher = _Fetcher(spec, Path(folder), progress)
            for file in missing:
                fetcher.fetch(file).replace(target / file.name)
    except OSError as error:
        raise DataError(f"cannot write to {target}: {error.strerror or error}") from error


class _Fetcher:
    """Downloads the files of a data set into `folder`; does not retry sources that do not respond."""

    def __init__(self, spec: DatasetSpec, folder: Path, progress: Progress) -> None:
        self.spec, self.folder, self.progress = spec, folder, progress
        self.unanswering: dict[str, str] = {}

    def fetch(self, file: RemoteFile) -> Path:
        """Return a verified copy of `file` from the first source that has it."""
        spec = self.spec
        sources = [(urlsplit(url).netloc, partial(self._download, url, file)) for url in file.urls]
        if spec.debian_package is not None:
            sources.append((f"Debian's package {spec.debian_package}", partial(self._from_debian, file)))
        wrong = {}
        for source, get in sources:
            if source in self.unanswering:
                continue
            logger.info("fetching %s from %s", file.name, source)
            try:
                path = get()
            except HTTPError as error:
                wrong[f"{source}: {file.name}"] = str(error)
                continue
            except (DataError, OSError, HTTPException, subprocess.SubprocessError) as error:
                self.unanswering[source] = " ".join(str(error).split()) or type(error).__name__
                continue
            try:
                difference = Sums(path).differ(file)
            except DataError as error:  # the package does not contain the file
                difference = str(error)
            if difference is None:
                return path
            wrong[source] = f"the downloaded file is damaged or not the published one ({difference})"
        tried = "; ".join(f"{source}: {reason}" for source, reason in (self.unanswering | wrong).items())
        raise DataError(
            f"cannot fetch {file.name} of {spec.name}; tried {tried}. Without a network, put the files "
            f"({', '.join(f.name for f in spec.files)}) in a folder and pass it as `data_dir`"
        )

    def _download(self, url: str, file: RemoteFile) -> Path:
        # torchvision's downloader has no timeout, and shows a progress bar even in pipes.
        path = self.folder / file.name
        request = Request(url, headers={"User-Agent": f"gpu-ssl/{gpu_ssl.__version__}"})
        with urlopen(request, timeout=TIMEOUT_SECONDS) as response, path.open("wb") as stream:
            blocks = int(response.headers.get("Content-Length") or 0) // BLOCK_BYTES + 1
            with self.progress.task(f"Fetching {file.name} (MiB)", blocks) as advance:
                while block := response.read(BLOCK_BYTES):
                    stream.write(block)
                    advance("")
        return path

    def _from_debian(self, file: RemoteFile) -> Path:
        """Download and unpack a Debian package without root, with temporary package lists if none exist."""
        unpacked = self.folder / "debian" / PACKAGED / self.spec.name
        if not unpacked.is_dir():
            if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
                raise DataError("apt-get is not available")
            with self.progress.task("Fetching Debian's package", 1):
                self._unpack_debian_package(str(self.spec.debian_package))
        return unpacked / file.name

    def _unpack_debian_package(self, package: str) -> None:
        try:
            self._run("apt-get", "download", package)
        except DataError:
            lists, cache = self.folder / "lists", self.folder / "cache"
            (lists / "partial").mkdir(parents=True)
            (cache / "archives" / "partial").mkdir(parents=True)
            options = [f"-oDir::State::lists={lists}", f"-oDir::Cache={cache}"]
            self._run("apt-get", *options, "update")
            self._run("apt-get", *options, "download", package)
        for archive in self.folder.glob(f"{package}_*.deb"):
            self._run("dpkg-deb", "-x", str(archive), str(self.folder / "debian"))

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, timeout=600, check=False
        )
        if done.returncode != 0:
            errors = [line.removeprefix("E:") for line in done.stderr.splitlines() if line.startswith("E:")]
            raise DataError((errors or [f"{command[0]} failed"])[0].strip())
