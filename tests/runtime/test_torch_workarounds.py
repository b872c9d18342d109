"""The convolution with its own gradient equals torch's convolution, forward and backward."""

import pytest
import torch
from torch import Tensor, nn

from gpu_ssl.runtime.torch_workarounds.convolution import Convolution, _Convolution

CASES = [(3, 2, 1), (3, 1, 1), (5, 3, 2), (1, 1, 0)]


@pytest.mark.parametrize(("side", "stride", "padding"), CASES)
@pytest.mark.parametrize("grid", [(7, 7), (6, 9)])
def test_its_gradients_are_those_of_its_values(
    side: int, stride: int, padding: int, grid: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(0)
    images, weight = (
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in ((2, 3, *grid), (4, 3, side, side))
    )
    assert torch.autograd.gradcheck(_Convolution.apply, (images, weight, stride, padding))


def gradients(layer: nn.Conv2d, images: Tensor, dtype: torch.dtype) -> list[Tensor]:
    images = images.clone().requires_grad_()
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        features = layer(torch.relu(images).to(dtype))
    features.float().square().sum().backward()
    assert images.grad is not None
    assert layer.weight.grad is not None
    return [features.detach().float(), images.grad, layer.weight.grad]


@pytest.mark.parametrize("n", [5, 0])
def test_in_bfloat16_it_trains_as_torchs_does(n: int) -> None:
    # Weights and images that bfloat16 holds exactly
    generator = torch.Generator().manual_seed(0)
    weight, images = (
        torch.randn(shape, generator=generator)
        .bfloat16()
        .float()
        .contiguous(memory_format=torch.channels_last)
        for shape in ((16, 8, 3, 3), (n, 8, 7, 7))
    )
    layer = Convolution(8, 16, side=3, stride=2, padding=1)
    layer.weight = nn.Parameter(weight)
    other = nn.Conv2d(8, 16, 3, 2, 1, bias=False)
    other.weight = nn.Parameter(weight.clone())
    assert "_Convolution" in str(layer(images.to(torch.bfloat16)).grad_fn)
    both = gradients(layer, images, torch.bfloat16), gradients(other, images, torch.float32)
    for found, expected in zip(*both, strict=True):
        assert (found.dtype, found.shape) == (torch.float32, expected.shape)
        scale = float(expected.abs().max()) if n else 0.0
        torch.testing.assert_close(found, expected, rtol=0, atol=2**-6 * scale)
    assert layer.weight.grad is not None
    assert layer.weight.grad.is_contiguous(memory_format=torch.channels_last)
