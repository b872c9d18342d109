"""A model on disk: whole or refused, with a reason; nothing of it is pickled."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.errors import StorageError, UsageError
from gpu_ssl.fitted import storage
from gpu_ssl.fitted.fitting import Fit, fit
from gpu_ssl.runtime import state
from gpu_ssl.runtime.progress import SILENT
from tests.fitted.conftest import CONFIG, own


@pytest.fixture(scope="module")
def hybrid(fitted: Fit, digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Fit:
    config = CONFIG.model_copy(update={"method": "hybrid"})
    path = tmp_path_factory.mktemp("hybrid") / "checkpoint.json"
    return fit(own(digits, 100), config, path, SILENT, base=(fitted.model, fitted.record))


def edit(saved: Path, change: Callable[[dict[str, Any]], Any], signed: bool = True) -> None:
    path = saved / storage.MODEL
    content = json.loads(path.read_text())
    change(content)
    if signed:
        content.pop("sha256")
        content["sha256"] = state.digest_of(content)
    path.write_text(json.dumps(content))


def test_a_model_read_back_says_the_same(fitted: Fit, saved: Path, digits: Dataset) -> None:
    model, record = storage.load(saved, "cpu")
    assert record.model_dump_json() == fitted.record.model_dump_json()
    before, after = (m.predict(digits.test.images) for m in (fitted.model, model))
    for name in before._fields:
        assert np.array_equal(getattr(before, name), getattr(after, name)), name


def test_nothing_is_pickled(saved: Path) -> None:
    assert sorted(path.suffix for path in saved.iterdir()) == [".json", ".safetensors"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(kind="other"), "is not a gpu-ssl model"),
        (lambda c: c.update(schema=99), "is of schema 99, and this gpu-ssl knows schema 5: upgrade gpu-ssl"),
        (lambda c: c.update(schema="4"), "is of schema '4'"),
        (
            lambda c: (c.update(schema=1), c.pop("chosen")),
            r"was written by an earlier gpu-ssl \(schema 1\): fit the model again",
        ),
        (lambda c: c["class_names"].reverse(), "damaged or was changed"),
        (lambda c: c.pop("sha256"), "damaged or was changed"),
        (lambda c: c.pop("tensors"), "damaged or was changed"),
        (lambda c: c["tensors"].update(file="model-0123456789ab.safetensors"), "damaged or was changed"),
    ],
)
def test_a_changed_description_is_refused(
    saved: Path, change: Callable[[dict[str, Any]], Any], words: str
) -> None:
    edit(saved, change, signed=False)
    with pytest.raises(StorageError, match=words) as caught:
        storage.load(saved, "cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(class_names=["a"]),
        lambda c: c["class_names"].pop(),
        lambda c: c.update(image_shape=[3, 8, 8]),
        lambda c: c["encoder"].update(image_shape=[1, 16, 16]),
        lambda c: c["encoder"]["parts"].pop(),
        lambda c: c["encoder"]["parts"][0].update(name="zzz"),
        lambda c: c["encoder"]["parts"][0]["settings"]["model"].update(latent_dim=7),
        lambda c: c["encoder"]["parts"][0]["settings"].pop("model"),
        lambda c: c["classifier"].update(method="zzz"),
        lambda c: c["classifier"].update(method="graph"),
        lambda c: c["classifier"].update(method="m2"),
        lambda c: c["classifier"].update(method="auto"),
        lambda c: c["classifier"].update(n_support=[1] * 9),
        lambda c: c["classifier"]["kernel"].update(name="zzz"),
        lambda c: c["classifier"]["kernel"].update(gamma=-1.0),
        lambda c: c["classifier"].pop("kernel"),
        lambda c: c["calibration"].update(slope=0.0),
        lambda c: c["calibration"].update(other=1.0),
        lambda c: c["ood"].update(reach=0.0),
        lambda c: c["ood"].pop("reach"),
        lambda c: c["ood"].update(usual_error=-1.0),
        lambda c: c.update(ood_encoder="zzz"),
        lambda c: c.update(ood_encoder="hog"),
        lambda c: c.update(estimate=3),
        lambda c: c.update(chosen={"method": 3}),
        lambda c: c.pop("config"),
        lambda c: c["config"].update(method="zzz"),
        lambda c: c.update(surprise=1),
        lambda c: c.pop("suspects"),
        lambda c: c["config"].pop("mirror"),
        lambda c: c.pop("tensors"),
        lambda c: c["tensors"].update(file="model-0123456789ab.safetensors"),
        lambda c: c["encoder"].update(image_shape=[1, 0, 8]),
        lambda c: c["encoder"].update(image_shape=[3, 10**6, 10**6]),
    ],
)
def test_what_was_signed_again_must_still_fit_together(
    hybrid: Fit, tmp_path: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    storage.save(tmp_path, hybrid.model, hybrid.record)
    edit(tmp_path, lambda content: None)
    storage.load(tmp_path, "cpu")
    edit(tmp_path, change)
    words = r"do not fit together|is damaged|of this version|of another file"
    with pytest.raises(StorageError, match=words) as caught:
        storage.load(tmp_path, "cpu")
    assert str(tmp_path / "model.json") in str(caught.value)
    assert str(caught.value).endswith("fit the model again")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "spoil", [lambda content: content[:-10], lambda content: content[:500] + b"!" + content[501:]]
)
def test_damaged_tensors_are_refused(saved: Path, spoil: Callable[[bytes], bytes]) -> None:
    (tensors,) = saved.glob("*.safetensors")
    tensors.write_bytes(spoil(tensors.read_bytes()))
    with pytest.raises(StorageError, match="is damaged"):
        storage.load(saved, "cpu")


def test_a_folder_without_a_model_is_told_from_an_unfinished_fit(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no model; make one with: gpu-ssl fit"):
        storage.load(tmp_path / "none", "cpu")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    with pytest.raises(UsageError, match=r"photos holds no model$"):  # nor is it the place for one
        storage.load(tmp_path / "photos", "cpu")
    (tmp_path / storage.UNFINISHED).write_text("{}")
    with pytest.raises(UsageError, match="holds an unfinished fit"):
        storage.load(tmp_path, "cpu")
