"""The classifier's network: images of any shape, and features that only its head maps to classes."""

import pytest
import torch

from gpu_ssl.networks.classifier import ClassifierNetwork
from gpu_ssl.training.optimizers import build

CPU = torch.device("cpu")


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 17, 40)])
def test_images_of_any_shape_have_features_and_every_weight_learns(shape: tuple[int, int, int]) -> None:
    network = build(lambda: ClassifierNetwork(shape, 4), CPU, 0)
    images = torch.rand(6, *shape)
    logits = network(images)
    assert (logits.shape, logits.dtype) == ((6, 4), torch.float32)
    logits.logsumexp(1).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    network.eval()
    features = network.features(images)
    assert features.shape == (6, network.width)
    torch.testing.assert_close(network(images), network.head(features))
