"""What every method's classifier promises: to calibration, to files and to ONNX."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gpu_ssl import catalog
from gpu_ssl.config import SVMConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.encoders.encoder import Encoder, encode
from gpu_ssl.encoders.given import Given
from gpu_ssl.encoders.hog import HOG
from gpu_ssl.encoders.saving import describe_encoder
from gpu_ssl.errors import StorageError, UsageError
from gpu_ssl.graph import components
from gpu_ssl.methods import cnn, consistency, network
from gpu_ssl.methods.graph import GraphClassifier
from gpu_ssl.methods.graph_and_head import GraphAndHead
from gpu_ssl.methods.m2 import M2Classifier
from gpu_ssl.methods.method import Classifier, Labelled, Options, encoders_of, fit_method
from gpu_ssl.methods.saving import load_classifier, save_classifier
from gpu_ssl.methods.svm import SVMClassifier
from gpu_ssl.methods.view import View
from gpu_ssl.runtime import state
from gpu_ssl.svm._sklearn import SklearnBackend
from tests.encoders import CPU, fitted
from tests.methods import choose, view_of

METHODS = [spec.name for spec in catalog.METHODS]
STEPS = 6


@pytest.fixture(scope="module")
def encoders(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Encoder]:
    names = dict.fromkeys(name for spec in catalog.METHODS for name in encoders_of(spec, None))
    return fitted(digits.train.images, tmp_path_factory.mktemp("encoders"), *names)


@pytest.fixture(scope="module")
def labelled(digits: Dataset) -> Labelled:
    return choose(digits, 50)


@pytest.fixture(scope="module", autouse=True)
def few_steps():  # type: ignore[no-untyped-def]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "FEWEST", STEPS)
        patch.setattr(network, "PASSES", 1)
        yield


@pytest.fixture(scope="module")
def train(digits: Dataset, encoders: dict[str, Encoder]) -> View:
    return view_of(digits.train.images, encoders.values())


@pytest.fixture(scope="module")
def test(digits: Dataset, encoders: dict[str, Encoder]) -> View:
    return view_of(digits.test.images[:100], encoders.values())


@pytest.fixture(scope="module")
def classifiers(train: View, labelled: Labelled) -> dict[str, Classifier]:
    return {name: fit_method(train, labelled, Options(name)) for name in METHODS}


@pytest.fixture(params=METHODS)
def classifier(request: pytest.FixtureRequest, classifiers: dict[str, Classifier]) -> Classifier:
    return classifiers[request.param]


def test_decisions_are_for_what_is_predicted(classifier: Classifier, test: View) -> None:
    """Calibration knows the decisions only, and must not name another class."""
    decisions, classes = classifier.decisions(test), classifier.predict(test)
    assert (classes.dtype, classes.shape) == (np.int64, (100,))
    assert (decisions.dtype, decisions.shape) == (np.float32, (100, 45 if classifier.pairwise else 10))
    assert np.array_equal(classifier.winners(decisions), classes)
    if not classifier.pairwise:
        np.testing.assert_allclose(np.exp(decisions).sum(1), 1, atol=1e-4)


def test_a_classifier_says_by_whom_it_is_made(classifiers: dict[str, Classifier]) -> None:
    """Whoever reads it back needs the module; of one that chooses, that of its choice."""
    for name, classifier in classifiers.items():
        spec = catalog.method(name)
        assert (classifier.chosen is not None) == (name == "auto")
        assert classifier.method == (classifier.chosen.method if classifier.chosen else name)
        assert classifier.n_classes == 10
        assert len(classifier.curve) == (1 if spec.trains else 0)
        if spec.encoder and name != "auto":
            assert classifier.encoder.name == spec.encoder
    assert classifiers["consistency"].encoder.name == classifiers["cnn"].encoder.name == "network+hog"


def test_a_classifier_that_is_read_back_answers_the_same(
    classifier: Classifier, test: View, tmp_path: Path
) -> None:
    """Tensors and JSON, with the encoder: nothing else is needed."""
    save_classifier(tmp_path / "c.json", classifier)
    read = load_classifier(tmp_path / "c.json", SklearnBackend(), CPU)
    assert type(read) is type(classifier)
    assert (read.method, read.n_classes, read.pairwise) == (
        classifier.method,
        classifier.n_classes,
        classifier.pairwise,
    )
    assert read.encoder.name == classifier.encoder.name
    view = view_of(test.pixels, [read.encoder])
    # A network as it was trained is not saved in the layout that its convolutions are fastest in.
    np.testing.assert_allclose(read.decisions(view), classifier.decisions(test), rtol=1e-4, atol=2e-5)
    assert np.mean(read.predict(view) == classifier.predict(test)) >= 0.99
    assert not list(tmp_path.glob("*.pkl"))


def test_a_module_decides_as_the_classifier_does(classifier: Classifier, test: View) -> None:
    """It is what ONNX gets."""
    features = encode(classifier.encoder, torch.from_numpy(test.pixels))
    with torch.no_grad():
        decisions = classifier.module()(features.contiguous())
    np.testing.assert_allclose(decisions, classifier.decisions(test), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["hybrid", "graph", "consistency", "m2", "m1m2", "cnn"])
def test_the_same_seed_gives_the_same_decisions_and_another_others(
    classifiers: dict[str, Classifier], train: View, test: View, labelled: Labelled, name: str
) -> None:
    decisions = classifiers[name].decisions(test)
    assert np.array_equal(fit_method(train, labelled, Options(name)).decisions(test), decisions)
    other = fit_method(train, labelled, Options(name, seed=1)).decisions(test)
    assert np.array_equal(other, decisions) == (not catalog.method(name).trains)


DAMAGES = {
    "no encoder": lambda found: found.pop("encoder"),
    "another method": lambda found: found["classifier"].update(method="nonesuch"),
    "another encoder": lambda found: found["encoder"]["parts"][0].update(name="nonesuch"),
    "no settings": lambda found: found.update(classifier={"method": found["classifier"]["method"]}),
    "another size": lambda found: found["encoder"].update(image_shape=[1, 28, 28]),
}


REFUSED = "is damaged: |is not of this version: |and its tensors do not fit together: "


def sign(path: Path, found: dict[str, Any]) -> None:
    """Write a changed file with the hash that it should have: somebody may have changed both."""
    content = {name: value for name, value in found.items() if name != "sha256"}
    path.write_text(json.dumps({**content, "sha256": state.digest_of(content)}))


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", ["hybrid", "graph", "m2"])
def test_a_file_that_holds_no_classifier_is_refused(
    classifiers: dict[str, Classifier],
    tmp_path: Path,
    name: str,
    damage,  # type: ignore[no-untyped-def]
) -> None:
    """In one line that names the file, and not by wrong answers."""
    path = tmp_path / "c.json"
    save_classifier(path, classifiers[name])
    found = json.loads(path.read_text())
    damage(found)
    sign(path, found)
    with pytest.raises(StorageError, match=REFUSED) as error:
        load_classifier(path, SklearnBackend(), CPU)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("hybrid", {"n_support": [1] * 9}),
        ("hybrid", {"kernel": {"name": "nonesuch", "gamma": 1.0, "degree": 3, "coef0": 0.0}}),
        ("hybrid", {"kernel": {"name": "rbf", "gamma": -1.0, "degree": 3, "coef0": 0.0}}),
        ("graph", {"k": "many"}),
        ("m2", {"spec": None}),
    ],
)
def test_settings_that_cannot_be_are_refused(
    classifiers: dict[str, Classifier], tmp_path: Path, name: str, change: dict[str, object]
) -> None:
    path = tmp_path / "c.json"
    save_classifier(path, classifiers[name])
    found = json.loads(path.read_text())
    found["classifier"].update(change)
    sign(path, found)
    with pytest.raises(StorageError, match=REFUSED):
        load_classifier(path, SklearnBackend(), CPU)


@pytest.mark.parametrize("name", ["raw-svc", "graph", "m2"])
def test_a_classifier_of_other_features_is_refused(
    train: View, labelled: Labelled, tmp_path: Path, name: str
) -> None:
    """Support vectors, points and inputs have the width of the features: 64 of pixels, 324 of HOG."""
    classifier = fit_method(train, labelled, Options(name, encoder="pixels"))
    assert classifier.encoder.name == "pixels"
    path = tmp_path / "c.json"
    save_classifier(path, classifier)
    found = json.loads(path.read_text())
    found["encoder"] = describe_encoder(HOG((1, 8, 8)))
    sign(path, found)
    with pytest.raises(StorageError, match=r"its tensors do not fit together: .*(64|324)"):
        load_classifier(path, SklearnBackend(), CPU)


def test_the_svm_takes_its_settings(train: View, test: View, labelled: Labelled) -> None:
    fit = [
        fit_method(train, labelled, Options("raw-svc", svm=svm))
        for svm in (SVMConfig(), SVMConfig(gamma=0.01), SVMConfig(C=0.1))
    ]
    assert all(isinstance(classifier, SVMClassifier) for classifier in fit)
    kernels = [classifier.model.kernel.gamma for classifier in fit if isinstance(classifier, SVMClassifier)]
    points = train.points(train.encoder("pixels"), labelled.rows)
    assert kernels[0] == kernels[2] == pytest.approx(1 / (64 * points.var(dtype=np.float64)))
    assert kernels[1] == 0.01
    decisions = [classifier.decisions(test) for classifier in fit]
    assert not np.array_equal(decisions[0], decisions[1])
    assert not np.array_equal(decisions[0], decisions[2])


def test_labels_spread_less_far_where_they_are_many(
    train: View, labelled: Labelled, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpu_ssl.graph.propagation import NeighbourGraph

    told: list[float] = []
    honest = NeighbourGraph.spread
    monkeypatch.setattr(
        NeighbourGraph,
        "spread",
        lambda graph, labels, alpha: told.append(alpha) or honest(graph, labels, alpha),
    )
    for n in (50, 590, 600):
        classifier = fit_method(train, choose(digits, n), Options("graph"))
        assert isinstance(classifier, GraphClassifier)
        assert classifier.probabilities.shape == (1347, 10)
    assert told == [0.97, 0.97, 0.9]


def test_methods_take_the_encoder_asked_for_where_they_are_free(encoders: dict[str, Encoder]) -> None:
    """The others are made for theirs, and say so; a baseline stays what it is."""
    by_name = {spec.name: encoders_of(spec, None) for spec in catalog.METHODS}
    assert by_name["m1"] == ("vae",)
    assert by_name["auto"] == ("vae+hog",)
    assert (by_name["consistency"], by_name["cnn"]) == (("vae+hog",), ())
    assert by_name["m1m2"] == ("vae",)
    assert by_name["m2"] == ("pixels", "vae")
    # As published they have no teacher.
    assert encoders_of(catalog.method("m2"), None, "paper") == ("pixels",)
    assert Options("m2", preset="paper").teacher_name == Options("m1m2", preset="paper").teacher_name == ""
    assert Options("consistency", preset="paper").teacher_name == "vae+hog"
    for spec in catalog.METHODS:
        own = Options(spec.name)
        asked = replace(own, encoder="pca")
        if spec.free:
            assert encoders_of(spec, "pca") == ("pca",)
            assert (asked.encoder_name, asked.teacher_name) == ("pca", "pca")
        else:
            assert (asked.encoder_name, asked.teacher_name) == (own.encoder_name, own.teacher_name)
            if spec.baseline:
                assert encoders_of(spec, "pca") == by_name[spec.name]
            else:
                with pytest.raises(UsageError, match=rf"{spec.name} works on .* not on `encoder=pca`; .*svm"):
                    encoders_of(spec, "pca")


def test_a_networks_teacher_is_the_graph_of_the_encoder_asked_for(
    train: View, test: View, labelled: Labelled
) -> None:
    own = fit_method(train, labelled, Options("consistency"))
    other = fit_method(train, labelled, Options("consistency", encoder="pca"))
    assert other.encoder.name == "network+hog"
    assert not np.array_equal(own.decisions(test), other.decisions(test))


def test_a_network_of_rows_of_numbers_has_no_hog_beside_it(digits: Dataset, labelled: Labelled) -> None:
    view = view_of(digits.train.images.reshape(-1, 1, 1, 64))
    classifier = fit_method(view, labelled, Options("cnn"))
    assert classifier.encoder.name == "network"
    assert classifier.encoder.width == classifier.encoder.parts[0].width
    # 64 numbers in a row, and not 8 x 8 pixels: worse, but no chance.
    assert np.mean(classifier.predict(view) == digits.train.labels) > 0.18


def test_m1m2_needs_a_vae(train: View, labelled: Labelled, encoders: dict[str, Encoder]) -> None:
    view = view_of(train.pixels, [])
    view.encoders = {"vae": encoders["pca"]}
    with pytest.raises(UsageError, match="the method m1m2 needs a VAE, not the encoder pca"):
        fit_method(view, labelled, Options("m1m2"))


@pytest.mark.parametrize("name", ["m2", "m1m2"])
def test_m2_shows_a_class_in_each_row(classifiers: dict[str, Classifier], test: View, name: str) -> None:
    classifier = classifiers[name]
    assert isinstance(classifier, M2Classifier)
    samples, analogies = classifier.exhibits(test)
    assert (samples.name, analogies.name) == (f"{name}-samples", f"{name}-analogies")
    assert (len(samples.rows), len(analogies.rows)) == (10, 11)
    for row in (*samples.rows, *analogies.rows):
        assert row.shape == (10, 1, 8, 8)
        assert (row >= 0).all()
        assert (row <= 1).all()
    np.testing.assert_array_equal(analogies.rows[0], test.pixels[:10].astype(np.float32) / 255)
    assert len(classifier.exhibits(test.subset(np.arange(3)))[1].rows[0]) == 3
    # A class looks unlike the others, the z being the same.
    assert np.abs(samples.rows[0] - samples.rows[1]).max() > 0.005


def test_m2_takes_an_image_and_its_mirror_image_alike(
    digits: Dataset, encoders: dict[str, Encoder], labelled: Labelled
) -> None:
    """Where they are of the same class; of digits they are not, and nothing is averaged."""
    views = [
        view_of(images, encoders.values())
        for images in (digits.train.images, digits.test.images, digits.test.images[..., ::-1].copy())
    ]
    plain = fit_method(views[0], labelled, Options("m2"))
    assert np.abs(plain.decisions(views[1]) - plain.decisions(views[2])).max() > 1e-3
    views[0].mirror = True
    mirrored = fit_method(views[0], labelled, Options("m2"))
    assert mirrored.settings()["mirror"]
    np.testing.assert_allclose(mirrored.decisions(views[1]), mirrored.decisions(views[2]), atol=1e-4)


def test_other_methods_have_no_pictures(classifiers: dict[str, Classifier], test: View) -> None:
    for name, classifier in classifiers.items():
        if name not in ("m2", "m1m2"):
            assert classifier.exhibits(test) == []


def test_the_networks_differ_in_what_they_minimize_alone() -> None:
    """`cnn` measures the gain of unlabelled images: the same network, and as many steps."""
    assert consistency.STEPS == cnn.STEPS


def test_the_labels_decide_what_answers_on_the_networks_features(
    train: View, test: View, labelled: Labelled, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each is read back as what it is."""
    more = labelled.per_class + 1
    for some, many, kind in (
        (0, labelled.per_class, SVMClassifier),
        (labelled.per_class, more, GraphAndHead),
        (more, more, GraphClassifier),
    ):
        monkeypatch.setattr(consistency, "SOME", some)
        monkeypatch.setattr(consistency, "MANY", many)
        classifier = fit_method(train, labelled, Options("consistency"))
        assert type(classifier) is kind
        save_classifier(tmp_path / "c.json", classifier)
        read = load_classifier(tmp_path / "c.json", SklearnBackend(), CPU)
        assert type(read) is kind
        np.testing.assert_array_equal(read.predict(test), classifier.predict(test))


def test_a_graph_of_components_answers_the_same_from_disk_and_as_a_module(
    train: View, test: View, labelled: Labelled, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(components, "MANY", 100)
    monkeypatch.setattr(components, "N_COMPONENTS", 32)
    fresh = train.subset(np.arange(len(train)))
    classifier = fit_method(fresh, labelled, Options("graph"))
    assert classifier.tensors()["points"].shape == (len(train), 32)
    save_classifier(tmp_path / "c.json", classifier)
    read = load_classifier(tmp_path / "c.json", SklearnBackend(), CPU)
    np.testing.assert_array_equal(read.decisions(test), classifier.decisions(test))
    with torch.no_grad():
        told = read.module()(test.features(classifier.encoder))
    np.testing.assert_allclose(told, classifier.decisions(test), atol=1e-3)
    whole = fit_method(train, labelled, Options("graph"))
    assert (whole.predict(test) == classifier.predict(test)).mean() > 0.9


def test_a_graph_far_from_the_origin_is_the_same_as_a_module(digits: Dataset) -> None:
    """An ONNX file has the module, and embeddings may have a large mean."""
    rows = digits.train.images.reshape(-1, 1, 1, 64).astype(np.float32) / 16 + 3000
    view = view_of(rows, [Given((1, 1, 64))])
    classifier = fit_method(view, choose(digits, 100), Options("graph", encoder="given"))
    with torch.no_grad():
        told = classifier.module()(view.features(classifier.encoder))
    np.testing.assert_array_equal(told.argmax(1), classifier.predict(view))


def test_a_graph_with_an_outlier_is_the_same_as_a_module(digits: Dataset) -> None:
    """An outlier moves the mean, and float32 squares of large coordinates lose precision."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(10, 32))[digits.train.labels[:400]]
    rows = (centres + 1e-4 * rng.normal(size=centres.shape)).astype(np.float32)
    rows[-1] += 1e6
    view = view_of(rows.reshape(-1, 1, 1, 32), [Given((1, 1, 32))])
    chosen = np.arange(100)
    classifier = fit_method(
        view, Labelled(chosen, digits.train.labels[chosen]), Options("graph", encoder="given")
    )
    with torch.no_grad():
        told = classifier.module()(view.features(classifier.encoder))
    np.testing.assert_allclose(told[:-1].exp(), np.exp(classifier.decisions(view))[:-1], atol=1e-3)


def test_the_graph_of_a_trained_network_is_not_kept(train: View, labelled: Labelled) -> None:
    """Every choice of labels has its own network; their graphs would fill the memory."""
    before = len(train._graphs)
    fit_method(train, labelled, Options("consistency"))
    fit_method(train, labelled, replace(Options("consistency"), seed=1))
    assert len(train._graphs) <= before + 1  # the teacher's
