"""Where the files of a data set come from, in order: the given folder, the user's cache, Debian, the net.

Every file is looked for on its own and verified wherever it lies. What is fetched is built in a hidden
folder beside its place, verified, and renamed file by file: several processes may do so at once, and
nothing half-written is ever seen under a data set's own names.
"""

import hashlib
import logging
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

import platformdirs

from gpu_ssl.data.catalog import DatasetSpec, RemoteFile
from gpu_ssl.errors import DataError, UsageError

logger = logging.getLogger(__name__)

PACKAGED = PurePosixPath("usr/share/datasets")
"""Where Debian's packages keep data sets, below the root."""

DEBIAN_DATASETS = Path("/") / PACKAGED


def cache_dir() -> Path:
    """Return the folder that fetched data sets are kept in, unless the user names another."""
    return platformdirs.user_cache_path("gpu-ssl") / "datasets"


def search_folders(spec: DatasetSpec, data_dir: Path | None) -> Iterator[Path]:
    """Yield the folders in which the files of `spec` may lie, best first."""
    if data_dir is not None:
        yield data_dir / spec.name
        yield data_dir / spec.torchvision_folder
        yield data_dir
    yield cache_dir() / spec.name
    yield DEBIAN_DATASETS / spec.name


def find_files(spec: DatasetSpec, data_dir: Path | None = None) -> dict[str, Path]:
    """Find those files of `spec` that are on this machine, and verify them.

    Raises
    ------
    UsageError
        If `data_dir` is given and is not a folder.
    DataError
        If a file is not the published one; the message names it.
    """
    if data_dir is not None and not data_dir.is_dir():
        raise UsageError(f"--data-dir {data_dir} is not a folder; name one that exists")
    found = {}
    for file in spec.files:
        candidates = (folder / file.name for folder in search_folders(spec, data_dir))
        path = next((path for path in candidates if path.is_file()), None)
        if path is not None:
            verify(path, file, spec)
            found[file.name] = path
    return found


def verify(path: Path, file: RemoteFile, spec: DatasetSpec) -> None:
    """Check that `path` holds what was published as `file`.

    Raises
    ------
    DataError
        If it does not, or cannot be read.
    """
    try:
        with path.open("rb") as stream:
            md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    if md5 not in file.md5s:
        raise DataError(
            f"{path} is damaged or not the published file (MD5 {md5}, expected {' or '.join(file.md5s)}); "
            f"delete it, then run: gpu-ssl data fetch {spec.name}"
        )


def ensure_files(spec: DatasetSpec, data_dir: Path | None = None) -> dict[str, Path]:
    """Return verified files of `spec`, fetching those that are not on this machine.

    Parameters
    ----------
    spec : DatasetSpec
        The data set.
    data_dir : Path, optional
        Folder to look in first and to put fetched files in (below it, in a folder of the set's name).

    Raises
    ------
    DataError
        If a file is damaged, or cannot be had; the message lists what was tried.
    """
    found = find_files(spec, data_dir)
    missing = [file for file in spec.files if file.name not in found]
    if missing:
        target = (data_dir or cache_dir()) / spec.name
        _fetch(spec, missing, target)
        found |= {file.name: target / file.name for file in missing}
    return {file.name: found[file.name] for file in spec.files}


def _fetch(spec: DatasetSpec, missing: list[RemoteFile], target: Path) -> None:
    failures: list[str] = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target) as folder:
            for file in missing:
                path = _first_success(spec, file, Path(folder), failures)
                path.replace(target / file.name)
    except OSError as error:
        raise DataError(f"cannot write to {target}: {error.strerror or error}") from error


def _first_success(spec: DatasetSpec, file: RemoteFile, folder: Path, failures: list[str]) -> Path:
    attempts: list[tuple[str, Callable[[], Path]]] = [
        (url, partial(_download, url, file, folder)) for url in file.urls
    ]
    if spec.debian_package is not None:
        name = f"apt-get download {spec.debian_package}"
        attempts.append((name, partial(_from_debian, spec.debian_package, spec, file, folder)))
    for name, attempt in attempts:
        if any(failure.startswith(f"{name}: ") for failure in failures):
            continue  # it failed for an earlier file of the set
        logger.info("fetching %s from %s", file.name, name)
        try:
            path = attempt()
            verify(path, file, spec)
        except (DataError, OSError, RuntimeError, subprocess.SubprocessError) as error:
            failures.append(f"{name}: {' '.join(str(error).split()) or type(error).__name__}")
        else:
            return path
    raise DataError(
        f"cannot fetch {file.name} of {spec.name}; tried {'; '.join(failures)}. Where there is no network, "
        f"put the files ({', '.join(f.name for f in spec.files)}) in a folder and give it as --data-dir"
    )


def _download(url: str, file: RemoteFile, folder: Path) -> Path:
    from torchvision.datasets.utils import download_url

    download_url(url, folder, filename=file.name)
    return folder / file.name


def _from_debian(package: str, spec: DatasetSpec, file: RemoteFile, folder: Path) -> Path:
    """Unpack a Debian package, as any user may; with package lists of its own where the system has none."""
    unpacked = folder / "debian" / PACKAGED / spec.name
    if not unpacked.is_dir():
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise DataError("there is no apt-get here")
        try:
            _run("apt-get", "download", package, folder=folder)
        except DataError:
            own = [f"-oDir::State::lists={folder / 'lists'}", f"-oDir::Cache={folder / 'cache'}"]
            (folder / "lists" / "partial").mkdir(parents=True)
            (folder / "cache" / "archives" / "partial").mkdir(parents=True)
            _run("apt-get", *own, "update", folder=folder)
            _run("apt-get", *own, "download", package, folder=folder)
        archive = next(folder.glob(f"{package}_*.deb"))
        _run("dpkg-deb", "-x", str(archive), str(folder / "debian"), folder=folder)
    return unpacked / file.name


def _run(*command: str, folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("E:")] or [done.stderr.strip()]
        raise DataError(lines[0].removeprefix("E:").strip() if lines[0] else f"{command[0]} failed")
