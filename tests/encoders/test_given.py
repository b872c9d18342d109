"""Embeddings of another program as features: unchanged, not in sums, only with methods that support them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gpu_ssl import catalog
from gpu_ssl.encoders.encoder import encode
from gpu_ssl.encoders.given import Given
from gpu_ssl.encoders.saving import build_encoder, describe_encoder
from gpu_ssl.errors import UsageError
from tests.encoders import fitted

ROWS = np.random.default_rng(0).normal(size=(50, 1, 1, 7)).astype(np.float32)


def test_features_are_the_numbers(tmp_path: Path) -> None:
    encoder = fitted(ROWS, tmp_path, "given")["given"]
    features = encode(encoder, torch.from_numpy(ROWS))
    assert np.array_equal(features.numpy(), ROWS.reshape(50, 7))
    assert (encoder.width, features.stride()) == (7, (1, 50))
    read = build_encoder(describe_encoder(encoder), {})
    assert isinstance(read, Given)
    assert torch.equal(encode(read, torch.from_numpy(ROWS)), features)


def test_images_are_no_embeddings(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expects embeddings"):
        fitted(np.zeros((50, 1, 8, 8), np.uint8), tmp_path, "given")


def test_embeddings_are_joined_with_nothing() -> None:
    assert catalog.takes_embeddings("given")
    assert not catalog.takes_embeddings("vae+hog")
    with pytest.raises(UsageError, match="'given' is for embeddings and cannot be combined"):
        catalog.encoder_parts("hog+given")
