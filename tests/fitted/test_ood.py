"""The out-of-distribution score: by the distance only, and with a decoder."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from gpu_ssl.config import ModelConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.encoders.encoder import Encoder, encode
from gpu_ssl.encoders.hog import HOG
from gpu_ssl.encoders.pixels import Pixels
from gpu_ssl.encoders.vae import VAEEncoder
from gpu_ssl.fitted import ood
from gpu_ssl.fitted.fitting import Fit
from gpu_ssl.fitted.ood import OODScore, fit_ood_score, nearest, score_blocks
from gpu_ssl.networks.vae import VAE
from gpu_ssl.training.augmentation import canonical
from tests.methods import view_of

SHAPE = (1, 8, 8)


def scores(score: OODScore, images: np.ndarray) -> np.ndarray:
    pixels = torch.from_numpy(images)
    return score_blocks(score, pixels, encode(score.encoder, pixels)).numpy()


def untrained() -> VAEEncoder:
    torch.manual_seed(0)
    return VAEEncoder(VAE(ModelConfig(latent_dim=4), SHAPE), augmented=True)


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (450, *SHAPE), dtype=np.uint8)


def test_distances_are_to_the_nearest_reference() -> None:
    features, references = torch.randn(2345, 3), torch.randn(50, 3)
    expected = (features[:, None] - references).square().sum(2).sqrt().amin(1)
    torch.testing.assert_close(nearest(features, references), expected)


def test_distances_are_right_far_from_the_origin() -> None:
    """The squares of embeddings with a large mean would leave their rounding."""
    features, references = torch.randn(500, 64) + 3000, torch.randn(50, 64) + 3000
    expected = torch.cdist(features.double(), references.double()).amin(1).float()
    torch.testing.assert_close(nearest(features, references), expected, rtol=1e-3, atol=0)


def test_what_is_a_reference_is_at_no_distance() -> None:
    """Squares of large numbers would leave their rounding, which differs from one machine to another."""
    references = torch.rand(200, 300)
    assert torch.equal(nearest(references[5:9], references), torch.zeros(4))


@pytest.mark.parametrize(
    "make", [lambda: Pixels(SHAPE), lambda: HOG(SHAPE), untrained], ids=["pixels", "hog", "untrained vae"]
)
def test_one_in_twenty_scores_above_one_with_and_without_a_decoder(
    make: Callable[[], Encoder], digits: Dataset
) -> None:
    encoder = make()
    score = fit_ood_score(view_of(digits.train.images), encoder, seed=0)
    assert (score.usual_error is not None) == isinstance(encoder, VAEEncoder)
    # The test digits were written by others.
    assert 0.02 < (scores(score, digits.test.images) > 1).mean() < 0.2
    half = scores(fit_ood_score(view_of(digits.train.images[::2]), encoder, 0), digits.train.images[1::2])
    assert 0.03 < (half > 1).mean() < 0.12


def test_one_in_twenty_of_the_images_it_is_fitted_to_scores_above_one(digits: Dataset) -> None:
    """Of the larger of two, too: references have no distance, but errors as others have."""
    images = digits.train.images
    score = fit_ood_score(view_of(images), untrained(), 0)
    order = np.random.default_rng(0).permutation(len(images))
    others = order[(len(images) + 1) // 2 :]
    found = scores(score, images[others])
    assert 0.04 < (found > 1).mean() <= 0.051
    by_distance = scores(fit_ood_score(view_of(images), Pixels(SHAPE), 0), images[others])
    assert 0.04 < (by_distance > 1).mean() <= 0.051


@pytest.mark.parametrize("make", [lambda: Pixels(SHAPE), lambda: HOG(SHAPE)], ids=["pixels", "hog"])
def test_an_encoder_without_a_decoder_tells_noise_from_digits(
    make: Callable[[], Encoder], digits: Dataset, noise: np.ndarray
) -> None:
    score = fit_ood_score(view_of(digits.train.images), make(), seed=0)
    known, unknown = scores(score, digits.test.images), scores(score, noise)
    assert roc_auc_score(np.repeat([0, 1], 450), np.concatenate([known, unknown])) > 0.99


def test_a_fitted_model_tells_noise_and_shirts_from_digits(
    fitted: Fit, digits: Dataset, noise: np.ndarray
) -> None:
    known = fitted.model.predict(digits.test.images).ood_scores
    # Turned by a quarter and inverted: neither noise nor digits.
    turned = np.ascontiguousarray(255 - np.rot90(digits.test.images, axes=(2, 3)))
    for unknown in (noise, turned):
        found = fitted.model.predict(unknown).ood_scores
        assert roc_auc_score(np.repeat([0, 1], 450), np.concatenate([known, found])) > 0.98


def test_the_larger_of_both_ratios_counts() -> None:
    encoder, images = untrained().eval(), torch.zeros((3, *SHAPE), dtype=torch.uint8)
    features = torch.tensor([[0.0] * 4, [2.0, 0, 0, 0], [8.0, 0, 0, 0]])
    with torch.no_grad():
        errors = encoder.reconstruction_errors(images, features)
        by_distance = OODScore(encoder, torch.zeros(1, 4), 2.0, None)(images, features)
        by_both = OODScore(encoder, torch.zeros(1, 4), 2.0, 5.0)(images, features)
    torch.testing.assert_close(by_distance, torch.tensor([0.0, 1.0, 4.0]))
    torch.testing.assert_close(by_both, torch.maximum(by_distance, errors / 5))


def test_references_are_bounded_and_few_images_still_give_a_score(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ood, "REFERENCES", 100)
    score = fit_ood_score(view_of(digits.train.images), Pixels(SHAPE), 0)
    assert len(score.references) == 100
    assert len(torch.unique(score.references, dim=0)) > 95
    for few in (
        digits.train.images[:1],
        digits.train.images[:2],
        digits.train.images[:3],
        np.zeros((9, *SHAPE), np.uint8),
    ):
        for encoder in (Pixels(SHAPE), untrained()):
            score = fit_ood_score(view_of(few), encoder, 0)
            assert np.isfinite(scores(score, digits.test.images[:4])).all()


def test_blocks_of_any_size_give_the_same(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    score = fit_ood_score(view_of(digits.train.images[:100]), untrained(), 0)
    whole = scores(score, digits.test.images)
    monkeypatch.setattr(ood, "BLOCK", 7)
    np.testing.assert_allclose(scores(score, digits.test.images), whole, rtol=1e-5)
    assert scores(score, digits.test.images[:0]).shape == (0,)


@torch.no_grad()
def test_errors_are_sums_of_squares_against_what_is_to_be_drawn() -> None:
    vae = VAE(ModelConfig(latent_dim=4), (1, 12, 12)).eval()
    images = torch.randint(0, 256, (5, 1, 12, 12), dtype=torch.uint8)
    features = torch.randn(5, 4)
    drawn = torch.sigmoid(vae.decode(features))
    for augmented, targets in ((False, images / 255), (True, canonical(images))):
        expected = (drawn - targets).square().flatten(1).sum(1)
        found = VAEEncoder(vae, augmented).reconstruction_errors(images, features)
        torch.testing.assert_close(found, expected)
