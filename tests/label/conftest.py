"""A session on real images of digits."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from gpu_ssl.config import FitConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.own import OwnImages, load_own, with_labels
from gpu_ssl.fitted.fitting import Fit
from gpu_ssl.label.session import Session
from gpu_ssl.report.model_folder import write_model
from tests.label.hostile import HOSTILE

MakeSession = Callable[..., Session]


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Path:
    """400 digits as files, one of them with a hostile name; the first sign of a name is no hint."""
    folder = tmp_path_factory.mktemp("label") / "photos"
    folder.mkdir()
    for i, image in enumerate(digits.train.images[:400]):
        Image.fromarray(image[0]).save(folder / (HOSTILE if i == 0 else f"{i:04d}.png"))
    return folder


@pytest.fixture
def make_session(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeSession:
    """Return what begins a session whose background does nothing until it is started."""
    monkeypatch.setenv("GPU_SSL_CACHE_DIR", str(tmp_path / "cache"))

    def make(*classes: str, place: Path = photos) -> Session:
        images = with_labels(load_own(place), {})

        def write(fitted: Fit, labelled: OwnImages) -> Path:
            write_model(tmp_path / "model", fitted, labelled, {})
            return tmp_path / "model"

        config = FitConfig(mirror=False, device="cpu")
        return Session(images, place, tmp_path / "labels.csv", classes, config, write)

    return make
