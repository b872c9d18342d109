"""Decoded images are also read from a read-only cache."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpu_ssl.data import pixel_cache
from gpu_ssl.data.own import load_own


def test_a_read_only_cache_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i, name in enumerate(("a", "b")):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("L", (8, 8), 10 * i).save(tmp_path / "images" / name / "1.png")
    monkeypatch.setenv("GPU_SSL_CACHE_DIR", str(tmp_path / "cache"))
    first = load_own(tmp_path / "images", None)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("os.utime", refuse)
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    monkeypatch.setattr(pixel_cache, "decode_all", refuse)
    assert np.array_equal(load_own(tmp_path / "images", None).images, first.images)


def test_a_folder_is_read_again_once_a_package_for_its_images_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else "HEIC needs pillow-heif" would stay after its installation."""
    (tmp_path / "images").mkdir()
    Image.new("L", (8, 8), 9).save(tmp_path / "images" / "1.png")
    monkeypatch.setenv("GPU_SSL_CACHE_DIR", str(tmp_path / "cache"))
    calls = []
    decode_all = pixel_cache.decode_all

    def spy(*arguments: Any, **named: Any) -> Any:
        calls.append(arguments)
        return decode_all(*arguments, **named)

    monkeypatch.setattr(pixel_cache, "decode_all", spy)
    for readers in (("PNG",), ("PNG",), ("PNG", "HEIF")):
        monkeypatch.setattr(pixel_cache, "formats", lambda readers=readers: readers)
        load_own(tmp_path / "images")
    assert len(calls) == 2


def test_a_file_of_the_same_size_and_date_is_another_file(tmp_path: Path) -> None:
    """As archives with normalized dates unpack it."""
    for kind in ("folder", "numbers.npy"):
        means = []
        for level in (10, 200):
            data = tmp_path / kind
            if kind == "folder":
                shutil.rmtree(data, ignore_errors=True)
                data.mkdir()
                for number in range(3):
                    pixels = np.full((8, 8), level, np.uint8)
                    pixels[number] = level + 9
                    Image.fromarray(pixels).save(data / f"{number}.bmp")
                    os.utime(data / f"{number}.bmp", (0, 0))
            else:
                numbers = np.full((3, 8, 8), float(level))
                numbers[:, 0] = 255
                np.save(data, numbers)
                os.utime(data, (0, 0))
            means.append(float(np.mean(load_own(data).images)))
        assert means[1] - means[0] > 100, kind
