"""Serialization of encoders as JSON and tensors."""

from math import prod
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator
from torch import Tensor

from gpu_ssl import catalog
from gpu_ssl.encoders.averaged import Averaged
from gpu_ssl.encoders.encoder import Encoder, ImageShape
from gpu_ssl.encoders.sums import Sum

LARGEST = 2**26
"""Maximum number of values per image; larger descriptions are rejected before networks are built."""


class EncoderPart(BaseModel):
    """A part of an encoder: its name in the catalog, and its settings for ``build``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    settings: dict[str, Any]
    averaged: bool


class EncoderRecord(BaseModel):
    """The description of an encoder; see `describe_encoder`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    image_shape: tuple[PositiveInt, PositiveInt, PositiveInt]
    parts: tuple[EncoderPart, ...] = Field(min_length=1)

    @field_validator("image_shape")
    @classmethod
    def _not_larger_than_any(cls, shape: ImageShape) -> ImageShape:
        if prod(shape) > LARGEST:
            raise ValueError(f"expected images of at most {LARGEST:,} values, got shape {shape}")
        return shape


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
    record = EncoderRecord.model_validate(description)
    parts = [_build_part(part, record.image_shape) for part in record.parts]
    encoder = parts[0] if len(parts) == 1 else Sum(parts, [1.0] * len(parts))
    encoder.load_state_dict(tensors)
    return encoder.eval()


def _build_part(part: EncoderPart, shape: ImageShape) -> Encoder:
    module = catalog.load_module(catalog.encoder(part.name))
    encoder: Encoder = module.build(shape, part.settings)
    encoder.name = part.name  # including the variant after a colon
    return Averaged(encoder) if part.averaged else encoder
