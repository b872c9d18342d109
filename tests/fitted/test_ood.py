"""The score for what a model has never seen."""

import torch

from gpu_ssl.config import ModelConfig
from gpu_ssl.fitted.ood import REFERENCES, fit_ood_score, nearest, reconstruction_errors
from gpu_ssl.models.augmentation import canonical
from gpu_ssl.models.vae import VAE


def test_distances_are_to_the_nearest_reference() -> None:
    latents, references = torch.randn(2345, 3), torch.randn(50, 3)
    expected = (latents[:, None] - references).square().sum(2).sqrt().amin(1)
    torch.testing.assert_close(nearest(latents, references), expected, atol=1e-4, rtol=1e-4)


def test_one_in_twenty_training_latents_scores_above_one() -> None:
    torch.manual_seed(0)
    latents = torch.randn(4000, 8)
    errors, none = torch.rand(4000), torch.zeros(4000)
    score = fit_ood_score(latents, errors, seed=0)
    new = torch.randn(4000, 8)
    assert 0.03 < float((score(new, none) > 1).float().mean()) < 0.07
    assert 0.03 < float((score(latents, errors) > 1).float().mean()) < 0.08
    assert (score(new + 5, none) > 1).float().mean() > 0.99
    assert (score(new, errors + 1) > 1).all()


def test_references_are_bounded_and_few_latents_still_give_a_score() -> None:
    many = fit_ood_score(torch.randn(3 * REFERENCES, 2), torch.ones(3 * REFERENCES), 0)
    assert len(many.references) == REFERENCES
    for n in (1, 2, 3):
        score = fit_ood_score(torch.randn(n, 2), torch.rand(n), 0)
        assert score(torch.randn(4, 2), torch.rand(4)).isfinite().all()
    degenerate = fit_ood_score(torch.zeros(10, 2), torch.zeros(10), 0)
    assert degenerate(torch.ones(1, 2), torch.ones(1)).isfinite().all()


@torch.no_grad()
def test_errors_are_sums_of_squares_against_what_is_to_be_drawn() -> None:
    vae = VAE(ModelConfig(latent_dim=4), (1, 12, 12)).eval()
    images = torch.randint(0, 256, (5, 1, 12, 12), dtype=torch.uint8)
    latents = torch.randn(5, 4)
    drawn = torch.sigmoid(vae.decode(latents))
    for augmented, targets in ((False, images / 255), (True, canonical(images))):
        expected = (drawn - targets).square().flatten(1).sum(1)
        torch.testing.assert_close(reconstruction_errors(vae, images, latents, augmented), expected)
    assert len(reconstruction_errors(vae, images[:0], latents[:0], True)) == 0
