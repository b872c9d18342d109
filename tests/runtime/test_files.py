"""Files are whole or not there, and what was there before stays until the new one is complete."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from gpu_ssl.errors import StorageError, UsageError
from gpu_ssl.runtime.files import alone_in, atomic_path, read_whole, require_space, to_keep, write_text


def test_a_file_is_written_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "a.json", "content ü")
    assert (tmp_path / "new" / "a.json").read_text(encoding="utf-8") == "content ü"
    assert os.listdir(tmp_path / "new") == ["a.json"]


def test_a_path_that_settings_cannot_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written at the end of a run, they would lose it."""
    monkeypatch.chdir(tmp_path)
    assert to_keep(Path("ü")) == tmp_path / "ü"
    with pytest.raises(UsageError, match="is not UTF-8; rename it"):
        to_keep(Path(os.fsdecode(b"\xff-d")))


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


WRITER = """
import sys
from pathlib import Path
from gpu_ssl.runtime.files import alone_in, atomic_path
path = Path(sys.argv[1])
with alone_in(path.parent), atomic_path(path) as temporary:
    temporary.write_text("half of the ne")
    print("begun", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is writing `a.json` in the folder `out`, which it has for itself."""
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-c", WRITER, str(tmp_path / "out" / "a.json")]
    with subprocess.Popen(command, text=True, **streams) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == "begun\n"
        yield process
        process.kill()


def test_what_a_killed_process_left_is_deleted_by_the_next(
    tmp_path: Path, writer: subprocess.Popen[str]
) -> None:
    folder = tmp_path / "out"
    others = [".a-notes.json", ".b-0123456789ab.json", ".a-0123456789abc.json", "a-0123456789ab.json"]
    for name in others:
        (folder / name).write_text("")
    (temporary,) = set(os.listdir(folder)) - set(others)
    write_text(folder / "a.json", "mine")
    assert sorted(os.listdir(folder)) == sorted([*others, "a.json", temporary]), "it is being written"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    write_text(folder / "a.json", "mine")
    assert sorted(os.listdir(folder)) == sorted([*others, "a.json"])


def test_a_folder_is_one_processs_until_it_ends_however_that_is(
    tmp_path: Path, writer: subprocess.Popen[str]
) -> None:
    with (
        pytest.raises(UsageError, match="is being written to by another gpu-ssl"),
        alone_in(tmp_path / "out"),
    ):
        pass
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    with alone_in(tmp_path / "out"):
        pass


def test_a_folder_in_which_nothing_was_written_goes_again(tmp_path: Path) -> None:
    with alone_in(tmp_path / "a" / "b"):
        assert os.listdir(tmp_path / "a" / "b") == []
    assert not (tmp_path / "a" / "b").exists()
    (tmp_path / "there").mkdir()
    with alone_in(tmp_path / "there"):
        pass
    assert (tmp_path / "there").exists()


def test_a_folder_that_comes_and_goes_is_never_two_writers_nor_taken_from_one(tmp_path: Path) -> None:
    folder, inside = tmp_path / "out", list[int]()

    def write_now_and_then() -> int:
        entered = 0
        for _ in range(300):
            with suppress(UsageError), alone_in(folder):
                inside.append(1)
                assert len(inside) == 1
                (folder / "mine").touch()  # would fail if another had deleted the folder
                (folder / "mine").unlink()
                inside.pop()
                entered += 1
        return entered

    with ThreadPoolExecutor(8) as pool:
        written = [pool.submit(write_now_and_then) for _ in range(8)]
        assert sum(own.result() for own in written)


def test_too_little_space_is_told_before_the_work(small_disk: Path) -> None:
    require_space(small_disk / "not" / "yet" / "there", 10_000)
    with pytest.raises(StorageError, match=r"0 MiB are free on its disk, and 1 MiB are needed"):
        require_space(small_disk, 2**20)
    with pytest.raises(StorageError, match="are free on its disk"), alone_in(small_disk / "x", 2**20):
        pass
    assert os.listdir(small_disk) == []


def test_the_longest_names_can_be_written(tmp_path: Path) -> None:
    for name in ("x" * 250 + ".json", "x" * 255, "ü" * 127, "." + "x" * 254):
        write_text(tmp_path / name, "x")
        assert (tmp_path / name).read_text() == "x"
    assert len(os.listdir(tmp_path)) == 4


def test_what_is_no_file_or_too_large_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, words in ((tmp_path / "pipe", "not a regular file"), (Path("/dev/zero"), "not a regular file")):
        with pytest.raises(OSError, match=words):
            read_whole(path)
    (tmp_path / "file").write_bytes(b"12345")
    assert read_whole(tmp_path / "file", 5) == b"12345"
    with pytest.raises(OSError, match="5 bytes, more than the 4 allowed"):
        read_whole(tmp_path / "file", 4)


@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_a_file_that_is_replaced_stays_as_private_as_it_was(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("before")
    path.chmod(mode)
    with atomic_path(path) as temporary:
        assert temporary.stat().st_mode & 0o777 == mode, "also while it is written"
        temporary.write_text("after")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("after", mode)
