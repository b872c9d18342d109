"""The catalog's addresses and checksums are torchvision's, and its facts those of the files."""

import pytest
from torchvision import datasets

from gpu_ssl.data.catalog import CATALOG, find_spec
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.errors import UsageError


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("fashion-mnist", datasets.FashionMNIST), ("mnist", datasets.MNIST), ("kmnist", datasets.KMNIST)],
)
def test_mnist_like_sets_agree_with_torchvision(name: str, theirs: type[datasets.MNIST]) -> None:
    ours = {file.name: file for file in find_spec(name).files}
    assert set(ours) == {resource for resource, _ in theirs.resources}
    for resource, md5 in theirs.resources:
        assert ours[resource].md5s[0] == md5
        assert list(ours[resource].urls) == [mirror + resource for mirror in theirs.mirrors]
    assert find_spec(name).torchvision_folder == f"{theirs.__name__}/raw"


def test_archives_agree_with_torchvision() -> None:
    (emnist,) = find_spec("emnist-balanced").files
    assert (emnist.urls, emnist.md5s) == ((datasets.EMNIST.url,), (datasets.EMNIST.md5,))
    (cifar,) = find_spec("cifar10").files
    assert (cifar.name, cifar.urls, cifar.md5s) == (
        datasets.CIFAR10.filename,
        (datasets.CIFAR10.url,),
        (datasets.CIFAR10.tgz_md5,),
    )
    assert cifar.unpacked_to == datasets.CIFAR10.base_folder
    meta = datasets.CIFAR10.meta
    assert [list(member) for member in cifar.members] == [
        *datasets.CIFAR10.train_list,
        *datasets.CIFAR10.test_list,
        [meta["filename"], meta["md5"]],
    ]
    for file, part in zip(find_spec("svhn").files, ("train", "test"), strict=True):
        url, name, md5 = datasets.SVHN.split_list[part]
        assert (file.name, file.urls, file.md5s) == (name, (url,), (md5,))


def test_the_set_that_is_the_default_is_what_the_catalog_says(fashion_mnist: Dataset) -> None:
    spec = find_spec("fashion-mnist")
    assert (len(fashion_mnist.train), len(fashion_mnist.test)) == (spec.n_train, spec.n_test)
    assert fashion_mnist.train.image_shape == spec.shape
    assert [int((fashion_mnist.train.labels == c).sum()) for c in range(10)] == [6000] * 10
    assert list(spec.class_names) == datasets.FashionMNIST.classes


def test_digits_are_what_the_catalog_says(digits: Dataset) -> None:
    spec = find_spec("digits")
    assert (len(digits.train), len(digits.test)) == (spec.n_train, spec.n_test)
    assert digits.train.image_shape == spec.shape


def test_emnist_has_its_47_classes() -> None:
    theirs = datasets.EMNIST.classes_split_dict["balanced"]
    assert sorted(find_spec("emnist-balanced").class_names) == sorted(theirs)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        find_spec("imagenet")
    for name in CATALOG:
        assert name in str(caught.value)
