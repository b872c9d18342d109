"""M1+M2 sees the latents in use, and no others."""

import pytest
import torch

from gpu_ssl.errors import TrainingError
from gpu_ssl.methods.m1m2 import varying


def means(*deviations: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    standard = torch.randn(1000, len(deviations), generator=generator)
    return 3 + standard / standard.std(dim=0) * torch.tensor(deviations)


def test_latents_that_are_switched_off_are_dropped() -> None:
    assert varying(means(1.0, 0.02, 0.6, 0.05)) == (0, 2)


def test_a_vae_without_informative_latents_is_refused() -> None:
    with pytest.raises(TrainingError, match="more `epochs` or a smaller `kl_weight`"):
        varying(means(0.05, 0.01))
