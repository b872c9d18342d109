"""Encoding streamed images with a fitted model, or with an encoder that needs no fit."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_ssl import catalog
from gpu_ssl.config import FitConfig
from gpu_ssl.data.stream import Block
from gpu_ssl.encoders.encoder import Encoder, ImageShape, encode
from gpu_ssl.encoders.fitting import Training, TrainingImages
from gpu_ssl.errors import UsageError
from gpu_ssl.fitted.model import FittedModel


class BlockEncoder(NamedTuple):
    """A function that encodes blocks, with the number of features and the further image shapes it needs."""

    width: int
    other_shapes: list[ImageShape]
    encode: Callable[[Block], NDArray[np.float32]]


def of_model(model: FittedModel) -> BlockEncoder:
    """Return the block encoder for the features that the classifier of a model uses."""
    width = model.classifier.encoder.width
    return BlockEncoder(width, model.other_shapes, lambda block: model.encode(block.images, block.others))


def of_encoder(name: str, shape: ImageShape, device: torch.device) -> BlockEncoder:
    """Return the block encoder for an encoder that needs no fit.

    Parameters
    ----------
    name : str
        Name in the catalog; see `check_name`.
    shape : tuple of int
        Channels, height and width of the images.
    device : torch.device
        Device to compute on.
    """
    no_images = TrainingImages(np.empty((0, *shape), np.uint8), device, False, "")
    training = replace(Training(FitConfig(), Path()), variant=name.partition(":")[2])
    encoder: Encoder = catalog.load_module(catalog.encoder(name)).fit(no_images, training)
    encoder = encoder.to(device).eval()

    def features(block: Block) -> NDArray[np.float32]:
        images = block.others.get(encoder.image_shape, block.images) if encoder.own_shape else block.images
        return encode(encoder, torch.from_numpy(images).to(device)).cpu().numpy()

    return BlockEncoder(encoder.width, [encoder.image_shape] if encoder.own_shape else [], features)


def check_name(name: str) -> None:
    """Check that an encoder needs no fit.

    Raises
    ------
    UsageError
        If the encoder needs a fit, or is unknown.
    """
    fixed = [spec for spec in catalog.ENCODERS if not (spec.learns or spec.embeddings)]
    listed = ", ".join(f"{spec.name}[:NAME]" if spec.variants else spec.name for spec in fixed)
    advice = f"encoders without a fit are {listed}"
    parts = name.split("+")
    known = {spec.name for spec in catalog.ENCODERS}
    if any(part.partition(":")[0] not in known for part in parts):
        raise UsageError(f"{name} is neither the folder of a model nor an encoder; {advice}")
    if len(parts) > 1 or catalog.encoder(name) not in fixed:
        why = "learns the scales of its parts" if len(parts) > 1 else "learns from images"
        if catalog.takes_embeddings(name):
            why = "takes existing embeddings"
        raise UsageError(f"the encoder {name} {why}: fit a model and give its folder; {advice}")
