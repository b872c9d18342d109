"""``gpu-ssl data``: the data sets, where their files are, and errors of these."""

from pathlib import Path

from tests.conftest import RunCli

NAMES = ["fashion-mnist", "mnist", "kmnist", "emnist-balanced", "cifar10", "svhn", "digits"]


def test_the_list_names_every_set(run_cli: RunCli) -> None:
    done = run_cli("data", "list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == NAMES


def test_the_list_shows_a_damaged_file(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(b"x")
    done = run_cli("data", "list", "--data-dir", ".")
    assert done.returncode == 0
    assert "damaged" in done.stdout
    assert "train-images-idx3-ubyte.gz is damaged or not the published file" in done.stderr
    assert "gpu-ssl data fetch mnist" in done.stderr


def test_the_embedded_set_needs_no_fetching(run_cli: RunCli, tmp_path: Path) -> None:
    done = run_cli("data", "fetch", "digits", XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "1,347 training and 450 test images" in done.stdout
    assert not (tmp_path / "cache").exists()


def test_an_unknown_set_is_refused(run_cli: RunCli) -> None:
    done = run_cli("data", "fetch", "imagenet")
    assert done.returncode == 2
    assert "imagenet" in done.stderr
    assert done.stderr.count("\n") == 1
