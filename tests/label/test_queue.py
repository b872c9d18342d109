"""The images that a page gets: suggested ones first, none twice, and all in the end."""

import pytest

from gpu_ssl.label.queue import Queue


def test_suggestions_come_first_and_in_their_order() -> None:
    queue = Queue(100)
    queue.suggest([7, 3, 50])
    assert queue.take(2, "a", ()) == [7, 3]
    assert queue.take(3, "a", {7, 3})[0] == 50


def test_two_pages_get_different_images() -> None:
    queue = Queue(20)
    queue.suggest(range(20))
    one, two = queue.take(5, "one", ()), queue.take(5, "two", ())
    assert one == [0, 1, 2, 3, 4]
    assert two == [5, 6, 7, 8, 9]
    assert queue.take(5, "one", ()) == one  # a page that was loaded again


def test_without_suggestions_every_picture_is_shown_once() -> None:
    queue, done = Queue(1000), set[int]()
    while rows := queue.take(24, "a", done):
        assert not done & set(rows)
        done |= set(rows)
    assert len(done) == 1000


def test_what_was_skipped_comes_last() -> None:
    queue = Queue(10)
    queue.suggest(range(10))
    queue.skip([0, 1])
    assert queue.take(4, "a", ()) == [2, 3, 4, 5]
    assert queue.take(4, "a", set(range(2, 10))) == [0, 1]


def test_what_was_taken_back_comes_first() -> None:
    queue = Queue(10)
    queue.suggest([4, 5, 6])
    queue.first([9])
    assert queue.take(2, "a", ()) == [9, 4]


@pytest.mark.parametrize("n", [300, 5000, 100_000])
def test_a_page_is_full_as_long_as_there_are_images(n: int) -> None:
    """Also if nearly all of very many are labelled; skipped ones wait until no other is left."""
    queue, done, skipped = Queue(n), set(range(n - 250)), set(range(n - 10, n))
    queue.skip(skipped)
    for _ in range(10):
        rows = queue.take(24, "a", done)
        assert len(set(rows)) == 24
        assert not (done | skipped) & set(rows)
        done |= set(rows)
    assert set(queue.take(24, "a", done)) == skipped
