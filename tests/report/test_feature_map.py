"""The map of features: by UMAP where it is installed, else by principal components, and it says by which."""

import sys
import types
from importlib.machinery import ModuleSpec

import numpy as np
import pytest
from numpy.typing import NDArray

from gpu_ssl.report.details import FeatureMap
from gpu_ssl.report.feature_map import make_map

COMPONENTS = "the first two principal components"


def put(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Put a module in the place of umap-learn or cuML whose UMAP takes the first two columns."""
    made = types.ModuleType(name)

    class UMAP:
        def __init__(self, random_state: int, **others: object) -> None:
            assert random_state == 0
            assert others == ({} if name == "umap" else {"output_type": "numpy"})

        def fit_transform(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
            if not features.any():
                raise RuntimeError("no\nluck")
            return features[:, :2]

    package = name.partition(".")[0]
    made.UMAP = UMAP  # type: ignore[attr-defined]
    made.__spec__ = ModuleSpec(package, None)
    for part in (name, package):
        monkeypatch.setitem(sys.modules, part, made)
    for own in ("_umap", "_cuml"):
        monkeypatch.delitem(sys.modules, f"gpu_ssl.report.{own}", raising=False)


def map_on(device: str, features: NDArray[np.float32]) -> FeatureMap:
    images = np.zeros((len(features), 1, 8, 8), np.uint8)
    return make_map(features, images, np.zeros(len(features), np.int64), device)


def test_umap_makes_the_map_where_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, "umap")
    found = map_on("cpu", np.eye(20, 4, dtype=np.float32))
    assert found.how == "UMAP (umap-learn)"
    assert found.points[0] == (1.0, 0.0)


def test_of_few_images_there_is_no_umap(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, "umap")
    assert map_on("cpu", np.eye(15, 4, dtype=np.float32)).how == COMPONENTS


def test_umap_that_fails_is_told_on_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, "umap")
    found = map_on("cpu", np.zeros((20, 4), np.float32))
    assert found.how == f"{COMPONENTS}, as UMAP failed (no luck)"


def test_cuml_makes_the_map_of_a_gpu_and_of_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, "cuml.manifold")
    assert map_on("cuda:0", np.eye(20, 4, dtype=np.float32)).how == "UMAP (cuML)"
    monkeypatch.setitem(sys.modules, "umap", None)
    assert map_on("cpu", np.eye(20, 4, dtype=np.float32)).how == COMPONENTS
