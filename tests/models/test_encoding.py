"""Latents: posterior means, column-major, the same whatever the blocks."""

import pytest
import torch

from gpu_ssl.config import ModelConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.models import encoding
from gpu_ssl.models.training import build_vae


def test_latents_are_posterior_means_in_column_major_order(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = build_vae(ModelConfig(), digits.train.image_shape, torch.device("cpu"), 0)
    images = torch.from_numpy(digits.test.images.copy())
    monkeypatch.setattr(encoding, "BLOCK", 128)
    latents = encoding.encode(vae, images, torch.float32)
    assert latents.shape == (450, 64)
    assert latents.stride() == (1, 450)
    assert not latents.requires_grad
    with torch.no_grad():
        expected = vae.eval().encode(images.float() / 255).mean
    torch.testing.assert_close(latents, expected, rtol=1e-4, atol=1e-5)
