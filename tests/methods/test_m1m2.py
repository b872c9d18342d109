"""M1+M2 sees the latents in use, and no others."""

from pathlib import Path
from typing import Any

import pytest
import torch

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.encoders.vae import VAEEncoder
from gpu_ssl.errors import TrainingError
from gpu_ssl.methods import m1m2, m2
from gpu_ssl.methods.m1m2 import varying
from gpu_ssl.methods.method import Options, fit_method
from tests.encoders import fitted
from tests.methods import choose, view_of


def means(*deviations: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    standard = torch.randn(1000, len(deviations), generator=generator)
    return 3 + standard / standard.std(dim=0) * torch.tensor(deviations)


def test_latents_that_are_switched_off_are_dropped() -> None:
    assert varying(means(1.0, 0.02, 0.6, 0.05)) == (0, 2)


def test_a_vae_without_informative_latents_is_refused() -> None:
    with pytest.raises(TrainingError, match="more `epochs` or a smaller `kl_weight`"):
        varying(means(0.05, 0.01))


def test_as_published_it_starts_from_a_mixture_of_the_latents_in_use(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is trained on samples of q(z|x), whose means are the features that it classifies."""
    seen: dict[str, Any] = {}

    def spy(*arguments: Any) -> Any:
        names = ("view", "labelled", "options", "spec", "inputs", "recipe", "generator", "start")
        seen.update(zip(names, arguments, strict=True))
        return m2.train_published(*arguments)

    monkeypatch.setattr(m1m2, "train_published", spy)
    encoder = fitted(digits.train.images, tmp_path, "vae")["vae"]
    assert isinstance(encoder, VAEEncoder)
    with torch.no_grad():  # two latents of no use
        encoder.vae.head.weight[[3, 7]] = 0.0
    view, labelled = view_of(digits.train.images, [encoder]), choose(digits, 50)
    classifier = fit_method(view, labelled, Options("m1m2", preset="paper", steps=3))
    latents = view.features(encoder)
    torch.testing.assert_close(seen["inputs"].mean, latents)
    assert seen["spec"].positions == varying(latents)
    assert not {3, 7} & set(seen["spec"].positions)
    start, rows = seen["start"], torch.from_numpy(labelled.rows)
    assert torch.equal(start[rows], torch.eye(10)[torch.from_numpy(labelled.classes)])
    assert (start.argmax(1).numpy() == digits.train.labels).mean() > 0.6
    assert classifier.decisions(view).shape == (len(view), 10)
