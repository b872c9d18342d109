"""Files are whole or not there, and what was there before stays until the new one is complete."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_ssl.errors import StorageError
from gpu_ssl.runtime.files import atomic_path, write_text


def test_a_file_is_written_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "a.json", "content ü")
    assert (tmp_path / "new" / "a.json").read_text(encoding="utf-8") == "content ü"
    assert os.listdir(tmp_path / "new") == ["a.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_interruption_leaves_the_old_file_alone(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")

    def write_half() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half of the ne")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_place_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write .*file/a\.json"):
        write_text(tmp_path / "file" / "a.json", "x")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system takes root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_an_error_and_leaves_the_old_file(small_disk: Path) -> None:
    path = small_disk / "a.json"
    write_text(path, "old")
    with pytest.raises(StorageError, match="No space left"):
        write_text(path, "x" * 100_000)
    assert path.read_text() == "old"
    assert os.listdir(small_disk) == ["a.json"]


def test_what_a_link_points_to_is_replaced_and_a_device_is_written_to(tmp_path: Path) -> None:
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    link.symlink_to(real)
    write_text(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    device = tmp_path / "null"
    device.symlink_to("/dev/null")
    write_text(device, "gone")
    assert Path("/dev/null").is_char_device()
    assert device.is_symlink()
