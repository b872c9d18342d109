"""Summary of a user's images as JSON-compatible data."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpu_ssl.data.own import UNLABELLED, OwnImages
from gpu_ssl.data.preparation import ImageShape


def sizes(n: int, shapes: Sequence[ImageShape], are_embeddings: bool) -> str:
    """Return the number of images or embeddings, and the sizes at which encoders take them, as text."""
    if are_embeddings:
        return f"{n:,} embeddings of width {shapes[0][2]}"
    return f"{n:,} images at {in_pixels(shapes)}"


def in_pixels(shapes: Sequence[ImageShape]) -> str:
    """Return the shapes of images as text, such as ``64 x 64 pixels, grey``."""
    listed = " and ".join(f"{width} x {height}" for _, height, width in shapes)
    return f"{listed} pixels, {'grey' if shapes[0][0] == 1 else 'in colour'}"


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
                "groups": [list(group) for group in problem.groups],
                "message": problem.message,
            }
            for problem in images.problems
        ],
    }
