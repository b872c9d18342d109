"""The baselines are what their names say."""

import numpy as np
from sklearn.decomposition import PCA

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.methods import baselines


def test_raw_pixels_are_the_pixels(digits: Dataset) -> None:
    features = baselines.raw_pixels(digits)
    chosen = np.array([5, 0, 9])
    np.testing.assert_array_equal(
        features.train(chosen), digits.train.images[chosen].reshape(3, 64).astype(np.float32) / 255
    )
    assert features.test.shape == (450, 64)
    assert (features.test.min(), features.test.max()) == (0, 1)


def test_principal_components_span_what_a_full_decomposition_spans(digits: Dataset) -> None:
    features = baselines.principal_components(digits)
    assert features.test.shape == (450, 50)
    pixels = digits.train.images.reshape(len(digits.train), -1) / 255
    expected = PCA(50, svd_solver="full").fit(pixels).transform(pixels[:20])
    ours = features.train(np.arange(20))
    # Components are determined up to their sign.
    np.testing.assert_allclose(abs(ours), abs(expected), atol=1e-3)
