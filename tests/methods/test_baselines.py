"""The baselines are what their names say."""

import numpy as np
import torch
from sklearn.decomposition import PCA

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.methods import baselines
from gpu_ssl.models.augmentation import canonical


def test_raw_pixels_are_the_pixels(digits: Dataset) -> None:
    features = baselines.raw_pixels(digits)
    chosen = np.array([5, 0, 9])
    np.testing.assert_array_equal(
        features.train(chosen), digits.train.images[chosen].reshape(3, 64).astype(np.float32) / 255
    )
    assert features.test.shape == (450, 64)
    assert (features.test.min(), features.test.max()) == (0, 1)


def test_ranks_are_the_pictures_that_the_vae_draws(digits: Dataset) -> None:
    features = baselines.pixel_ranks(digits)
    expected = canonical(torch.from_numpy(digits.train.images[7:9])).reshape(2, 64)
    np.testing.assert_array_equal(features.train(np.array([7, 8])), expected.numpy())
    assert features.test.shape == (450, 64)


def test_principal_components_span_what_a_full_decomposition_spans(digits: Dataset) -> None:
    features = baselines.principal_components(digits)
    assert features.test.shape == (450, 50)
    pixels = digits.train.images.reshape(len(digits.train), -1) / 255
    expected = PCA(50, svd_solver="full").fit(pixels).transform(pixels[:20])
    ours = features.train(np.arange(20))
    # Components are determined up to their sign.
    np.testing.assert_allclose(abs(ours), abs(expected), atol=1e-3)
