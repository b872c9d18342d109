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


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("grid", [(1, 1), (1, 2), (2, 1), (2, 2)])
@pytest.mark.parametrize(("side", "padding"), [(3, 1), (5, 2)])
def test_on_a_few_cells_it_is_torchs_convolution(
    side: int, padding: int, grid: tuple[int, int], stride: int, bias: bool
) -> None:
    torch.manual_seed(0)
    images = torch.randn(7, 6, *grid).contiguous(memory_format=torch.channels_last)
    layer = Convolution(6, 4, side, stride, padding, bias).to(memory_format=torch.channels_last)
    other = nn.Conv2d(6, 4, side, stride, padding, bias=bias)
    other.load_state_dict(layer.state_dict())
    assert "Convolution" not in str(layer(images).grad_fn)
    for found, expected in zip(
        *(gradients(each, images, torch.float32) for each in (layer, other)), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    if bias:
        assert layer.bias is not None
        assert other.bias is not None
        torch.testing.assert_close(layer.bias.grad, other.bias.grad, rtol=1e-4, atol=1e-4)
    assert layer.weight.grad is not None
    assert layer.weight.grad.is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        torch.testing.assert_close(layer(images), other(images))


@pytest.mark.parametrize("grid", [(3, 2), (2, 3), (4, 4)])
def test_on_larger_grids_torchs_convolution_is_used(grid: tuple[int, int]) -> None:
    layer = Convolution(6, 4, side=3, stride=1, padding=1, bias=True)
    assert "Convolution" in str(layer(torch.randn(7, 6, *grid)).grad_fn)
