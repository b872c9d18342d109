"""Convolutions on grids of a few cells: torch's, and the product with a dense matrix of our layer.

    python -m benchmarks.small_grids                  # OMP_NUM_THREADS=1 for one thread

Prints microseconds of a step forward and back in float32; both in turn, the best of several repeats.
"""

import time
from collections.abc import Callable

import click
import torch
from torch import Tensor, nn

from gpu_ssl.runtime.torch_workarounds.convolution import Convolution

CASES = [(64, 128, 2), (64, 16, 1), (64, 128, 1), (128, 256, 2)]
"""Channels in and out, and stride, on a grid of 2 x 2 cells; the first two are of the VAE of 8 x 8 images."""

REPEATS, STEPS = 6, 20


def best(step: Callable[[], None]) -> float:
    """Return the seconds of a step: the least of several means."""
    for _ in range(STEPS):
        step()
    found = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        for _ in range(STEPS):
            step()
        found.append((time.perf_counter() - start) / STEPS)
    return min(found)


def training_step(layer: nn.Conv2d, images: Tensor, forward: Callable[..., Tensor]) -> Callable[[], None]:
    """Return a step that computes the gradients of the weights and of the images."""

    def step() -> None:
        torch.autograd.backward(forward(layer, images).square().sum())

    return step


@click.command()
def main() -> None:
    """Time each case with 67 images (a batch of the digits) and with 256."""
    for n in (67, 256):
        for inputs, outputs, stride in CASES:
            layer = Convolution(inputs, outputs, side=3, stride=stride, padding=1)
            layer = layer.to(memory_format=torch.channels_last)
            images = torch.randn(n, inputs, 2, 2).to(memory_format=torch.channels_last).requires_grad_()
            theirs = best(training_step(layer, images, nn.Conv2d.forward))
            ours = best(training_step(layer, images, Convolution.forward))
            click.echo(
                f"{n} images, {inputs} to {outputs} channels, stride {stride}: {1e6 * theirs:,.0f} and "
                f"{1e6 * ours:,.0f} us, {theirs / ours:.1f} times as fast"
            )


if __name__ == "__main__":
    main()
