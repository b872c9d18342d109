"""Serialization of encoders as JSON and tensors."""

from typing import Any

from torch import Tensor

from gpu_ssl import catalog
from gpu_ssl.encoders.averaged import Averaged
from gpu_ssl.encoders.encoder import Encoder, ImageShape
from gpu_ssl.encoders.sums import Sum


def describe_encoder(encoder: Encoder) -> dict[str, Any]:
    """Return a JSON-compatible description of an encoder, to rebuild it together with its state dict."""
    parts = [
        {"name": part.name, "settings": part.settings(), "averaged": isinstance(part, Averaged)}
        for part in encoder.parts
    ]
    return {"name": encoder.name, "image_shape": encoder.image_shape, "parts": parts}


def build_encoder(description: dict[str, Any], tensors: dict[str, Tensor]) -> Encoder:
    """Rebuild an encoder from its description and state dict, on the CPU and in evaluation mode.

    Raises
    ------
    KeyError, TypeError, ValueError, RuntimeError
        If description and state dict do not match.
    """
    channels, height, width = description["image_shape"]
    shape: ImageShape = (channels, height, width)
    parts = [_build_part(part, shape) for part in description["parts"]]
    encoder = parts[0] if len(parts) == 1 else Sum(parts, [1.0] * len(parts))
    encoder.load_state_dict(tensors)
    return encoder.eval()


def _build_part(description: dict[str, Any], shape: ImageShape) -> Encoder:
    module = catalog.load_module(catalog.encoder(description["name"]))
    encoder: Encoder = module.build(shape, description["settings"])
    encoder.name = description["name"]  # including the variant after a colon
    return Averaged(encoder) if description["averaged"] else encoder
