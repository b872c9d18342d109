"""A TOML file becomes cells, and invalid ones are refused in one line."""

from pathlib import Path

import pytest

from gpu_ssl.cli.options import take_vae_settings
from gpu_ssl.config import ModelConfig, TrainConfig
from gpu_ssl.errors import UsageError
from gpu_ssl.sweep.spec import SweepSpec, sweep_cells


def spec(tmp_path: Path, text: str) -> SweepSpec:
    (tmp_path / "spec.toml").write_text(text)
    return SweepSpec.read(tmp_path / "spec.toml")


def test_every_combination_is_a_cell_and_those_of_a_vae_share_its_name(tmp_path: Path) -> None:
    text = """
datasets = ["digits", "mnist"]
methods = ["m1", "graph"]
labels = [100, "full"]
seeds = [3, 5, 8]
splits = 2
[[settings]]
name = "default"
[[settings]]
name = "narrow"
model.latent_dim = 16
train.epochs = 1
"""
    cells = sweep_cells(spec(tmp_path, text), "cpu")
    assert len(cells) == len({cell.name for cell in cells}) == 2 * 2 * 2 * 3 * 2
    assert len({cell.vae_name for cell in cells}) == 2 * 3 * 2
    for cell in cells:
        assert cell.config.splits == 2
        assert cell.config.baselines == (cell.config.methods == ("m1",))
        assert cell.config.model.latent_dim == (16 if cell.variant == "narrow" else 64)
    assert cells[0].name == "digits-default-seed-3-m1-100-labels"


def test_what_is_left_out_has_defaults_and_what_comes_twice_counts_once(tmp_path: Path) -> None:
    (cell,) = sweep_cells(spec(tmp_path, 'datasets = ["digits"]\nlabels = [50, 50]'), "auto")
    assert (cell.variant, cell.config.seed, cell.config.splits, cell.config.methods) == (
        "default",
        0,
        5,
        ("m1",),
    )


def test_the_preset_of_the_paper_is_that_of_a_run(tmp_path: Path) -> None:
    text = """
datasets = ["digits"]
labels = [50]
[[settings]]
name = "published"
preset = "paper"
[[settings]]
name = "mine"
preset = "paper"
model.latent_dim = 16
train.kl_warm_up = 0.5
train.augment = true
"""
    published, mine = (cell.config for cell in sweep_cells(spec(tmp_path, text), "cpu"))
    options = dict.fromkeys((*ModelConfig.model_fields, *TrainConfig.model_fields), None)
    assert (published.model, published.train) == take_vae_settings({"preset": "paper", **options})
    assert (published.model.network, published.model.latent_dim) == ("mlp", 50)
    assert published.train.binarize
    assert (mine.model.network, mine.model.latent_dim, mine.train.kl_warm_up) == ("mlp", 16, 0.5)
    assert (mine.train.augment, mine.train.binarize) == (True, False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("datasets = [", "is not TOML"),
        ('labels = [50]\ndatasets = "digits"', "`datasets` 'digits'"),
        ('datasets = ["digits"]', "`labels`"),
        ('datasets = ["digits"]\nlabels = [50]\nmethods = ["m3"]', "there is no method 'm3'; allowed are m1"),
        ('datasets = ["digits"]\nlabels = [50]\ncolour = 1', "`colour` 1"),
        ('datasets = ["digits"]\nlabels = [50]\ncls = 1', "`cls` 1"),
        ('datasets = ["../x"]\nlabels = [50]', "'../x'"),
        ('datasets = ["digits"]\nlabels = [50]\n[[settings]]\nmodel.latent_dim = 0', "`latent_dim` 0"),
        (
            'datasets = ["digits"]\nlabels = [50]\n[[settings]]\n[[settings]]',
            "two settings are named 'default'",
        ),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        spec(tmp_path, text)
    assert words in str(caught.value)
    assert "at least 1 item" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "spec.toml" in str(caught.value)


def test_a_seed_that_cannot_be_and_a_missing_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`seed` -1"):
        sweep_cells(spec(tmp_path, 'datasets = ["digits"]\nlabels = [50]\nseeds = [-1]'), "cpu")
    with pytest.raises(UsageError, match="cannot read"):
        SweepSpec.read(tmp_path / "none.toml")
