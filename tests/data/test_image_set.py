"""An ImageSet holds what it promises, and its hash is that of its content."""

from dataclasses import replace

import numpy as np
import pytest

from gpu_ssl.data.image_set import Dataset, ImageSet
from gpu_ssl.errors import DataError

IMAGES = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
LABELS = np.array([0, 1])
NAMES = ("a", "b")


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (IMAGES.astype(np.float32), LABELS),
        (IMAGES[0], LABELS),
        (IMAGES, LABELS.astype(np.int32)),
        (IMAGES, LABELS[:1]),
        (IMAGES, np.array([0, 2])),
        (IMAGES, np.array([-1, 0])),
    ],
    ids=["float images", "three dimensions", "int32 labels", "too few labels", "no such class", "negative"],
)
def test_what_does_not_fit_is_refused(images, labels) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError):
        ImageSet(images, labels, NAMES)


def test_the_hash_sees_pixels_labels_shape_and_names() -> None:
    one = ImageSet(IMAGES, LABELS, NAMES)
    assert one.sha256 == ImageSet(IMAGES.copy(order="F"), LABELS.copy(), NAMES).sha256
    others = [
        replace(one, images=IMAGES ^ 1),
        replace(one, labels=LABELS[::-1].copy()),
        replace(one, images=IMAGES.reshape(2, 3, 5, 4)),
        replace(one, class_names=("a", "c")),
    ]
    assert len({one.sha256, *(other.sha256 for other in others)}) == 5


def test_the_hash_of_a_data_set_sees_both_parts() -> None:
    one, other = ImageSet(IMAGES, LABELS, NAMES), ImageSet(IMAGES ^ 1, LABELS, NAMES)
    hashes = {Dataset("x", a, b, False).sha256 for a in (one, other) for b in (one, other)}
    assert len(hashes) == 4
