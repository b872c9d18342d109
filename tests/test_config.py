"""Settings: valid and invalid values, error messages, and that JSON keeps everything."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gpu_ssl.config import (
    DataConfig,
    FitConfig,
    ModelConfig,
    RunConfig,
    SVMConfig,
    TrainConfig,
    parse_label_counts,
)
from gpu_ssl.errors import UsageError

COUNTS = st.lists(st.one_of(st.just("full"), st.integers(1, 10**9)), min_size=1, max_size=8)


@given(COUNTS)
def test_label_counts_keep_order_and_lose_repetitions(counts: list[int | str]) -> None:
    text = ", ".join(str(count) for count in counts)
    assert parse_label_counts(text) == tuple(dict.fromkeys(counts))


@pytest.mark.parametrize(
    "text", ["", "abc", "100,", "0", "-5", "1e9", "10.5", "100;200", "all,100", "¹", "٣", "9" * 5000]
)
def test_what_is_no_label_count_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match="is not a label count") as caught:
        parse_label_counts(text)
    assert "100,2000" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("method", ["graph", "m2", "m1m2"])
def test_classes_are_weighed_by_methods_that_fit_an_svm(method: str) -> None:
    svm = SVMConfig(class_weight="balanced")
    with pytest.raises(UsageError, match=f"`method` '{method}': it fits no SVM.*take one of m1, hybrid"):
        FitConfig.of(svm=svm, method=method)
    assert FitConfig.of(svm=SVMConfig(), method=method).svm.class_weight == "none"
    for other in ("auto", "m1", "consistency"):
        assert FitConfig.of(svm=svm, method=other).svm == svm


def test_all_stays_all() -> None:
    assert parse_label_counts("all") == "all"


def test_the_papers_network_has_the_papers_defaults() -> None:
    assert ModelConfig(network="mlp") == ModelConfig(network="mlp", latent_dim=50, kl_weight=1.0)
    assert ModelConfig.of(network="mlp", latent_dim=10, kl_weight=None).latent_dim == 10


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RunConfig.of(splits=0), ("`splits` 0:", "1")),
        (lambda: RunConfig.of(device="gpu"), ("`device` 'gpu'", "cuda:N")),
        (lambda: TrainConfig.of(learning_rate=float("nan")), ("`learning_rate` nan",)),
        (lambda: TrainConfig.of(batch_size=1), ("`batch_size` 1:", "2")),
        (lambda: ModelConfig.of(latent_dim=-1), ("`latent_dim` -1:",)),
        (lambda: SVMConfig.of(gamma="wide"), ("`gamma` 'wide'", "'scale'", "positive")),
        (lambda: SVMConfig.of(gamma="nan"), ("`gamma` 'nan'",)),
        (lambda: SVMConfig.of(C=0.0), ("`C` 0.0:",)),
    ],
)
def test_a_value_that_cannot_be_gets_one_line_with_its_name(make, words) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError) as caught:
        make()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_settings_are_frozen_and_closed() -> None:
    with pytest.raises(ValidationError):
        RunConfig().splits = 3  # type: ignore[misc]
    with pytest.raises(UsageError, match="`no_such`"):
        RunConfig.of(no_such=1)


@given(
    st.builds(
        RunConfig,
        data=st.builds(DataConfig, data_dir=st.sampled_from([None, Path("/somewhere")])),
        model=st.sampled_from([ModelConfig(), ModelConfig(network="mlp", kl_weight=0.5)]),
        svm=st.builds(SVMConfig, gamma=st.one_of(st.just("scale"), st.floats(1e-9, 1e9))),
        labels=st.one_of(st.just("all"), COUNTS.map(tuple)),
        seed=st.integers(0, 2**32 - 1),
    )
)
def test_json_keeps_every_setting(config: RunConfig) -> None:
    assert RunConfig.model_validate_json(config.model_dump_json()) == config
