"""What a method may see of a set of images: pixels, features of encoders, the graph of neighbours."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_ssl import catalog
from gpu_ssl.encoders.encoder import Encoder, ImageShape, block_of, encode
from gpu_ssl.errors import TrainingError, UsageError
from gpu_ssl.graph.backend import graph_backend
from gpu_ssl.graph.propagation import NeighbourGraph, Neighbourhood
from gpu_ssl.runtime.arrays import Array
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.svm.backend import SVMBackend
from gpu_ssl.training.batches import blocks_of


class View:
    """A set of images with its features and graphs, each computed when first needed.

    Parameters
    ----------
    pixels : ndarray of shape (n, channels, height, width), uint8; or (n, 1, 1, width), float32
        The images on the host, or precomputed embeddings; may be a memory map.
    encoders : mapping of str to Encoder
        Fitted encoders by name, on the device to compute on.
    backend : SVMBackend
        The backend whose arrays features are returned in.
    stopwatch : Stopwatch
        Measures the phases ``upload``, ``encode`` and ``handoff``.
    mirror : bool
        Whether mirroring keeps the class.
    precision : torch.dtype
        dtype of the matrix products of networks that methods train.
    images : Tensor, optional
        The same images on the device, if they are there already.
    others : mapping of tuple to ndarray
        The same images in other shapes, for encoders that need them.
    """

    def __init__(
        self,
        pixels: NDArray[Any],
        encoders: Mapping[str, Encoder],
        backend: SVMBackend,
        stopwatch: Stopwatch,
        mirror: bool,
        precision: torch.dtype,
        images: Tensor | None = None,
        others: Mapping[ImageShape, NDArray[np.uint8]] = MappingProxyType({}),
    ) -> None:
        self.pixels, self.encoders, self.backend, self.stopwatch = pixels, encoders, backend, stopwatch
        self.mirror, self.precision = mirror, precision
        self._images, self._others = images, dict(others)
        self._own = {part for own in encoders.values() for part in (own, *own.parts)}
        self._features: dict[Encoder, Tensor] = {}
        self._remembered = np.empty(0, np.int64)
        self._of_remembered: dict[Encoder, Tensor] = {}
        self._graphs: dict[Encoder, NeighbourGraph] = {}
        self._neighbourhoods: dict[NeighbourGraph, Neighbourhood] = {}

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def device(self) -> torch.device:
        """The device to compute on."""
        return self.stopwatch.device

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    @property
    def holds_images(self) -> bool:
        """Whether the rows are images, not embeddings."""
        return self.image_shape[1] > 1

    @property
    def images(self) -> Tensor:
        """All images, or embeddings, on the device."""
        if self._images is None:
            with self.stopwatch.phase("upload"):
                # torch shares the memory of arrays on a CPU; it is only read.
                self._images = torch.from_numpy(self.pixels).to(self.device)
        return self._images

    def encoder(self, name: str) -> Encoder:
        """Return an encoder by name; for embeddings, of a sum without the parts that are only for images.

        Raises
        ------
        UsageError
            If it has not been fitted.
        """
        if not self.holds_images:
            name = catalog.without_image_only(name) or name
        if name not in self.encoders:
            kind = "images" if self.holds_images else "embeddings"
            there_are = ", ".join(self.encoders) or "none"
            raise UsageError(f"there is no encoder {name!r} for these {kind}; there are {there_are}")
        return self.encoders[name]

    def keep(self, encoder: Encoder, features: Tensor) -> None:
        """Set features (n, width) of all images that were computed elsewhere."""
        self._features[encoder] = features

    def features(self, encoder: Encoder) -> Tensor:
        """Return the features of all images, (n, width), float32, on the device.

        Those of the view's own encoders are kept, of a sum those of its parts; others are computed each time.

        Raises
        ------
        TrainingError
            If one is not a finite number.
        """
        if encoder in self._features:
            return self._features[encoder]
        if len(encoder.parts) > 1:
            return encoder.join([self.features(part) for part in encoder.parts])
        features = self._encode(encoder, self._blocks(encoder, None), len(self))
        if encoder in self._own:
            self._features[encoder] = features
        return features

    def remember(self, rows: NDArray[np.int64]) -> None:
        """Keep the features of some rows (ascending) after their first computation."""
        if not np.isin(rows, self._remembered).all():
            self._remembered, self._of_remembered = rows, {}

    def rows(self, encoder: Encoder, rows: NDArray[np.int64]) -> Tensor:
        """Return the features of some images, (len(rows), width)."""
        if encoder in self._features:
            return self._features[encoder][torch.from_numpy(rows).to(self.device)]
        if len(encoder.parts) > 1:
            return encoder.join([self.rows(part, rows) for part in encoder.parts])
        if encoder not in self._own or not np.isin(rows, self._remembered).all():
            return self._encode(encoder, self._blocks(encoder, rows), len(rows))
        known = self._remembered
        if encoder not in self._of_remembered:
            self._of_remembered[encoder] = self._encode(encoder, self._blocks(encoder, known), len(known))
        places = torch.from_numpy(np.searchsorted(known, rows)).to(self.device)
        return self._of_remembered[encoder][places]

    def points(self, encoder: Encoder, rows: NDArray[np.int64] | None = None) -> Array:
        """Return features of all images, or of some rows, as an array of the backend's library."""
        features = self.features(encoder) if rows is None else self.rows(encoder, rows)
        with self.stopwatch.phase("handoff"):
            return self.backend.receive(features)

    def graph(self, encoder: Encoder) -> NeighbourGraph:
        """Return the graph of nearest neighbours of all images in the features of an encoder.

        Those of the view's own encoders are kept, as features are.
        """
        if encoder in self._graphs:
            return self._graphs[encoder]
        graph = NeighbourGraph.of_features(self.points(encoder), graph_backend(self.backend.name))
        if encoder in self._own:
            self._graphs[encoder] = graph
        return graph

    def neighbourhood(self, encoder: Encoder, graph: NeighbourGraph) -> Neighbourhood:
        """Return the neighbours of each image among the points of a graph; kept as `graph` does."""
        if graph in self._neighbourhoods:
            return self._neighbourhoods[graph]
        found = graph.neighbourhood(self.points(encoder))
        if encoder in self._own:
            self._neighbourhoods[graph] = found
        return found

    def subset(self, rows: NDArray[np.int64]) -> "View":
        """Return a view of some of the images, with what has been computed for them."""
        here = None if self._images is None else self._images[torch.from_numpy(rows).to(self.device)]
        some = View(
            self.pixels[rows], self.encoders, self.backend, self.stopwatch, self.mirror, self.precision, here
        )
        for encoder in {**self._features, **self._of_remembered}:
            some.keep(encoder, self.rows(encoder, rows))
        return some

    def _blocks(self, encoder: Encoder, rows: NDArray[np.int64] | None) -> Iterator[Tensor]:
        """Yield all images, or some rows, in blocks on the device, in the shape that an encoder needs."""
        size = block_of(encoder, self.device)
        pixels = self._others.get(encoder.image_shape)
        if self._images is None or pixels is not None:
            rows = np.arange(len(self)) if rows is None else rows
            pixels = self.pixels if pixels is None else pixels
            yield from blocks_of(pixels, rows, size, self.device)
            return
        chosen = self.images if rows is None else self.images[torch.from_numpy(rows).to(self.device)]
        yield from torch.split(chosen, size)

    def _encode(self, encoder: Encoder, blocks: Iterator[Tensor], n: int) -> Tensor:
        with self.stopwatch.phase("encode"):
            # Column-major, which cuML takes without a copy.
            features = torch.empty(encoder.width, n, device=self.device).T
            done = 0
            for block in blocks:
                features[done : done + len(block)] = encode(encoder, block)
                done += len(block)
            if not bool(features.isfinite().all()):
                raise TrainingError(
                    f"features of the encoder {encoder.name} are not finite; try a smaller "
                    "`learning_rate` or `precision=float32`"
                )
        return features
