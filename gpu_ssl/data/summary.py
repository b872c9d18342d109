"""Summary of a user's images as JSON-compatible data."""

from typing import Any

import numpy as np

from gpu_ssl.data.own import UNLABELLED, OwnImages
from gpu_ssl.data.preparation import ImageShape


def sizes(n: int, shape: ImageShape, are_embeddings: bool) -> str:
    """Return the number and size of images or embeddings as text."""
    channels, height, width = shape
    if are_embeddings:
        return f"{n:,} embeddings of width {width}"
    return f"{n:,} images of {width} x {height} pixels, {'grey' if channels == 1 else 'in colour'}"


def summarize(images: OwnImages) -> dict[str, Any]:
    """Return counts, skipped files with reasons, and all problems with complete lists of names."""
    labelled = images.labels[images.labels != UNLABELLED]
    counts = np.bincount(labelled, minlength=len(images.class_names)).tolist()
    return {
        "images": len(images),
        "image_shape": list(images.image_shape),
        "are_embeddings": images.are_embeddings,
        "labelled": len(labelled),
        "classes": dict(zip(images.class_names, counts, strict=True)),
        "preparation": images.how.model_dump(),
        "skipped": [{"path": path, "reason": reason} for path, reason in images.skipped.items()],
        "problems": [
            {
                "kind": problem.kind,
                "count": problem.count,
                "paths": list(problem.paths),
                "message": problem.message,
            }
            for problem in images.problems
        ],
    }
