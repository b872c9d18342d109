"""The classifiers of torchvision, without their last layer, with the newest weights that it publishes."""

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gpu_ssl.encoders.backbones.backbone import Backbone
from gpu_ssl.encoders.backbones.weights import find_or_fetch, read_weights

LICENCE = "none stated for the weights; torchvision's code is under BSD-3-Clause"


@lru_cache(maxsize=1)
def names() -> Sequence[str]:
    """Return the networks of this family."""
    import torchvision

    return tuple(torchvision.models.list_models(module=torchvision.models))


def build(name: str, side: int | None) -> Backbone:
    """Make a network; see `build_backbone`."""
    import torchvision

    weights = torchvision.models.get_model_weights(name).DEFAULT
    preparation = weights.transforms()
    network = torchvision.models.get_model(name, weights=None).eval()
    layer = _last_layer(network, len(weights.meta["categories"]))
    head = network.get_submodule(layer)
    assert isinstance(head, nn.Linear)
    network.set_submodule(layer, nn.Identity())
    own = preparation.crop_size[0]
    return Backbone(
        name if side in (None, own) else f"{name}@{side}",
        network,
        head.in_features,
        side or own,
        tuple(preparation.mean),
        tuple(preparation.std),
        f"{weights} of torchvision, {weights.url}",
        LICENCE,
        partial(_fill, network, weights, layer),
    )


def _last_layer(network: nn.Module, n_classes: int) -> str:
    """Return the name of the layer that tells the classes apart."""
    linear = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == n_classes
    ]
    if not linear:
        raise ValueError("its last layer is not a linear one, so it has no features for an SVM")
    return str(linear[-1])


def _fill(network: nn.Module, weights: Any, layer: str, fetch: bool) -> None:
    file = Path(weights.url).name
    fetched = Path(torch.hub.get_dir()) / "checkpoints" / file
    prefix = file.rpartition("-")[2].partition(".")[0]
    path = find_or_fetch(weights.url, file, (fetched,), prefix, fetch=fetch)
    tensors = read_weights(path)
    network.load_state_dict({k: v for k, v in tensors.items() if k.rpartition(".")[0] != layer})
