"""The race to an ELBO compares what it says."""

import math

import pytest
import torch

from benchmarks.elbo import LATENT_DIM, SHAPE, Encoder, elbo_of, make_decoder, summarize


def rounds(seconds: float, elbo: float) -> list[dict[str, float]]:
    return [{"seconds": seconds, "test_elbo": elbo}] * 3


def test_a_quarter_of_the_time_at_the_same_elbo_is_what_is_wanted() -> None:
    found = {"pythae": rounds(40.0, -243.0), "gpu-ssl": rounds(10.0, -242.5)}
    peers = summarize(found)
    assert peers == {
        "pythae": {"share_of_time": 0.25, "nats_ahead": 0.5, "ok": True},
        "Pyro": "not measured",
    }
    assert not summarize({**found, "gpu-ssl": rounds(10.1, -242.5)})["pythae"]["ok"]
    assert not summarize({**found, "gpu-ssl": rounds(5.0, -243.1)})["pythae"]["ok"]


def test_the_elbo_is_that_of_the_definition() -> None:
    class Same(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.full((len(images), LATENT_DIM), 2.0), torch.zeros(len(images), LATENT_DIM)

    images = torch.rand(5, *SHAPE)
    # log 1/2 of every pixel whatever its value, and 1/2 mean^2 of every latent.
    expected = -784 * math.log(2) - LATENT_DIM * 2.0
    assert elbo_of((Same(), lambda z: torch.zeros(len(z), *SHAPE)), images) == pytest.approx(expected)


def test_the_peers_network_is_the_papers() -> None:
    n = sum(p.numel() for part in (Encoder(), make_decoder()) for p in part.parameters())
    both = 785 * 600 + 601 * 600 + 601 * 2 * LATENT_DIM + (LATENT_DIM + 1) * 600 + 601 * 600 + 601 * 784
    assert n == both
    mean, log_variance = Encoder()(torch.rand(2, *SHAPE))
    assert make_decoder()(mean).shape == (2, *SHAPE)
    assert log_variance.shape == (2, LATENT_DIM)
