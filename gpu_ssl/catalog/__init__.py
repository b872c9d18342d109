"""All that is chosen by name: methods, encoders and the networks of the VAE, as plain tuples.

Settings, help texts, tables, plots and sweeps derive from these. To add one, write its module and add its
entry to the tuple. Nothing heavy is imported: a module is loaded when it is used.
"""

import importlib
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from gpu_ssl.catalog.encoders import ENCODERS, EncoderSpec
from gpu_ssl.catalog.methods import METHODS, MethodSpec
from gpu_ssl.catalog.networks import NETWORKS, NetworkSpec
from gpu_ssl.errors import UsageError

__all__ = [
    "ENCODERS",
    "METHODS",
    "NETWORKS",
    "EncoderSpec",
    "MethodSpec",
    "NetworkSpec",
    "encoder",
    "encoder_parts",
    "load_module",
    "method",
    "network",
    "takes_embeddings",
    "title",
]


class _Named(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def module(self) -> str: ...


Spec = TypeVar("Spec", bound=_Named)


def method(name: str) -> MethodSpec:
    """Return the method of this name; an unknown one is a UsageError, as for `encoder` and `network`."""
    return _find("method", METHODS, name)


def encoder(name: str) -> EncoderSpec:
    """Return the encoder of this name, which is not a sum."""
    plain, colon, variant = name.partition(":")
    found = _find("encoder", ENCODERS, plain)
    if colon and not found.variants:
        raise UsageError(f"the encoder {plain!r} is of one kind only; give {plain!r}, not {name!r}")
    if colon and not variant:
        raise UsageError(
            f"the encoder {name!r} names nothing after the colon; give {plain!r} or {plain}:NAME"
        )
    return found


def network(name: str) -> NetworkSpec:
    """Return the network of the VAE of this name."""
    return _find("network", NETWORKS, name)


def _find(kind: str, specs: Sequence[Spec], name: str) -> Spec:
    for spec in specs:
        if spec.name == name:
            return spec
    allowed = ", ".join(spec.name for spec in specs if not getattr(spec, "internal", False))
    raise UsageError(f"there is no {kind} {name!r}; allowed are {allowed}")


def encoder_parts(name: str) -> tuple[str, ...]:
    """Return the encoders that a name such as ``vae+hog`` stands for.

    Raises
    ------
    UsageError
        If there is no such encoder, or one comes twice.
    """
    parts = tuple(name.split("+")) if name else ()
    for part in parts:
        if encoder(part).internal:
            raise UsageError(f"the encoder {part!r} is made by methods and cannot be asked for")
    if len(set(parts)) < len(parts):
        raise UsageError(f"the encoder {name!r} names a part twice")
    alone = [part for part in parts if encoder(part).embeddings]
    if alone and len(parts) > 1:
        raise UsageError(f"the encoder {alone[0]!r} is for embeddings, and cannot be joined with others")
    return parts


def takes_embeddings(name: str) -> bool:
    """Whether an encoder of this name, or one of its parts, takes embeddings in place of images."""
    return any(encoder(part).embeddings for part in name.split("+"))


def load_module(spec: _Named) -> Any:
    """Import the module of a spec."""
    return importlib.import_module(spec.module)


def title(name: str) -> str:
    """Return what tables and plots call a method; its name, for one that this version does not know."""
    return next((spec.title for spec in METHODS if spec.name == name), name)
