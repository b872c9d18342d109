"""The cost model: its counts are those of the program, and it says what its parts say."""

from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import scaling
from benchmarks.scaling import H100, Costs, parts, seconds_an_image, span
from gpu_ssl.config import ModelConfig, TrainConfig
from gpu_ssl.runtime.torch_workarounds.convolution import Convolution
from gpu_ssl.training.batches import Resident
from gpu_ssl.training.plan import plan_vae
from gpu_ssl.training.vae import Trainer, build_vae

COSTS = Costs(flops=19e6, bytes=940e3, share=0.4)


class Operations(TorchDispatchMode):
    """Counts the operations that do something."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view and "empty" not in str(func):
            self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


def test_what_a_step_does_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a GPU: a CPU's own ways take more kernels.
    monkeypatch.setattr(Convolution, "forward", nn.Conv2d.forward)
    model, images = ModelConfig(), Resident(torch.zeros(600, 1, 28, 28, dtype=torch.uint8))
    plan = plan_vae(TrainConfig(batch_size=256, precision="bfloat16"), model, images, mirrored=True)
    trainer = Trainer(build_vae(model, images.shape, images.device, 0), images, plan, 0)
    first, second = trainer.batches(trainer.generator)
    trainer.step(first)  # makes the optimizer's state
    with Operations() as operations:
        trainer.step(second)
    assert operations.counts.total() == pytest.approx(scaling.KERNELS, rel=0.1)
    assert 4 * trainer.record().parameters == scaling.PARAMETER_BYTES
    norms = sum("BatchNorm" in type(module).__name__ for module in trainer.vae.modules())
    assert 2 * norms + 1 == scaling.EXCHANGES


def seconds(n: float, gpus: int, batch: int) -> dict[str, float]:
    return parts(n, gpus, batch, H100, COSTS, COSTS, COSTS)


def test_many_gpus_share_the_arithmetic_and_not_the_launches() -> None:
    one, eight = seconds(1e7, 1, 65_536), seconds(1e7, 8, 65_536)
    assert one["arithmetic"] == pytest.approx(8 * eight["arithmetic"])
    assert one["exchange"] == 0 < eight["exchange"]
    assert seconds(1e7, 64, 65_536)["exchange"] > eight["exchange"]
    small = seconds(1e7, 8, 256)
    assert small["launches"] > small["arithmetic"]


def test_what_does_not_fit_is_read_in_every_epoch() -> None:
    fits, too_large = seconds(1e7, 1, 65_536), seconds(1e9, 1, 65_536)
    assert too_large["hash"] == pytest.approx(100 * fits["hash"])
    slow = scaling.replace(H100, disk=1e6)
    reads = [parts(n, 1, 65_536, slow, COSTS, COSTS, COSTS)["disk"] / n for n in (1e7, 1e9)]
    # For the hash and for every epoch, where it was once for the hash and once to keep it.
    assert reads[1] / reads[0] == pytest.approx((scaling.EPOCHS + 1) / 2, rel=0.01)


def test_the_slower_of_products_and_memory_decides() -> None:
    assert seconds_an_image(COSTS, H100) == pytest.approx(940e3 / 3.35e12 / 0.4)
    assert seconds_an_image(Costs(1e12, 1, 1.0), H100) == pytest.approx(1e12 / 989e12)


def test_times_have_units() -> None:
    assert [span(s) for s in (0.123, 90, 7200)] == ["0.12 s", "1.5 min", "2 h"]


def test_docs_show_what_the_model_says() -> None:
    text = (scaling.RESULTS.parent.parent / "docs" / "scaling.md").read_text(encoding="utf-8")
    for line in scaling.render().splitlines():
        assert line in text
