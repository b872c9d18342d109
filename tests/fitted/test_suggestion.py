"""Suggestions: unsure, unlike each other, never a copy or a labelled one."""

import numpy as np

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.own import image_key
from gpu_ssl.data.stream import Block
from gpu_ssl.fitted.fitting import Fit
from gpu_ssl.fitted.model import Answers
from gpu_ssl.fitted.suggestion import POOL, confidence_margins, spread, suggest


def blocks(images: np.ndarray, size: int) -> list[Block]:
    starts = range(0, len(images), size)
    return [
        Block([str(i) for i in range(s, min(s + size, len(images)))], images[s : s + size], {})
        for s in starts
    ]


def test_they_are_of_the_least_sure_and_in_that_order(fitted: Fit, digits: Dataset) -> None:
    images = digits.test.images
    chosen = suggest(fitted.model, blocks(images, 100), 5, set())
    assert chosen is not None
    margins = confidence_margins(fitted.model.predict(images).probabilities)
    assert sorted(chosen.margins) == chosen.margins.tolist()
    assert chosen.margins.max() <= np.sort(margins)[5 * POOL + 5]
    for name, image in zip(chosen.names, chosen.images, strict=True):
        assert np.array_equal(image, images[int(name)])


class Remembering:
    """Answers of a model for all images at once: those of other blocks differ by rounding."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers

    def answer(self, block: Block) -> Answers:
        return self.answers.rows(np.array([int(name) for name in block.names]))


def test_blocks_of_any_size_give_the_same(fitted: Fit, digits: Dataset) -> None:
    images = digits.test.images
    model = Remembering(fitted.model.predict(images))
    all_at_once, *others = (suggest(model, blocks(images, n), 7, set()) for n in (450, 64, 7))
    assert all_at_once is not None
    for other in others:
        assert other is not None
        assert other.names == all_at_once.names


def test_neither_copies_nor_labelled_images_are_suggested(fitted: Fit, digits: Dataset) -> None:
    images = digits.test.images[:60]
    known = {image_key(image) for image in images[:30]}
    chosen = suggest(fitted.model, blocks(np.concatenate([images, images]), 40), 50, known)
    assert chosen is not None
    assert len(set(chosen.keys)) == len(chosen) == 30
    assert not known & set(chosen.keys)
    none = suggest(fitted.model, blocks(images[:30], 10), 5, known)
    assert none is not None
    assert len(none) == 0
    assert suggest(fitted.model, [], 5, known) is None


def test_they_are_spread_over_the_space_of_features() -> None:
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(10 * k, 0.1, (100, 3)) for k in range(4)]).astype(np.float32)
    assert sorted(spread(features, 4, 0) // 100) == [0, 1, 2, 3]
    many = spread(features, 50, 0)
    assert len(set(many.tolist())) == 50
    same = np.zeros((20, 3), np.float32)
    assert spread(same[:3], 5, 0).tolist() == [0, 1, 2]


def test_margins_are_between_the_two_most_likely() -> None:
    found = confidence_margins(np.array([[0.2, 0.5, 0.3], [0.0, 1.0, 0.0]]))
    np.testing.assert_allclose(found, [0.2, 1.0])
