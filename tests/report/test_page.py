"""The pages of runs and models: they say what the records say, harm nobody, and load nothing."""

import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path

import click
import numpy as np
import pytest
from playwright.sync_api import Page

from gpu_ssl.cli.fit import command as fit_command
from gpu_ssl.cli.options import take_vae_settings
from gpu_ssl.cli.run import command as run_command
from gpu_ssl.cli.run import make_config
from gpu_ssl.config import FitConfig, ModelConfig, RunConfig, SVMConfig, TrainConfig
from gpu_ssl.errors import StorageError, UsageError
from gpu_ssl.fitted.storage import MODEL
from gpu_ssl.records import Difference, EpochLosses
from gpu_ssl.report.command import command_of_fit, command_of_run
from gpu_ssl.report.comparison import write_comparison
from gpu_ssl.report.data_address import address_of, image_of, sheet_of
from gpu_ssl.report.details import (
    OF_MODEL,
    OF_RUN,
    Confusion,
    Mistake,
    RunDetails,
    Shown,
    read_details,
    write_details,
)
from gpu_ssl.report.feature_map import make_map
from gpu_ssl.report.html import class_figures, confusion_table, worst_confusions
from gpu_ssl.report.plots import training_curves
from gpu_ssl.report.run_page import write_run_page
from gpu_ssl.report.shapes import Line
from gpu_ssl.report.writing import REPORT_KIND, read_report
from gpu_ssl.runtime import state
from tests.browser import faults, started
from tests.conftest import RunCli
from tests.report.test_report import REPORT, result

SCRIPT = "<script>alert(1)</script>"
CLASSES = (SCRIPT, '"><img src=x onerror=alert(1)>')
HOSTILE = REPORT.model_copy(
    update={
        "dataset": REPORT.dataset.model_copy(update={"name": SCRIPT, "classes": CLASSES}),
        "config": {"methods": ["m1"], "data": {"dataset": SCRIPT, "data_dir": "'\"><b>"}},
        "environment": {"cpu": SCRIPT, "gpus": [], "versions": {"torch": SCRIPT}},
    }
)


def details(channels: int = 1, n: int = 1000) -> RunDetails:
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(n, channels, 32, 32), dtype=np.uint8)
    image = address_of(image_of(images[0]))
    return RunDetails(
        confusions=(Confusion(method="m1", labels=100, cells=((0, 0, 8), (0, 1, 2), (1, 1, 10))),),
        mistakes=(Mistake(true=0, named=1, votes=4, of=5, image=image),) * 30,
        exhibits=(Shown(title=SCRIPT, image=image),),
        map=make_map(
            rng.normal(size=(n, 5)).astype(np.float32), images, rng.integers(2, size=n, dtype=np.int64)
        ),
    )


class Parsed(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_run_page(path, HOSTILE, details())
    return path


def test_hostile_names_are_text(page: Path) -> None:
    parsed = Parsed(page.read_text())
    assert parsed.tags.count("script") == 1
    assert parsed.text.count(SCRIPT) > 3
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]


def test_a_page_needs_nothing_from_elsewhere_and_allows_no_inline_style(page: Path) -> None:
    parsed = Parsed(page.read_text())
    addresses = [value for name, value in parsed.attributes if name in ("src", "href", "xlink:href")]
    assert addresses
    assert all(address.startswith(("data:image/", "#")) for address in addresses)
    assert not [value for name, value in parsed.attributes if name == "style"]
    policy = next(value for _, value in parsed.attributes if value.startswith("default-src"))
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy


@pytest.mark.parametrize("channels", [1, 3])
def test_a_page_stays_small(channels: int, tmp_path: Path) -> None:
    """Even of noise, which no encoding makes smaller."""
    write_run_page(tmp_path / "report.html", HOSTILE, details(channels))
    assert (tmp_path / "report.html").stat().st_size < 5e6


def test_a_page_says_what_the_report_says(page: Path) -> None:
    text = page.read_text()
    for own in REPORT.results:
        assert f"{100 * own.accuracy_mean:.2f}" in text
    assert "60,000 training images" in text
    assert "used only to score" in text
    assert f"SVMs by {REPORT.svm.used}" in text


def test_a_page_names_an_svm_only_where_a_method_has_one(tmp_path: Path) -> None:
    results = tuple(own.model_copy(update={"method": "m2"}) for own in REPORT.results[:1])
    write_run_page(tmp_path / "report.html", REPORT.model_copy(update={"results": results}), details(1))
    assert "SVMs by" not in (tmp_path / "report.html").read_text()


def test_a_page_speaks_of_a_vae_and_of_choices_only_where_there_are_some(tmp_path: Path) -> None:
    one = REPORT.results[0]
    results = (one, one.model_copy(update={"labels": REPORT.dataset.n_train, "splits": 1}))
    write_run_page(
        tmp_path / "report.html", REPORT.model_copy(update={"training": None, "results": results}), details(1)
    )
    text = " ".join((tmp_path / "report.html").read_text().split())
    assert f"fitted to {one.labels} labelled ones, in {one.splits} random choices of each number" in text
    assert "and to all of them with labels" in text
    assert "The VAE was trained" not in text


def test_pages_open_from_disk_ask_for_nothing_and_show_images(page: Path) -> None:
    with started() as browser:
        shown = browser.new_page()
        asked: list[str] = []
        problems: list[str] = []
        shown.on("request", lambda request: asked.append(request.url))
        shown.on("dialog", lambda dialog: problems.append(dialog.message))
        shown.on("pageerror", lambda error: problems.append(str(error)))
        shown.on("console", lambda message: problems.append(message.text))  # a breach of the policy, too
        shown.goto(page.as_uri())
        assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
        shown.locator("circle[data-i]").last.hover()  # which no other covers
        shown.locator("#bubble").wait_for(state="visible")
        assert _drawn(shown)
        assert shown.evaluate("document.querySelectorAll('.chart svg polyline').length") > 0
        assert faults(shown) == []
        assert problems == []


def _drawn(page: Page) -> bool:
    """Whether the canvas of the tooltip shows an image."""
    script = "c => [...c.getContext('2d').getImageData(0, 0, 84, 84).data].some((v, i) => i % 4 < 3 && v > 0)"
    return bool(page.eval_on_selector("#bubble canvas", script))


def test_the_loss_is_drawn_by_step() -> None:
    assert REPORT.training is not None
    curve = tuple(float(value) for value in range(20, 0, -1))
    losses = EpochLosses(epoch=1, reconstruction=10.0, kl=1.0, seconds=1.0, curve=curve)
    training = REPORT.training.model_copy(update={"steps": 40, "epochs": 1, "history": (losses,)})
    lines = [shape for shape in training_curves(training)[0].shapes if isinstance(shape, Line)]
    (drawn,) = [line for line in lines if len(line.points) == len(curve)]
    x, y = np.array(drawn.points).T
    assert np.allclose(np.diff(x), np.diff(x)[0])
    assert np.allclose(np.diff(y), np.diff(y)[0])
    assert y[-1] > y[0], "a smaller loss is lower"


def test_figures_of_classes() -> None:
    cells = ((0, 0, 8), (0, 1, 2), (1, 1, 5))
    first, second, third = class_figures(cells, ("a", "b", "c"))
    assert (first["recall"], first["precision"], second["recall"]) == (0.8, 1.0, 1.0)
    assert second["precision"] == pytest.approx(5 / 7)
    assert (third["recall"], third["f1"]) == (None, None)
    assert [cell["shade"] for cell in confusion_table(cells, 2)[0]] == [8, 2]
    assert worst_confusions(cells, ("a", "b")) == [{"true": "a", "named": "b", "count": 2, "share": 0.2}]


def test_a_sheet_holds_its_images_in_rows() -> None:
    images = [image_of(np.full((1, 4, 6), value, np.uint8)) for value in (10, 20, 30)]
    sheet = np.asarray(sheet_of(images, 2, gap=1, ground=99))
    assert sheet.shape == (9, 13)
    assert [int(sheet[0, 0]), int(sheet[0, 7]), int(sheet[5, 0]), int(sheet[4, 0])] == [10, 20, 30, 99]


RUNS = [
    RunConfig(),
    RunConfig.of(methods="m1,graph", labels="50,full", splits=2, seed=3, baselines=False),
    RunConfig.of(
        model=ModelConfig.of(network="mlp", latent_dim=20),
        train=TrainConfig.of(epochs=3, augment=False, precision="float32"),
        svm=SVMConfig.of(C=2.0, gamma="0.1", class_weight="balanced"),
        device="cpu",
        svm_backend="sklearn",
    ),
    RunConfig.of(
        preset="paper",
        model=ModelConfig.of(network="mlp"),
        train=TrainConfig.of(kl_warm_up=0.0),
        methods="m2",
    ),
    RunConfig.of(
        preset="paper",
        model=ModelConfig.of(network="mlp"),
        train=TrainConfig.of(kl_warm_up=0.0, binarize=True),
    ),
    RunConfig.of(
        preset="paper",
        model=ModelConfig.of(network="mlp"),
        train=TrainConfig.of(kl_warm_up=0.0, augment=True),
    ),
    RunConfig.of(train=TrainConfig.of(binarize=True)),
]


@pytest.mark.parametrize("config", RUNS)
def test_the_command_on_a_page_makes_the_same_run(config: RunConfig) -> None:
    words = shlex.split(command_of_run(config.model_dump(mode="json")))
    assert words[:2] == ["gpu-ssl", "run"]
    context = run_command.make_context("run", words[2:])
    assert make_config(context.params) == config


@pytest.mark.parametrize(
    "config",
    [FitConfig(), FitConfig.of(method="svm", encoder="vae+hog", mirror=False, image_size=32, effort="best")],
)
def test_the_command_on_a_page_makes_the_same_fit(config: FitConfig) -> None:
    words = shlex.split(command_of_fit(config))
    context: click.Context = fit_command.make_context("fit", words[2:])
    options = dict(context.params)
    model, train = take_vae_settings(options)
    svm = SVMConfig.of(C=options["svm_c"], class_weight=options["class_weight"])
    kept = {name: value for name, value in options.items() if name in FitConfig.model_fields}
    assert FitConfig.of(**{**kept, "model": model, "train": train, "svm": svm}) == config


def test_details_come_back(tmp_path: Path) -> None:
    assert read_details(tmp_path, OF_RUN) == RunDetails()
    write_details(tmp_path, OF_RUN, details(n=20))
    assert read_details(tmp_path, OF_RUN) == details(n=20)
    with pytest.raises(StorageError):
        read_details(tmp_path, OF_MODEL)


def test_runs_of_different_data_are_not_compared(tmp_path: Path) -> None:
    other = REPORT.model_copy(update={"dataset": REPORT.dataset.model_copy(update={"sha256": "1"})})
    with pytest.raises(UsageError, match="different data"):
        write_comparison(tmp_path / "both.html", {"one": REPORT, "two": other})
    slower = REPORT.model_copy(update={"config": {"seed": 1}, "environment": {"cpu": "other"}})
    write_comparison(tmp_path / "both.html", {SCRIPT: REPORT, "two": slower})
    parsed = Parsed((tmp_path / "both.html").read_text())
    assert parsed.tags.count("script") == 1
    assert "Settings that differ" in parsed.text
    assert "other" in parsed.text


def test_the_command_writes_pages_anew_and_compares(run_cli: RunCli, tmp_path: Path) -> None:
    settings = ("--dataset", "digits", "--method", "m1", "--labels", "50", "--splits", "2", "--epochs", "1")
    done = run_cli("run", *settings, "--no-baselines", "--output", "one")
    assert done.returncode == 0, done.stderr
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    report = read_report(tmp_path / "two")
    assert report is not None
    other = report.model_copy(update={"config": {**report.config, "seed": 1}})
    state.save(tmp_path / "two" / "report.json", REPORT_KIND, other)
    before = (tmp_path / "one" / "report.html").read_text()
    assert "--dataset digits --method m1 --labels 50 --splits 2" in Parsed(before).text
    (tmp_path / "one" / "report.html").unlink()
    assert run_cli("report", "one").returncode == 0
    assert (tmp_path / "one" / "report.html").read_text() == before
    done = run_cli("report", "one", "two", "--output", "both.html")
    assert (done.returncode, done.stdout) == (0, "Written to both.html\n")
    text = Parsed((tmp_path / "both.html").read_text()).text
    assert "seed" in text
    (tmp_path / "labels.csv").touch()
    overwrites = ("report", "one", "--output", "labels.csv")
    for wrong in (overwrites, ("report", "missing"), ("report", "one", "missing"), ("report", "one", "one")):
        done = run_cli(*wrong)
        assert done.returncode == 2, done.stderr
        assert len(done.stderr.splitlines()) == 1
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / MODEL).write_text("{}")
    for folders in (("model", "one"), ("model", "model")):
        done = run_cli("report", *folders)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "gpu-ssl: error: model holds a model, and only runs of gpu-ssl run are compared (accuracies of "
            "models are estimates on different labels); give one model at a time\n"
        )


def test_an_interval_takes_three_splits(tmp_path: Path) -> None:
    two = Difference(method="graph", against="m1", labels=100, mean=0.01, low=-0.02, high=0.04)
    three = two.model_copy(update={"labels": 600})
    results = (
        result("m1", 100, 0.7, 0.71),
        result("m1", 600, 0.7, 0.71, 0.72),
        result("graph", 100, 0.7, 0.73),
        result("graph", 600, 0.7, 0.73, 0.72),
    )
    report = REPORT.model_copy(update={"results": results, "differences": (two, three)})
    path = tmp_path / "report.html"
    write_run_page(path, report, RunDetails())
    assert path.read_text().count("-2.00 to +4.00") == 1
    assert "A confidence interval needs at least 3 splits." in path.read_text()
    write_run_page(path, report.model_copy(update={"differences": (three,)}), RunDetails())
    assert "A confidence interval needs" not in path.read_text()
