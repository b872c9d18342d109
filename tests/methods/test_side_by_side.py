"""Networks for several splits at a time: the classifiers and learning curves of one after the other."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gpu_ssl import experiment
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.errors import UsageError
from gpu_ssl.methods import network
from gpu_ssl.methods.method import Options, fit_each
from tests.encoders import fitted
from tests.methods import choose, view_of


@pytest.fixture(autouse=True)
def few_steps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"FEWEST": 12, "PASSES": 0, "UNLABELLED_BATCH": 32, "LABELLED_BATCH": 16}.items():
            patch.setattr(network, name, value)
        yield


@pytest.mark.parametrize(("method", "effort"), [("consistency", "best"), ("cnn", "normal")])
def test_classifiers_do_not_depend_on_how_many_are_trained_at_a_time(
    digits: Dataset, tmp_path: Path, method: str, effort: str
) -> None:
    """Also where the networks of a split are not trained together, and where one is left over."""
    encoders = fitted(digits.train.images[:300], tmp_path, "hog")
    view = view_of(digits.train.images[:300], encoders.values())
    small = replace(digits, train=replace(digits.train, images=view.pixels, labels=digits.train.labels[:300]))
    choices = [choose(small, 40, seed) for seed in range(2)]
    found = []
    for at_a_time in (1, 4):
        own = [
            Options(method, "hog", effort=effort, seed=seed, side_by_side=at_a_time)  # type: ignore[arg-type]
            for seed in range(2)
        ]
        found.append([classifier for classifier, _ in fit_each(view, choices, own)])
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            assert one.curve == other.curve
            tensors = other.tensors()
            assert all(torch.equal(value, tensors[name]) for name, value in one.tensors().items())


def test_a_gpu_trains_as_many_at_a_time_as_asked_for_up_to_a_limit() -> None:
    cuda = torch.device("cuda", 0)
    assert experiment._resolve_jobs(None, cuda) == 1
    assert experiment._resolve_jobs(8, cuda) == 8
    with pytest.raises(UsageError, match=r"`jobs=17`: a GPU trains at most 16 networks at a time"):
        experiment._resolve_jobs(17, cuda)
    assert experiment._resolve_jobs(64, torch.device("cpu")) == 64
