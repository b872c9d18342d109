"""The cache: its folder, its replacement if that is not writable, and what is deleted."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_ssl.errors import StorageError, UsageError
from gpu_ssl.runtime import cache
from gpu_ssl.runtime.cache import cache_folder, cache_folders, forget_old, mark_used

RANKS = {"TORCHELASTIC_RUN_ID": "a job/of ours", "MASTER_ADDR": "here", "MASTER_PORT": "1", "WORLD_SIZE": "2"}


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No cache is named, and temporary folders are made in the test's own."""
    for name in (cache.VARIABLE, cache.TEMPORARY, "XDG_CACHE_HOME", *RANKS, "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(cache.tempfile, "tempdir", str(folder))
    yield folder
    cache.delete_temporary()
    cache._tell.cache_clear()


@pytest.fixture
def no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that even root cannot write to."""
    (tmp_path / "home").write_text("no folder")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_it_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".cache" / "gpu-ssl" / "decoded"
    assert cache_folders("decoded") == [folder]
    assert not folder.exists()
    assert cache_folder("decoded") == folder
    assert list(folder.iterdir()) == []


def test_another_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "mine"))
    assert cache_folder("decoded") == tmp_path / "mine" / "decoded"
    assert cache_folders("decoded") == [tmp_path / "mine" / "decoded"]


def test_one_that_is_named_is_not_replaced(no_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(no_home / "mine"))
    assert cache_folders("decoded") == [no_home / "mine" / "decoded"]
    with pytest.raises(UsageError, match="is not writable: Not a directory"):
        cache_folder("decoded")


def test_a_temporary_one_takes_its_place_with_one_line(
    no_home: Path, temporary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        folder = cache_folder("decoded")
        assert folder.parent.parent == temporary
        assert folder.parent.stat().st_mode & 0o077 == 0
        assert cache_folder("datasets").parent == folder.parent
    (record,) = caplog.records
    assert str(no_home) in record.getMessage()
    assert cache.VARIABLE in record.getMessage()
    # The user's cache is still read.
    assert cache_folders("decoded") == [no_home / ".cache" / "gpu-ssl" / "decoded", folder]
    cache.delete_temporary()
    assert list(temporary.iterdir()) == []
    assert cache_folders("decoded") == [no_home / ".cache" / "gpu-ssl" / "decoded"]


def test_what_is_for_the_next_time_goes_into_no_temporary_one(
    no_home: Path, temporary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StorageError, match="is not writable: Not a directory"):
        cache_folder("encoders", temporary=False)
    assert (list(temporary.iterdir()), caplog.records) == ([], [])


def test_libraries_are_lent_a_folder_where_there_is_no_home(
    no_home: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """CuPy 14 makes its folder when it is imported, and fails where it cannot."""
    monkeypatch.setenv("MPLCONFIGDIR", "mine")
    monkeypatch.delenv("CUPY_CACHE_DIR", raising=False)
    cache.lend_to_libraries()
    lent = Path(os.environ["CUPY_CACHE_DIR"])
    monkeypatch.setenv("CUPY_CACHE_DIR", str(lent))  # so that it is taken back
    assert lent.parent.parent == temporary
    assert os.environ["MPLCONFIGDIR"] == "mine"
    assert caplog.records == []
    assert cache_folder("decoded").parent == lent.parent
    assert len(caplog.records) == 1


def test_libraries_are_lent_nothing_where_there_is_a_home(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CUPY_CACHE_DIR", raising=False)
    cache.lend_to_libraries()
    assert "CUPY_CACHE_DIR" not in os.environ


def test_nobody_may_know_a_home(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unknown(*_: object) -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(cache.platformdirs, "user_cache_path", unknown)
    assert cache_folders("decoded") == []
    assert cache_folder("decoded").parent.parent == temporary
    assert "there is no home folder" in caplog.text


def test_without_a_temporary_one_it_is_one_line(
    no_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache.tempfile, "tempdir", str(no_home))
    with pytest.raises(StorageError, match="nor is there a temporary folder: Not a directory") as caught:
        cache_folder("decoded")
    assert cache.VARIABLE in str(caught.value)


def test_processes_that_this_one_starts_use_its_temporary_one(no_home: Path, temporary: Path) -> None:
    """And leave the deleting to it, which comes at its end."""
    code = "from gpu_ssl.runtime.cache import cache_folder; print(cache_folder('decoded'), flush=True)"
    both = f"import subprocess, sys; {code}; subprocess.run([sys.executable, '-c', {code!r}], check=True)"
    both += "; assert cache_folder('decoded').exists()"
    environment = {**os.environ, "TMPDIR": str(temporary)}
    done = subprocess.run(
        [sys.executable, "-c", both], env=environment, capture_output=True, text=True, check=True
    )
    first, second = done.stdout.splitlines()
    assert first == second
    assert Path(first).parent.parent == temporary
    assert done.stderr.count("\n") == 1
    assert list(temporary.iterdir()) == []


def test_ranks_share_a_temporary_one_which_the_first_here_deletes(
    no_home: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in RANKS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert len(cache_folders("decoded")) == 1  # nobody has made one yet
    folder = cache_folder("decoded")
    cache.delete_temporary()
    assert folder.exists()
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert cache_folders("decoded")[1] == folder
    assert cache_folder("decoded") == folder
    monkeypatch.setenv("MASTER_PORT", "2")  # another job
    assert len(cache_folders("decoded")) == 1
    cache.delete_temporary()
    assert not folder.exists()


def test_the_folder_of_ranks_is_not_taken_from_somebody_else(
    no_home: Path, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name can be foreseen, and everybody may write to /tmp."""
    for name, value in RANKS.items():
        monkeypatch.setenv(name, value)
    ours = cache_folder("decoded").parent
    (ours / "decoded").rmdir()
    ours.rmdir()
    ours.symlink_to(tmp_path)
    with pytest.raises(StorageError, match="belongs to another user"):
        cache_folder("decoded")
    with pytest.raises(StorageError, match="belongs to another user"):
        cache_folders("decoded")


def test_what_was_not_used_for_long_is_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    days = {
        "old.npy": 31,
        "old.json": 31,
        "used.npy": 31,
        "used.json": 29,
        ".new-12.npy": 0.5,
        ".left-12.npy": 2,
        "unknown": 31,
        "known": 31,
    }
    for name, age in days.items():
        path = folder / name
        if "." in name:
            path.touch()
        else:
            path.mkdir()
            (path / "x").touch()
        os.utime(path, (time.time() - age * 86_400,) * 2)
    mark_used(folder / "known", folder / "not there")
    forget_old(folder)
    assert {path.name for path in folder.iterdir()} == {"used.npy", "used.json", ".new-12.npy", "known"}
