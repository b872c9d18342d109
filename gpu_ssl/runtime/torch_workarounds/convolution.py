"""Training a convolution on a CPU is slow in torch, in bfloat16 with a stride and on grids of a few cells.

Upstream: pytorch/pytorch#183815 (open: convolutions in bfloat16 on a CPU are 4 to 16 times slower since
2.13); we know of no issue about small grids. To be removed when `python -m benchmarks.roofline` shows the
same time for the network without it.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Convolution(nn.Conv2d):
    """Convolution with equal stride and padding in both axes; faster to train on a CPU.

    At a stride of 2 in bfloat16, torch's gradient of the weights takes 4 ms for what the CPU could do in 1.5.
    It equals a product of two matrices: the gradients of the outputs, and the input patch of each. With the
    copying of the patches that takes 2 to 3 ms; in float32, or at a stride of 1, it is slower than torch.

    If every output sees the whole grid (2 x 2 cells or fewer, for a side of 3), the convolution is computed
    as one product with a dense matrix from all input cells to all output cells, in half to a sixth of the
    time (`python -m benchmarks.small_grids`).
    """

    def __init__(
        self, inputs: int, outputs: int, side: int, stride: int, padding: int, bias: bool = False
    ) -> None:
        super().__init__(inputs, outputs, side, stride, padding, bias=bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return features of images (n, inputs, height, width); see `torch.nn.Conv2d`."""
        if not (images.is_cpu and torch.is_grad_enabled()):
            return super().forward(images)
        starts = [self._starts(length) for length in images.shape[2:]]
        if all(starts):
            return self._by_matrix(images, *starts)
        if images.dtype != torch.bfloat16 or self.stride[0] == 1 or self.bias is not None:
            return super().forward(images)
        # Outputs of a layer under autocast have its dtype already.
        features: Tensor = _Convolution.apply(
            images, self.weight.to(images.dtype), self.stride[0], int(self.padding[0])
        )
        return features

    def _starts(self, length: int) -> list[int]:
        """Return where in the kernel an axis of the images begins, for each output; empty if some output
        does not see all of it.
        """
        side, stride, padding = self.kernel_size[0], self.stride[0], int(self.padding[0])
        outputs = (length + 2 * padding - side) // stride + 1
        starts = [padding - stride * place for place in range(outputs)]
        return starts if all(0 <= start <= side - length for start in starts) else []

    def _by_matrix(self, images: Tensor, rows: list[int], columns: list[int]) -> Tensor:
        height, width = images.shape[2:]
        # Channels last, as the weights are in memory, so that their gradients are too.
        kernel = self.weight.permute(0, 2, 3, 1)
        places = [(row, column) for row in rows for column in columns]
        cells = [kernel[:, i : i + height, j : j + width].flatten(1) for i, j in places]
        bias = None if self.bias is None else self.bias.repeat(len(cells))
        features = F.linear(images.permute(0, 2, 3, 1).flatten(1), torch.cat(cells), bias)
        grid = len(rows), len(columns), self.out_channels
        return torch.unflatten(features, 1, grid).permute(0, 3, 1, 2)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(images, weight, None, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, weight = ctx.saved_tensors
        of_images, _, _ = torch.ops.aten.convolution_backward(
            *(gradient, images, weight, None, [ctx.stride] * 2, [ctx.padding] * 2, [1, 1]),
            *(False, [0, 0], 1, [ctx.needs_input_grad[0], False, False]),
        )
        outputs, inputs, side, _ = weight.shape
        rows = gradient.permute(0, 2, 3, 1).reshape(-1, outputs)
        products = rows.T @ _patches(images, side, ctx.stride, ctx.padding)
        of_weight = products.view(outputs, side, side, inputs).permute(0, 3, 1, 2)
        return of_images, of_weight, None, None


def _patches(images: Tensor, side: int, stride: int, padding: int) -> Tensor:
    """Return the patches under the kernel at all positions, (n * positions, side * side * channels)."""
    padded = F.pad(images.permute(0, 2, 3, 1), (0, 0, *4 * (padding,)))
    places = padded.unfold(1, side, stride).unfold(2, side, stride)  # their channels, rows, columns last
    n, height, width, channels = places.shape[:4]
    return places.permute(0, 1, 2, 4, 5, 3).reshape(n * height * width, side**2 * channels)
