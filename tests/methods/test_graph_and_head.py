"""A graph and the heads of networks: both count, and stay on the device."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.encoders.hog import HOG
from gpu_ssl.encoders.network import NetworkFeatures
from gpu_ssl.encoders.sums import Sum
from gpu_ssl.errors import StorageError
from gpu_ssl.methods import graph, graph_and_head
from gpu_ssl.methods import view as view_module
from gpu_ssl.methods.graph_and_head import GraphAndHead, Head, head_of
from gpu_ssl.methods.method import Options
from gpu_ssl.methods.saving import load_classifier, save_classifier
from gpu_ssl.networks.classifier import ClassifierNetwork
from gpu_ssl.svm._sklearn import SklearnBackend
from gpu_ssl.training.optimizers import build
from tests.graph.on_device import DeviceGraphBackend
from tests.methods import choose, view_of
from tests.methods.test_residency import Backend, values_counted

CPU = torch.device("cpu")
SHAPE = (1, 8, 8)
N = 200


def network(seed: int) -> NetworkFeatures:
    return NetworkFeatures(build(lambda: ClassifierNetwork(SHAPE, 10), CPU, seed).eval(), mirror=False)


def encoder_of(n_networks: int, with_hog: bool) -> Encoder:
    networks: list[Encoder] = [network(seed) for seed in range(n_networks)]
    if n_networks == 1 and not with_hog:
        return networks[0]
    parts = [*networks, HOG(SHAPE)] if with_hog else networks
    return Sum(parts, [0.5 + number for number in range(len(parts))])


@pytest.mark.parametrize(("n_networks", "with_hog"), [(1, False), (1, True), (3, True), (2, False)])
def test_the_head_gives_the_mean_logits_of_the_networks(
    digits: Dataset, n_networks: int, with_hog: bool
) -> None:
    encoder = encoder_of(n_networks, with_hog)
    images = torch.from_numpy(digits.train.images[:9])
    head = head_of(encoder)
    with torch.no_grad():
        found = encoder(images) @ head.weight.T + head.bias
        expected = torch.stack([network(seed).network(images / 255) for seed in range(n_networks)]).mean(0)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_both_count_by_their_weight(digits: Dataset) -> None:
    """In logarithms: an image is of a class if neither finds it unlikely."""
    encoder, labelled = encoder_of(2, True), choose(digits, 50)
    train, test = (view_of(pixels, [encoder]) for pixels in (digits.train.images, digits.test.images[:N]))
    classifier = graph_and_head.fit_on(encoder, train, labelled, Options("consistency"))
    spread = graph.fit_on(encoder, train, labelled, Options("consistency")).decisions(test)
    head = head_of(encoder)
    logits = (test.features(encoder) @ head.weight.T + head.bias).log_softmax(dim=1)
    expected = (0.7 * torch.from_numpy(spread) + 0.3 * logits).log_softmax(dim=1).numpy()
    np.testing.assert_allclose(classifier.decisions(test), expected, atol=1e-4)
    assert np.array_equal(classifier.predict(test), expected.argmax(1))
    assert not np.allclose(expected, spread, atol=0.1)
    with torch.no_grad():
        exported = classifier.module()(test.features(encoder))
    np.testing.assert_allclose(exported.numpy(), expected, atol=1e-3)


def test_a_head_that_does_not_fit_the_features_is_refused(digits: Dataset, tmp_path: Path) -> None:
    encoder, labelled = encoder_of(1, True), choose(digits, 50)
    train = view_of(digits.train.images, [encoder])
    classifier = graph_and_head.fit_on(encoder, train, labelled, Options("consistency"))
    save_classifier(tmp_path / "c.json", GraphAndHead(classifier.spread, Head(np.ones((10, 3)), np.ones(10))))
    with pytest.raises(StorageError, match=r"c\.json"):
        load_classifier(tmp_path / "c.json", SklearnBackend(), CPU)


def test_only_predictions_come_to_the_host(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the device of array-api-strict, as in test_residency; and they are those of NumPy."""
    encoder, labelled, options = encoder_of(1, True), choose(digits, 50), Options("consistency")
    pixels = digits.train.images, digits.test.images[:N]
    train, test = (view_of(images, [encoder]) for images in pixels)
    expected = graph_and_head.fit_on(encoder, train, labelled, options).decisions(test)
    backend = Backend()
    monkeypatch.setattr(view_module, "graph_backend", lambda name: DeviceGraphBackend())
    train, test = (view_of(images, [encoder], backend) for images in pixels)
    classifier = graph_and_head.fit_on(encoder, train, labelled, options)
    assert backend.came == []
    with values_counted() as asked:
        classes, decisions = classifier.predict(test), classifier.decisions(test)
    assert asked == []
    assert backend.came == [(N,), (N, 10)]
    np.testing.assert_allclose(decisions, expected, atol=1e-4)
    assert np.array_equal(classes, expected.argmax(1))
