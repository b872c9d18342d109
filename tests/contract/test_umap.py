"""What the map of features relies on in cuML's UMAP."""

import importlib.resources
import inspect

import numpy as np
import pytest
from cuml.manifold import UMAP
from numpy.typing import NDArray

from gpu_ssl.report import _cuml

PYX = (importlib.resources.files("cuml.manifold.umap") / "umap.pyx").read_text(encoding="utf-8")


def test_the_projection_is_made_and_asked_as_cuml_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    signature = inspect.signature(UMAP.fit_transform)
    asked = []

    def fit_transform(self: UMAP, *args: object, **kwargs: object) -> NDArray[np.float32]:
        asked.append(signature.bind(self, *args, **kwargs).arguments["X"])
        expected = {"random_state": 0, "n_components": 2, "n_neighbors": 15, "output_type": "numpy"}
        assert {name: getattr(self, name) for name in expected} == expected
        return np.zeros((20, 2), np.float32)

    monkeypatch.setattr(UMAP, "fit_transform", fit_transform)
    features = np.eye(20, 4, dtype=np.float32)
    assert _cuml.project(features).shape == (20, 2)
    assert [given is features for given in asked] == [True]


def test_with_a_seed_it_repeats_itself() -> None:
    assert "params.deterministic = self.random_state is not None" in PYX
