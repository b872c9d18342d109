"""Classification networks of torchvision, without their last layer, with their default weights."""

import re
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gpu_ssl.encoders.backbones.backbone import Backbone, width_of
from gpu_ssl.encoders.backbones.weights import find_or_fetch, give, read_weights
from gpu_ssl.runtime.progress import Progress

LICENCE = "none stated for the weights; torchvision's code is under BSD-3-Clause"

AS_TRAINED = {"transform_input": True, "init_weights": False}
"""Arguments for networks that by default do not apply the standardization they were trained with."""

SETTINGS: dict[str, dict[str, Any]] = {"googlenet": AS_TRAINED, "inception_v3": AS_TRAINED}

POSITIONS = "encoder.pos_embedding"
"""The position embeddings, which tie a transformer to one image size."""

OLD_NAME = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d\.)")
"""Layer names in older files of torchvision, from before PyTorch disallowed dots in module names."""


@lru_cache(maxsize=1)
def names() -> Sequence[str]:
    """Return the networks of this family."""
    import torchvision

    return tuple(torchvision.models.list_models(module=torchvision.models))


def build(name: str, side: int | None) -> Backbone:
    """Build a network; see `build_backbone`."""
    import torchvision

    weights = torchvision.models.get_model_weights(name).DEFAULT
    preparation = weights.transforms()
    default = preparation.crop_size[0]
    # Transformers are built for one image size; convolutional networks accept any.
    sized = {"image_size": side or default} if name.startswith("vit_") else {}
    network = torchvision.models.get_model(name, weights=None, **sized, **SETTINGS.get(name, {})).eval()
    layer = _last_layer(network, len(weights.meta["categories"]))
    network.set_submodule(layer, nn.Identity().eval())
    return Backbone(
        name if side in (None, default) else f"{name}@{side}",
        network,
        width_of(network, side or default),
        side or default,
        tuple(preparation.mean),
        tuple(preparation.std),
        f"{weights} of torchvision, {weights.url}",
        weights.meta.get("license", LICENCE),
        partial(_fill, network, weights, layer),
    )


def _last_layer(network: nn.Module, n_classes: int) -> str:
    """Return the name of the classification layer."""
    linear = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == n_classes
    ]
    if not linear:
        raise ValueError("its last layer is not linear, so it has no features for an SVM")
    return str(linear[-1])


def _fill(network: nn.Module, weights: Any, layer: str, fetch: bool, progress: Progress) -> None:
    file = Path(weights.url).name
    fetched = Path(torch.hub.get_dir()) / "checkpoints" / file
    prefix = file.rpartition("-")[2].partition(".")[0]
    path = find_or_fetch(weights.url, file, (fetched,), prefix, fetch=fetch, progress=progress)
    from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

    tensors = read_weights(path)
    for name in list(tensors):  # in place, because the state dict carries layer versions as an attribute
        tensor = tensors.pop(name)
        if name.rpartition(".")[0] != layer:
            tensors[OLD_NAME.sub(r"\1\2", name)] = tensor
    if isinstance(network, VisionTransformer) and POSITIONS in tensors:
        interpolate_embeddings(network.image_size, network.patch_size, tensors)
    give(network, tensors, path)
