"""Networks that others have trained on millions of images, and where their weights are to be had.

The first module of `FAMILIES` that knows a name makes the network. A name may end with ``@`` and the side in
pixels of the images that it is to see. Without a name the first of `USUAL` is taken whose weights are at hand
or can be fetched.
"""

import difflib
import importlib
from typing import Any

from gpu_ssl.encoders.backbones.backbone import Backbone
from gpu_ssl.encoders.backbones.weights import NoWeightsError
from gpu_ssl.errors import GpuSslError, UsageError
from gpu_ssl.runtime.progress import SILENT, Progress

FAMILIES = ("efficientnet_lite0", "of_torchvision", "of_timm")
"""Modules of this package. Each defines ``names() -> Sequence[str]`` and ``build(name, side) -> Backbone``,
where `side` is None for the network's own."""

USUAL = ("vit_small_patch14_dinov2.lvd142m@224", "efficientnet_b0", "efficientnet_lite0")
"""What is taken without a name: DINOv2 (Oquab et al. 2023), then EfficientNets (Tan and Le 2019), the last of
which comes as a package of Python."""

MOST_PIXELS = 2048
"""Of a side, lest a slip of the keyboard fill the memory."""

SHOWN = 5
"""Names like the one given that a message lists."""


def build_backbone(name: str) -> Backbone:
    """Make a network without its weights.

    Parameters
    ----------
    name : str
        See above; not empty.

    Raises
    ------
    UsageError
        If nobody knows it, or it cannot see images of that side.
    """
    plain, at, side = name.partition("@")
    if at and not (len(side) <= 4 and side.isdecimal() and 1 <= int(side) <= MOST_PIXELS):
        raise UsageError(
            f"`encoder=pretrained:{name}`: what follows the @ is a number of pixels, such as 224, of at most "
            f"{MOST_PIXELS}"
        )
    families = [importlib.import_module(f"{__name__}.{family}") for family in FAMILIES]
    for family in families:
        if plain in family.names():
            try:
                found: Backbone = family.build(plain, int(side) if side else None)
            except (AssertionError, ValueError, RuntimeError) as error:  # of libraries, such as of a side
                why = " ".join(str(error).split()) or type(error).__name__
                raise UsageError(f"`encoder=pretrained:{name}` cannot be made: {why}") from error
            return found
    raise _unknown(plain, families)


def load_backbone(name: str, *, fetch: bool = True, progress: Progress = SILENT) -> tuple[Backbone, str]:
    """Make a network with its weights.

    Parameters
    ----------
    name : str
        See above; empty for the first of `USUAL` that can be had.
    fetch : bool
        Whether weights may be fetched that are not at hand.
    progress : Progress
        Shows how far that is.

    Returns
    -------
    Backbone, str
        The network, and why it was chosen.

    Raises
    ------
    GpuSslError
        If it cannot be had; of no name, if none can.
    """
    if name:
        backbone = build_backbone(name)
        backbone.fill(fetch, progress)
        return backbone, "asked for"
    missed: dict[str, GpuSslError] = {}
    for usual in USUAL:
        try:
            backbone, _ = load_backbone(usual, fetch=fetch, progress=progress)
        except (UsageError, NoWeightsError) as error:  # the former where timm, which knows it, is missing
            missed[usual] = error
        else:
            # Models are given to others: no word of where this machine keeps its files.
            why = [
                f"{name}: {own.brief if isinstance(own, NoWeightsError) else own}"
                for name, own in missed.items()
            ]
            return backbone, "; ".join(["the first whose weights can be had", *why])
    tried = "; ".join(f"{name}: {error}" for name, error in missed.items())
    raise NoWeightsError(f"no pretrained network can be had; {tried}")


def _unknown(name: str, families: list[Any]) -> UsageError:
    known = sorted({own for family in families for own in family.names()})
    holding = [own for own in known if name.lower() in own][:SHOWN]
    like = holding or difflib.get_close_matches(name, known, SHOWN, cutoff=0.5) or list(USUAL)
    without_timm = "" if families[-1].names() else "; timm has more: pip install 'gpu-ssl[pretrained]'"
    return UsageError(
        f"`encoder=pretrained:{name}`: there is no such network; there are {', '.join(like)} and "
        f"{len(known):,} more, those of torchvision and timm{without_timm}"
    )
