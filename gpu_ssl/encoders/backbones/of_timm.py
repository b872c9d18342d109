"""Networks of timm (PyTorch Image Models): DINOv2, DINOv3, CLIP's image encoders and many more."""

import importlib
from collections.abc import Sequence
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from gpu_ssl.encoders.backbones.backbone import Backbone, width_of
from gpu_ssl.encoders.backbones.weights import NoWeightsError, find_or_fetch, not_its_weights
from gpu_ssl.runtime.progress import Progress


@lru_cache(maxsize=1)
def names() -> Sequence[str]:
    """Return the networks of this family that have weights, with and without the tag of the weights."""
    if find_spec("timm") is None:
        return ()
    tagged = _timm().list_models(pretrained=True)
    return tuple({**dict.fromkeys(tagged), **dict.fromkeys(name.partition(".")[0] for name in tagged)})


def build(name: str, side: int | None) -> Backbone:
    """Build a network; see `build_backbone`."""
    network: Any = _make(name, side, num_classes=0).eval()
    expected = _timm().data.resolve_model_data_config(network)
    default = expected["input_size"][-1]
    published = _timm().get_pretrained_cfg(name)
    return Backbone(
        name if side in (None, default) else f"{name}@{side}",
        network,
        width_of(network, side or default),
        side or default,
        tuple(expected["mean"]),
        tuple(expected["std"]),
        f"{published.hf_hub_id or published.url}, by timm",
        published.license or "none stated by timm",
        partial(_fill, network, name, side, published),
    )


def _timm() -> Any:
    return importlib.import_module("timm")


def _make(name: str, side: int | None, **more: Any) -> nn.Module:
    # Transformers are built for one image size; convolutional networks accept any.
    if side is not None and _timm().get_pretrained_cfg(name).fixed_input_size:
        more["img_size"] = side
    network: nn.Module = _timm().create_model(name, **more)
    return network


def _fill(
    network: nn.Module, name: str, side: int | None, published: Any, fetch: bool, progress: Progress
) -> None:
    url, file, fetched = published.url, f"{name}{Path(published.url or '').suffix}", None
    if published.hf_hub_id:
        from huggingface_hub import hf_hub_url, try_to_load_from_cache

        inside = published.hf_hub_filename or "model.safetensors"
        url, file = hf_hub_url(published.hf_hub_id, inside), f"{name}{Path(inside).suffix}"
        fetched = try_to_load_from_cache(published.hf_hub_id, inside)
    if not url:
        raise NoWeightsError("timm publishes no weights for it")
    elsewhere = (Path(fetched),) if isinstance(fetched, str) else ()
    path = find_or_fetch(url, file, elsewhere, fetch=fetch, progress=progress)
    overlay = {"file": str(path), "hf_hub_id": None, "url": ""}
    try:
        # Built with its last layer, because otherwise timm loads any file and ignores missing tensors.
        filled = _make(name, side, pretrained=True, pretrained_cfg_overlay=overlay)
        missing = network.load_state_dict(filled.state_dict(), strict=False).missing_keys
        if missing:
            raise ValueError(f"it lacks {missing[0]}")
    except Exception as error:  # readers of several formats, with exceptions of many types
        raise not_its_weights(path, error) from error
