"""What there is to know of images of the user's own, as JSON."""

from typing import Any

import numpy as np

from gpu_ssl.data.own import UNLABELLED, OwnImages
from gpu_ssl.data.preparation import ImageShape


def sizes(n: int, shape: ImageShape, are_embeddings: bool) -> str:
    """Say how many images there are, and of which size; or embeddings."""
    channels, height, width = shape
    if are_embeddings:
        return f"{n:,} embeddings of {width} numbers"
    return f"{n:,} images of {width} x {height} pixels, {'grey' if channels == 1 else 'in colour'}"


def summarize(images: OwnImages) -> dict[str, Any]:
    """Return counts, what was skipped and why, and all problems with whole lists."""
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
