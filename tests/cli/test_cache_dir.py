"""``--cache-dir``, and a fit without a writable cache."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.test_ranks import BOTH, ONE_THREAD
from tests.conftest import RunCli

TWO = [sys.executable, "-m", "torch.distributed.run", *BOTH, "-m", "gpu_ssl"]
FIT = ["fit", "images", "--output", "model", "--method", "svm", "--encoder", "pixels", "--device", "cpu"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Forty grey images in folders of their classes."""
    for i in range(40):
        path = tmp_path / "images" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = np.random.default_rng(i).integers(0, 128, (12, 12), np.uint8)
        Image.fromarray(grey + 127 * np.uint8(i % 2)).save(path)
    return tmp_path


def no_home(folder: Path) -> dict[str, str]:
    (folder / "temporary").mkdir()
    (folder / "home").write_text("no folder, which stops even root")
    return {"HOME": str(folder / "home"), "XDG_CACHE_HOME": "", "TMPDIR": str(folder / "temporary")}


def test_decoded_images_go_where_the_option_says(run_cli: RunCli, images: Path) -> None:
    done = run_cli(*FIT, "--cache-dir", "mine", XDG_CACHE_HOME=str(images / "not-here"))
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.suffix for path in (images / "mine" / "decoded").iterdir()} == {".npy", ".json"}
    assert not (images / "not-here").exists()


def test_a_folder_that_cannot_be_written_to_is_refused_by_its_option(run_cli: RunCli, images: Path) -> None:
    (images / "file").touch()
    done = run_cli(*FIT, "--cache-dir", "file")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"--cache-dir {images / 'file'} is not writable: " in done.stderr


@pytest.mark.parametrize("program", [[sys.executable, "-m", "gpu_ssl"], TWO], ids=["alone", "two ranks"])
def test_without_a_home_a_fit_works_and_says_so_in_one_line(images: Path, program: list[str]) -> None:
    done = subprocess.run(
        [*program, *FIT],
        cwd=images,
        env=ONE_THREAD | no_home(images),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if "TORCHELASTIC" not in line]
    assert ["GPU_SSL_CACHE_DIR" in line for line in told] == [True], done.stderr
    assert [path for path in (images / "temporary").iterdir() if path.name.startswith("gpu-ssl")] == []
