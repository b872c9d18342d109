"""Pretrained networks: the published ones, found by name; they get their weights or say why not."""

import copy
import functools
import hashlib
import http.server
import importlib.util
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from gpu_ssl.encoders import backbones, pretrained
from gpu_ssl.encoders.backbones import (
    build_backbone,
    efficientnet_lite0,
    load_backbone,
    of_timm,
    of_torchvision,
    weights,
)
from gpu_ssl.encoders.backbones.weights import NoWeightsError, find_or_fetch, read_weights
from gpu_ssl.encoders.pretrained import usual_at_hand
from gpu_ssl.errors import StorageError, UsageError
from gpu_ssl.runtime.optional import install_advice
from gpu_ssl.runtime.progress import SILENT

CONTENT = bytes(range(256)) * 10_000
"""Of a file to fetch: 2.5 MB, which come in several blocks."""


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Redirect our cache and torch's to the test's folder, and return the folder of weights."""
    monkeypatch.setenv("GPU_SSL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "cache" / "weights"
    folder.mkdir(parents=True)
    return folder


def photographs(side: int) -> Tensor:
    """Return four real images (4, 3, side, side), roughly standardized."""
    pictures = []
    for photograph in load_sample_images().images:
        picture = Image.fromarray(photograph)
        for part in ((0, 0, 400, 400), (200, 20, 500, 320)):
            pixels = torch.from_numpy(_array(picture.crop(part).resize((side, side))))
            pictures.append(pixels.permute(2, 0, 1) / 127.5 - 1)
    return torch.stack(pictures)


def _array(picture: Image.Image) -> Any:
    import numpy as np

    return np.asarray(picture).copy()


# --- EfficientNet-Lite0


def authors_network(side: int) -> nn.Module:
    from efficientnet_lite_pytorch import EfficientNet

    network: nn.Module = EfficientNet.from_name("efficientnet-lite0", image_size=side)
    network.load_state_dict(torch.load(lite0_file(), weights_only=True))
    return network.eval()


def lite0_file() -> Path:
    spec = importlib.util.find_spec(efficientnet_lite0.PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / efficientnet_lite0.FILE


@pytest.mark.parametrize("side", [224, 97])
@torch.no_grad()
def test_efficientnet_lite0_gives_what_the_authors_network_gives(side: int) -> None:
    """At its own size, and at an odd one, where more is padded on one side than on the other."""
    theirs = authors_network(side)
    images = photographs(side)
    expected = theirs._avg_pooling(theirs.extract_features(images)).flatten(1)  # type: ignore[operator]
    ours, _ = load_backbone(f"efficientnet_lite0@{side}")
    assert (ours.side, ours.width) == (side, 1280)
    features = ours.network(images)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)
    assert features.std() > 0.1  # and not zeros, say
    # Its weights are those of a network that tells pictures apart: it is at home at its own size.
    if side == efficientnet_lite0.SIDE:
        torch.testing.assert_close(theirs._fc(features), theirs(images), rtol=1e-3, atol=1e-3)  # type: ignore[operator]


def test_images_are_standardized_as_the_authors_do() -> None:
    """They subtract 127 from levels of grey, and divide by 128."""
    backbone = build_backbone("efficientnet_lite0")
    level = torch.tensor([0.0, 127.0, 255.0])
    standardized = (level / 255 - backbone.mean[0]) / backbone.std[0]
    torch.testing.assert_close(standardized, (level - 127) / 128)


@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_another_file_than_the_known_one_is_refused(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package of the same name may hold anything; what is not known is not even opened."""
    content = bytearray(lite0_file().read_bytes())
    assert hashlib.sha256(content).hexdigest() == efficientnet_lite0.SHA256
    content[len(content) // 2] ^= 1
    package = tmp_path / "site" / efficientnet_lite0.PACKAGE
    path = package / efficientnet_lite0.FILE
    path.parent.mkdir(parents=True)
    (package / "__init__.py").touch()
    if damage != "gone":
        path.write_bytes(content if damage == "changed" else content[:1000])
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(
        NoWeightsError, match=r"differs from the published file; reinstall the package"
    ) as told:
        load_backbone("efficientnet_lite0")
    assert str(path) in str(told.value)


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite0, "find_spec", lambda name: None)
    with pytest.raises(NoWeightsError, match=re.escape(f"{install_advice('efficientnet-lite0')}")):
        load_backbone("efficientnet_lite0")


# --- torchvision


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("resnet18", 512),
        ("convnext_tiny", 768),
        ("vit_b_16", 768),
        ("swin_t", 768),
        ("mobilenet_v3_small", 1024),
        ("efficientnet_b0", 1280),
        ("vgg11", 4096),
    ],
)
def test_networks_of_torchvision_lose_their_last_layer(name: str, width: int) -> None:
    """The one that tells the classes apart and nothing before it, whatever it is called."""
    with torch.device("meta"):  # no weights are made up
        backbone = build_backbone(name)
        whole = torchvision.models.get_model(name)
        images = torch.empty(2, 3, backbone.side, backbone.side)
        assert backbone.network(images).shape == (2, width)
    assert (backbone.name, backbone.width, backbone.side) == (name, width, 224)
    assert not any(module.training for module in backbone.network.modules())
    lost = {key for key in whole.state_dict() if key not in backbone.network.state_dict()}
    assert {key.rpartition(".")[2] for key in lost} == {"weight", "bias"}
    assert len({key.rpartition(".")[0] for key in lost}) == 1
    assert backbone.mean == pytest.approx((0.485, 0.456, 0.406))
    assert "torchvision" in backbone.source
    assert "https://download.pytorch.org/models/" in backbone.source
    assert backbone.licence


def test_every_name_of_torchvision_has_weights_whose_hash_is_known() -> None:
    """The name of the file holds it; without it a fetched file could not be checked."""
    for name in of_torchvision.names():
        file = torchvision.models.get_model_weights(name).DEFAULT.url
        assert len(file.rpartition("-")[2].partition(".")[0]) >= 8, file
        int(file.rpartition("-")[2].partition(".")[0], 16)


def test_a_licence_that_torchvision_states_is_told() -> None:
    """Those of SWAG are not for commerce."""
    with torch.device("meta"):
        backbone = build_backbone("vit_h_14")
    assert "SWAG" in backbone.licence
    assert backbone.side == 518  # and not the 224 of the code without weights


def published(name: str, folder: Path, rename: Any = None) -> tuple[nn.Module, Tensor]:
    """Make up a network, and write its weights as torchvision publishes them.

    Also return features of the layer before the last of what torchvision makes of that file, for some images.
    """
    entry = torchvision.models.get_model_weights(name).DEFAULT
    options = {"init_weights": False} if name in of_torchvision.SETTINGS else {}
    state = torchvision.models.get_model(name, **options).state_dict()
    for key, value in state.items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif key.endswith("running_mean"):
            value.normal_(0, 0.1)
    file = copy.copy(state)
    for key in list(file):
        file[key if rename is None else rename(key)] = file.pop(key)
    torch.save(file, folder / Path(entry.url).name)
    seen: list[Tensor] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(entry), "get_state_dict", lambda *_, **__: state)
        network = torchvision.models.get_model(name, weights=entry).eval()
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        network(photographs(entry.transforms().crop_size[0])[:1])
    return network, seen[0]


def old_name(key: str) -> str:
    """Call layers as the files of DenseNets do."""
    for layer in ("norm", "conv"):
        for number in "12":
            key = key.replace(f".{layer}{number}.", f".{layer}.{number}.")
    return key


@pytest.mark.parametrize(
    ("name", "rename"),
    [
        ("resnet18", None),
        ("mobilenet_v3_small", None),
        ("shufflenet_v2_x0_5", None),
        ("googlenet", None),
        ("mnasnet0_5", None),
        ("densenet121", old_name),
    ],
)
def test_weights_of_torchvision_give_the_features_of_its_own_network(
    name: str, rename: Any, places: Path
) -> None:
    """Also of those that standardize images again, check versions, or have files with old names."""
    torch.manual_seed(0)
    _, expected = published(name, places, rename)
    backbone, why = load_backbone(name, fetch=False)
    assert why == "requested"
    with torch.no_grad():
        features = backbone.network(photographs(backbone.side)[:1])
    assert torch.equal(features, expected)


def test_what_torch_has_fetched_is_taken_too(places: Path, tmp_path: Path) -> None:
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    published("mobilenet_v3_small", folder)
    load_backbone("mobilenet_v3_small", fetch=False)
    assert not list(places.iterdir())


def test_a_transformer_of_torchvision_takes_another_side(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its positions are interpolated, as torchvision itself does."""
    entry = torchvision.models.ViT_B_16_Weights.DEFAULT
    small = functools.partial(
        torchvision.models.VisionTransformer,
        patch_size=16,
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        mlp_dim=8,
    )
    monkeypatch.setattr(
        torchvision.models,
        "get_model",
        lambda name, weights, image_size: small(image_size=image_size),
    )
    state = small(image_size=224).state_dict()
    state["encoder.pos_embedding"].normal_()
    torch.save(state, places / Path(entry.url).name)
    backbone, _ = load_backbone("vit_b_16@96", fetch=False)
    assert (backbone.name, backbone.side, backbone.width) == ("vit_b_16@96", 96, 8)
    positions = backbone.network.state_dict()["encoder.pos_embedding"]
    assert positions.shape == (1, 1 + 6 * 6, 8)
    own = state["encoder.pos_embedding"]
    torch.testing.assert_close(positions[:, 0], own[:, 0])
    for ours, theirs in ((1, 1), (6, 14), (31, 183), (36, 196)):  # the corners stay corners
        torch.testing.assert_close(positions[:, ours], own[:, theirs])
    own_side, _ = load_backbone("vit_b_16", fetch=False)
    assert torch.equal(own_side.network.state_dict()["encoder.pos_embedding"], own)


@pytest.mark.parametrize("content", [b"", b"no weights", "network", "numbers"])
def test_a_file_that_holds_other_things_is_one_error(content: bytes | str, places: Path) -> None:
    """It was saved under a wrong name, or what was saved was an error page."""
    path = places / Path(torchvision.models.ResNet18_Weights.DEFAULT.url).name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(
            torchvision.models.get_model("shufflenet_v2_x0_5").state_dict()
            if content == "network"
            else {"conv1.weight": 3},
            path,
        )
    with pytest.raises(StorageError) as told:
        load_backbone("resnet18")
    message = str(told.value)
    assert message.startswith(f"{path} ")
    assert message.endswith("delete it, and it will be fetched again")
    assert "\n" not in message


def test_a_pickled_function_is_not_called(places: Path) -> None:
    path = places / "evil.pth"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (path.with_name("called"),))

    torch.save({"weight": Evil()}, path)
    with pytest.raises(StorageError, match="holds no weights"):
        read_weights(path)
    assert not path.with_name("called").exists()


# --- timm


def test_names_of_timm_are_with_and_without_their_tag() -> None:
    plain, tagged = (build_backbone(name) for name in ("resnet10t", "resnet10t.c3_in1k"))
    assert (plain.name, tagged.name) == ("resnet10t", "resnet10t.c3_in1k")
    assert plain.source == tagged.source == "timm/resnet10t.c3_in1k, by timm"
    assert plain.licence == "apache-2.0"
    assert (plain.width, plain.side, plain.mean) == (512, 176, pytest.approx((0.485, 0.456, 0.406)))


def test_names_of_both_libraries_are_those_of_torchvision() -> None:
    """A name must mean one network, whether timm is installed or not; a tag makes it timm's."""
    with torch.device("meta"):
        assert "torchvision" in build_backbone("resnet18").source
        assert "timm" in build_backbone("resnet18.a1_in1k").source


def test_the_width_is_that_of_the_features() -> None:
    """timm's `num_features` is another for networks with a layer between pooling and the classes."""
    with torch.device("meta"):
        network = build_backbone("mobilenetv3_small_050")
        assert network.network(torch.empty(2, 3, 224, 224)).shape == (2, network.width)


@pytest.mark.parametrize(
    ("name", "side"),
    [("vit_tiny_patch16_224", 224), ("vit_tiny_patch16_224@96", 96), ("resnet10t@64", 64)],
)
def test_weights_of_timm_are_found_where_a_fetched_file_lies(name: str, side: int, places: Path) -> None:
    """And are made to fit another side as timm does."""
    torch.manual_seed(0)
    plain = name.partition("@")[0]
    source = timm.create_model(plain)
    safetensors.torch.save_file(source.state_dict(), places / f"{plain}.safetensors")
    backbone, _ = load_backbone(name, fetch=False)
    assert (backbone.name, backbone.side) == (name, side)
    images = photographs(side)[:2]
    if "vit" in name and side != 224:
        resized = timm.create_model(plain, img_size=side, num_classes=0)
        resized.load_state_dict(
            timm.models.vision_transformer.checkpoint_filter_fn(
                {key: value for key, value in source.state_dict().items() if not key.startswith("head.")},
                resized,
            )
        )
        source = resized
    else:
        source.reset_classifier(0)
    with torch.no_grad():
        torch.testing.assert_close(backbone.network(images), source.eval()(images))


def test_a_file_of_another_network_of_timm_is_one_error(places: Path) -> None:
    path = places / "resnet10t.safetensors"
    safetensors.torch.save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(StorageError, match="does not hold the weights of this network"):
        load_backbone("resnet10t")
    path.write_bytes(b"<html>404</html>")
    with pytest.raises(StorageError, match="does not hold the weights of this network"):
        load_backbone("resnet10t")


@pytest.fixture
def without_timm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(of_timm, "find_spec", lambda name: None)
    of_timm.names.cache_clear()
    yield
    of_timm.names.cache_clear()


def test_without_timm_its_names_come_with_how_to_install_it(without_timm: None) -> None:
    with pytest.raises(UsageError, match=re.escape(f"timm has more: {install_advice('pretrained')}")):
        build_backbone("vit_tiny_patch16_224")
    with torch.device("meta"):
        assert build_backbone("resnet18").width == 512
    backbone, why = load_backbone("", fetch=False)
    assert backbone.name == "efficientnet_lite0"
    assert f"timm is not installed ({install_advice('pretrained')})" in why


def test_a_refused_name_is_not_suggested(without_timm: None) -> None:
    dinov2 = backbones.USUAL[0].partition("@")[0]
    with pytest.raises(UsageError) as told:
        build_backbone(dinov2)
    assert str(told.value).count(dinov2) == 1
    assert "timm has more" in str(told.value)


def test_without_timm_and_weights_the_message_is_short(
    without_timm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(efficientnet_lite0, "find_spec", lambda name: None)
    with pytest.raises(NoWeightsError) as told:
        load_backbone("", fetch=False)
    message = str(told.value)
    assert message.startswith(
        "no pretrained network is available: vit_small_patch14_dinov2.lvd142m@224: timm is"
    )
    assert "no such network" not in message
    assert len(message) < 600


# --- names and sides


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("resnet-50", "resnet50"),
        ("convnexttiny", "convnext_tiny"),
        ("efficientnet_lite", "efficientnet_lite0"),
        ("vit_small_patch14_dinov", "vit_small_patch14_dinov2"),
        ("DINOv3", "dinov3"),
        ("zzzzzz", "vit_small_patch14_dinov2.lvd142m@224"),
    ],
)
def test_of_an_unknown_name_those_like_it_are_told(name: str, like: str) -> None:
    with pytest.raises(UsageError) as told:
        build_backbone(name)
    message = str(told.value)
    assert message.startswith(f"`encoder=pretrained:{name}`: there is no such network; did you mean ")
    assert like in message
    assert "networks of torchvision and timm" in message
    assert "\n" not in message


@pytest.mark.parametrize("side", ["", "x", "0", "-3", "1.5", "64@64", "²", "4096", "9" * 5000])
def test_a_side_is_a_number_of_pixels(side: str) -> None:
    with pytest.raises(UsageError, match="expected a number of pixels after the @, such as 224"):
        build_backbone(f"efficientnet_lite0@{side}")


@pytest.mark.parametrize(
    "name",
    ["vit_b_16@97", "maxvit_t@96", "vit_tiny_patch16_224@5", "squeezenet1_0", "inception_v3@30"],
)
def test_what_a_network_cannot_see_is_one_error(name: str) -> None:
    """And it is reported before any image is decoded."""
    with torch.device("meta"), pytest.raises(UsageError) as told:
        build_backbone(name)
    assert str(told.value).startswith(f"`encoder=pretrained:{name}` cannot be built: ")
    assert "\n" not in str(told.value)


def test_its_own_side_is_no_other_name() -> None:
    """The same features are found again in the cache, whichever way they are asked for."""
    assert build_backbone("efficientnet_lite0@224").name == "efficientnet_lite0"
    assert build_backbone("efficientnet_lite0@64").name == "efficientnet_lite0@64"


# --- the usual


def test_without_a_name_the_first_at_hand_is_taken_and_why_not_the_others() -> None:
    backbone, why = load_backbone("", fetch=False)
    assert backbone.name == "efficientnet_lite0"
    assert why == (
        "the first with available weights; vit_small_patch14_dinov2.lvd142m@224: the weights "
        "vit_small_patch14_dinov2.lvd142m.safetensors are not available locally; efficientnet_b0: the "
        "weights efficientnet_b0_rwightman-7f5810bc.pth are not available locally"
    )
    assert usual_at_hand() == ("pretrained:efficientnet_lite0",)


def test_networks_whose_files_are_missing_are_not_even_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing torchvision and timm takes a second of every fit."""
    made: list[str] = []
    honest = pretrained.load_backbone

    def watched(name: str, *, fetch: bool) -> object:
        made.append(name)
        return honest(name, fetch=fetch)

    monkeypatch.setattr(pretrained, "load_backbone", watched)
    assert usual_at_hand() == ("pretrained:efficientnet_lite0",)
    assert made == ["efficientnet_lite0"]


def test_a_better_one_at_hand_is_taken_before(places: Path) -> None:
    published("efficientnet_b0", places)
    assert load_backbone("", fetch=False)[0].name == "efficientnet_b0"
    assert usual_at_hand() == ("pretrained:efficientnet_b0",)


def test_where_there_is_none_at_all_each_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite0, "find_spec", lambda name: None)
    with pytest.raises(NoWeightsError) as told:
        load_backbone("", fetch=False)
    assert all(f"{name}: " in str(told.value) for name in backbones.USUAL)
    assert install_advice("efficientnet-lite0") in str(told.value)
    assert usual_at_hand() == ()


# --- fetching


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/silent":
            time.sleep(3)
            return
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/whole")
            self.end_headers()
            return
        self.send_response(200)
        if self.path != "/unsized":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:1_500_000] if self.path == "/cut" else CONTENT)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


@pytest.mark.parametrize("page", ["whole", "moved", "unsized"])
def test_a_file_is_fetched_whole_and_into_its_place(page: str, server: str, places: Path) -> None:
    known = hashlib.sha256(CONTENT).hexdigest()[:8]
    path = find_or_fetch(f"{server}/{page}", "file.pth", sha256=known)
    assert path == places / "file.pth"
    assert path.read_bytes() == CONTENT
    assert list(places.iterdir()) == [path]
    # And from then on is available.
    assert find_or_fetch("http://nowhere.invalid/", "file.pth", fetch=False) == path


def test_a_file_url_will_do(tmp_path: Path, places: Path) -> None:
    (tmp_path / "a b.pth").write_bytes(CONTENT)
    path = find_or_fetch((tmp_path / "a b.pth").as_uri(), "file.pth")
    assert (path, path.read_bytes()) == (places / "file.pth", CONTENT)


@pytest.mark.parametrize(
    ("page", "sha256", "reason"),
    [
        ("whole", "0123", "its SHA-256 does not begin with 0123, so it is not the published file"),
        ("cut", "", "it ended after 1,500,000 of 2,560,000 bytes"),
        ("missing", "", "Not Found"),
    ],
)
def test_what_is_not_the_file_leaves_none(
    page: str, sha256: str, reason: str, server: str, places: Path
) -> None:
    with pytest.raises(NoWeightsError) as told:
        find_or_fetch(f"{server}/{page}", "file.pth", sha256=sha256)
    assert str(told.value) == (
        f"the weights file.pth are not available locally and cannot be fetched ({reason}); "
        f"fetch {server}/{page} elsewhere, and save it as {places / 'file.pth'}"
    )
    assert list(places.iterdir()) == []


@pytest.mark.parametrize("kind", ["refuses", "silent", "unanswering", "many addresses", "no name"])
def test_a_server_out_of_reach_is_given_up_soon(
    kind: str, server: str, places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a firewall drops what is sent, libraries wait for minutes; some hosts have ten addresses."""
    monkeypatch.setattr(weights, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    honest = socket.getaddrinfo

    def slow(*arguments: Any, **options: Any) -> Any:
        if kind == "no name":
            time.sleep(2)
        times = 10 if kind == "many addresses" else 1
        return honest("192.0.2.1", *arguments[1:], **options) * times

    url = {"refuses": f"http://127.0.0.1:{port}/x", "silent": f"{server}/silent"}.get(
        kind, "https://192.0.2.1/x"
    )
    if kind in ("many addresses", "no name"):
        monkeypatch.setattr(socket, "getaddrinfo", slow)
    start = time.monotonic()
    with pytest.raises(NoWeightsError) as told:
        find_or_fetch(url, "file.pth")
    assert time.monotonic() - start < 2
    assert f"fetch {url} elsewhere, and save it as {places / 'file.pth'}" in str(told.value)
    assert list(places.iterdir()) == []


def test_a_server_that_falls_silent_is_given_up(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "SILENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n12345")
                ended.wait(10)

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        with pytest.raises(NoWeightsError, match="timed out"):
            find_or_fetch(url, "file.pth")
        ended.set()
    assert list(places.iterdir()) == []


def test_a_file_that_cannot_be_written_is_told(
    server: str, places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def __init__(self, *_: Any) -> None: ...

        def update(self, block: bytes) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights.hashlib, "sha256", Full)
    with pytest.raises(StorageError, match=r"cannot write .*file.pth: No space left on device"):
        find_or_fetch(f"{server}/whole", "file.pth")
    assert list(places.iterdir()) == []


def test_a_name_that_is_asked_for_names_url_and_place(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both for torchvision and for timm, whose files lie on the hub of Hugging Face."""
    monkeypatch.setattr(weights, "_answer", lambda url: (_ for _ in ()).throw(weights._FetchError("no net")))
    for name, url, file in (
        (
            "mobilenet_v3_small",
            "https://download.pytorch.org/models/mobilenet_v3_small-047dcff4.pth",
            "mobilenet_v3_small-047dcff4.pth",
        ),
        (
            "resnet10t",
            "https://huggingface.co/timm/resnet10t.c3_in1k/resolve/main/model.safetensors",
            "resnet10t.safetensors",
        ),
    ):
        with pytest.raises(NoWeightsError) as told:
            load_backbone(name)
        assert f"(no net); fetch {url} elsewhere, and save it as {places / file}" in str(told.value)
    backbone, why = load_backbone("")
    assert backbone.name == "efficientnet_lite0"
    assert why.count("no net") == 2
    assert str(places) not in why  # it goes into the model, which may go to others


def test_weights_that_come_are_loaded(
    server: str, tmp_path: Path, places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first byte to the features: with the hash that stands in the name of the file."""
    _, expected = published("mobilenet_v3_small", tmp_path)
    entry = torchvision.models.MobileNet_V3_Small_Weights.DEFAULT
    file = tmp_path / Path(entry.url).name
    renamed = file.with_name(f"net-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}.pth")
    file.rename(renamed)
    network = build_backbone("mobilenet_v3_small")
    (fill,) = [network.fill]
    filled = functools.partial(fill.func, fill.args[0], _At(renamed.as_uri()), *fill.args[2:])  # type: ignore[attr-defined]
    filled(True, SILENT)
    assert [path.name for path in places.iterdir()] == [renamed.name]
    with torch.no_grad():
        assert torch.equal(network.network(photographs(224)[:1]), expected)


class _At:
    """Weights of torchvision in another folder."""

    def __init__(self, url: str) -> None:
        self.url = url
