"""Registry of everything chosen by name: methods, encoders, VAE networks and trackers, as plain tuples.

Settings, help texts, tables, plots and sweeps are derived from these tuples. To add an entry, write its
module and append its spec to the tuple. Importing the catalog is cheap: modules are loaded on first use.
"""

import importlib
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from gpu_ssl.catalog.encoders import ENCODERS, EncoderSpec
from gpu_ssl.catalog.methods import METHODS, MethodSpec
from gpu_ssl.catalog.networks import NETWORKS, TINY, NetworkSpec, with_preset
from gpu_ssl.catalog.trackers import TRACKERS, TrackerSpec
from gpu_ssl.errors import UsageError

__all__ = [
    "ENCODERS",
    "METHODS",
    "NETWORKS",
    "TINY",
    "TRACKERS",
    "EncoderSpec",
    "MethodSpec",
    "NetworkSpec",
    "TrackerSpec",
    "encoder",
    "encoder_parts",
    "load_module",
    "method",
    "network",
    "takes_embeddings",
    "title",
    "tracker",
    "with_preset",
    "without_image_only",
]


class _Named(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def module(self) -> str: ...


Spec = TypeVar("Spec", bound=_Named)


def method(name: str) -> MethodSpec:
    """Return the spec of a method.

    Raises
    ------
    UsageError
        If the name is unknown; also for `encoder`, `network` and `tracker`.
    """
    return _find("method", METHODS, name)


def encoder(name: str) -> EncoderSpec:
    """Return the spec of a single encoder; the name may have a variant, but no ``+``."""
    plain, colon, variant = name.partition(":")
    found = _find("encoder", ENCODERS, plain)
    if colon and not found.variants:
        raise UsageError(f"the encoder {plain!r} has no variants; expected {plain!r}, got {name!r}")
    if colon and not variant:
        raise UsageError(
            f"the encoder {name!r} has no name after the colon; expected {plain!r} or {plain}:NAME"
        )
    return found


def network(name: str) -> NetworkSpec:
    """Return the spec of a VAE network."""
    return _find("network", NETWORKS, name)


def tracker(name: str) -> TrackerSpec:
    """Return the spec of an experiment tracker."""
    return _find("tracker", TRACKERS, name)


def _find(kind: str, specs: Sequence[Spec], name: str) -> Spec:
    for spec in specs:
        if spec.name == name:
            return spec
    allowed = ", ".join(spec.name for spec in specs if not getattr(spec, "internal", False))
    raise UsageError(f"there is no {kind} {name!r}; allowed are {allowed}")


def encoder_parts(name: str) -> tuple[str, ...]:
    """Return the encoder names in a sum such as ``vae+hog``.

    Raises
    ------
    UsageError
        If an encoder is unknown, repeated, or cannot be part of a sum.
    """
    parts = tuple(name.split("+")) if name else ()
    for part in parts:
        if encoder(part).internal:
            raise UsageError(f"the encoder {part!r} is internal to methods and cannot be selected")
    if len(set(parts)) < len(parts):
        raise UsageError(f"the encoder {name!r} repeats a part; name each part once")
    for_embeddings = [part for part in parts if encoder(part).embeddings]
    if for_embeddings and len(parts) > 1:
        raise UsageError(
            f"the encoder {for_embeddings[0]!r} is for embeddings and cannot be combined with others"
        )
    return parts


def without_image_only(name: str) -> str:
    """Return the name of an encoder without the parts that are only for images; "" if none is left."""
    return "+".join(part for part in encoder_parts(name) if not encoder(part).image_only)


def takes_embeddings(name: str) -> bool:
    """Whether an encoder, or one of its parts, takes embeddings instead of images."""
    return any(encoder(part).embeddings for part in name.split("+"))


def load_module(spec: _Named) -> Any:
    """Import the module of a spec."""
    return importlib.import_module(spec.module)


def title(name: str) -> str:
    """Return the title of a method for tables and plots; its name if this version does not know it."""
    return next((spec.title for spec in METHODS if spec.name == name), name)
