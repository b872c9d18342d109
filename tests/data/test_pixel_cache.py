"""Decoded images are also read from a read-only cache."""

from pathlib import Path

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
