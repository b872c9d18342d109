"""Muon: steps along orthogonal matrices, as torch's own Muon takes them, for kernels too."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from gpu_ssl.training.muon import QUINTIC, RMS, ROUNDS, Muon, Rates, all_rates, orthogonal
from gpu_ssl.training.optimizers import WIDEST, make_optimizer, make_schedule
from gpu_ssl.training.replay import Replay
from tests.runtime.fake_graphs import FakeGraphs, Generator


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: self)


def by_the_book(matrix: Tensor) -> Tensor:
    """The rounds of Newton and Schulz on the matrix itself, in float64."""
    a, b, c = QUINTIC
    x = matrix.double() / matrix.double().norm()
    for _ in range(ROUNDS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x


@settings(max_examples=30)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 70), st.integers(1, 70)), min_size=1, max_size=5),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
    seed=st.integers(0, 10**6),
)
def test_many_matrices_at_once_give_what_each_gives_alone(
    shapes: list[tuple[int, int]], scale: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    matrices = [scale * torch.randn(shape, generator=generator) for shape in shapes]
    for matrix, found in zip(matrices, orthogonal(matrices), strict=True):
        assert found.shape == matrix.shape
        assert torch.allclose(found.double(), by_the_book(matrix), atol=5e-3)


def test_singular_values_become_alike_and_directions_stay() -> None:
    generator = torch.Generator().manual_seed(0)
    left, _ = torch.linalg.qr(torch.randn(40, 40, generator=generator))
    right, _ = torch.linalg.qr(torch.randn(90, 40, generator=generator))
    values = torch.logspace(-1, 0, 40)
    (found,) = orthogonal([left * values @ right.T])
    assert torch.linalg.svdvals(found).min() > 0.6
    assert torch.linalg.svdvals(found).max() < 1.3
    aligned = left.T @ found @ right
    assert torch.allclose(aligned, torch.diag(aligned.diagonal()), atol=1e-3)


def test_a_gradient_of_nothing_moves_nothing() -> None:
    """And what is left of a momentum long after the last gradient, hardly anything."""
    nothing, rest = orthogonal([torch.zeros(3, 5), torch.full((3, 5), 1e-11)])
    assert torch.equal(nothing, torch.zeros(3, 5))
    assert 0 < rest.norm() < 0.1


def test_it_takes_the_steps_of_torchs_muon() -> None:
    torch.manual_seed(0)
    weight = torch.randn(24, 48)
    ours, theirs = nn.Parameter(weight.clone()), nn.Parameter(weight.clone())
    groups = [{"params": [ours], "weight_decay": 0.1, "muon": True}]
    optimizers = [
        Muon(groups, lr=0.05, betas=(0.9, 0.999)),
        torch.optim.Muon(
            [theirs], lr=0.05, weight_decay=0.1, momentum=0.9, ns_steps=ROUNDS, adjust_lr_fn="match_rms_adamw"
        ),
    ]
    for _ in range(4):
        gradient = torch.randn(24, 48)
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    moved = theirs.detach() - weight
    # Theirs rounds to bfloat16.
    assert (ours.detach() - theirs.detach()).norm() < 0.02 * moved.norm()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_kernel_is_a_matrix_with_a_row_for_each_output_channel(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.zeros(6, 4, 3, 3).to(memory_format=layout))
    gradient = torch.randn(6, 4, 3, 3)
    kernel.grad = gradient.to(memory_format=layout)
    Muon([{"params": [kernel], "weight_decay": 0.0, "muon": True}], lr=1.0).step()
    rows = -kernel.detach().flatten(1) / (RMS * 36**0.5)
    assert torch.allclose(rows.double(), by_the_book(gradient.flatten(1)), atol=5e-3)


def test_biases_take_the_steps_of_adamw() -> None:
    torch.manual_seed(0)
    networks = [nn.Linear(3, 2), nn.Linear(3, 2)]
    networks[1].load_state_dict(networks[0].state_dict())
    for network, muon in zip(networks, (True, False), strict=True):
        optimizer = make_optimizer(network, 1e-2, 0.1, muon=muon)
        for step in range(3):
            for parameter in network.parameters():
                parameter.grad = torch.full_like(parameter, 1.0 + step)
            optimizer.step()
    assert torch.equal(networks[0].bias, networks[1].bias)
    assert not torch.equal(networks[0].weight, networks[1].weight)


def test_what_has_no_gradient_stays() -> None:
    network = nn.Linear(3, 2)
    before = network.weight.detach().clone()
    make_optimizer(network, 1e-2, 0.1, muon=True).step()
    assert torch.equal(network.weight, before)


def test_rates_that_lie_on_the_device_make_the_same_steps() -> None:
    """A CUDA graph reads them there, so that a schedule can change them from replay to replay."""
    trained = []
    for on_device in (False, True):
        torch.manual_seed(0)
        layer = nn.Linear(7, 5)
        optimizer = make_optimizer(layer, 0.1, 0.01, muon=True)
        numbers = torch.zeros(2, len(optimizer.param_groups))
        rates = [Rates(*own) for own in zip(*numbers.unbind(), strict=True)]
        for step in range(3):
            for group in optimizer.param_groups:
                group["lr"], group["betas"] = 0.1 / (1 + step), (0.85 + 0.05 * step, 0.999)
            layer(torch.randn(4, 7)).square().sum().backward()
            if on_device:
                numbers.copy_(torch.tensor(optimizer.rates()).T)
                optimizer.descend(rates)
                assert layer.weight.grad is None
            optimizer.step()
            optimizer.zero_grad()
        trained.append(layer)
    for theirs, ours in zip(*(layer.parameters() for layer in trained), strict=True):
        assert torch.allclose(theirs, ours, rtol=1e-5, atol=1e-6)


def test_a_closure_is_asked_for_the_gradient_before_the_step() -> None:
    torch.manual_seed(0)
    networks = [nn.Linear(3, 2), nn.Linear(3, 2)]
    networks[1].load_state_dict(networks[0].state_dict())
    optimizers = [make_optimizer(network, 1e-2, 0.1, muon=True) for network in networks]

    def loss_of(network: nn.Module) -> Tensor:
        loss: Tensor = network(torch.ones(1, 3)).square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    expected = loss_of(networks[0])
    optimizers[0].step()
    assert optimizers[1].step(lambda: loss_of(networks[1])) == expected  # type: ignore[arg-type]
    assert torch.equal(networks[0].weight, networks[1].weight)


def test_very_wide_matrices_are_left_to_adamw() -> None:
    network = nn.Sequential(nn.Linear(WIDEST, 400), nn.Linear(400, WIDEST + 1))
    optimizer = make_optimizer(network, 1e-2, 0.1, muon=True)
    network(torch.ones(1, WIDEST)).sum().backward()
    optimizer.step()
    states = [set(optimizer.state[layer.weight]) for layer in network]
    assert states == [{"momentum"}, {"step", "exp_avg", "exp_avg_sq"}]


@pytest.mark.parametrize("on_device", [False, True], ids=["plain numbers", "numbers on the device"])
def test_the_whole_step_of_a_graph_is_that_of_torchs_adamw(on_device: bool) -> None:
    """With the rates of a schedule, of which the momentum changes too, and with torch's state."""
    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 300)) for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    ours, theirs = (make_optimizer(network, 1e-2, 0.1, beta2=0.98) for network in networks)
    ours.on_device = True
    schedules = [make_schedule(optimizer, 1e-2, 8, 0.3) for optimizer in (ours, theirs)]
    for number in range(6):
        for parameters in zip(*(network.parameters() for network in networks), strict=True):
            gradient = torch.randn_like(parameters[0]) * 10.0 ** (number - 3)
            for parameter in parameters:
                parameter.grad = gradient.clone()
        rates = ours.rates()
        if on_device:
            rates = [Rates(*map(torch.tensor, own)) for own in rates]
        ours.descend(rates)
        assert all(parameter.grad is None for parameter in networks[0].parameters()), "nothing is left"
        for optimizer, schedule in zip((ours, theirs), schedules, strict=True):
            optimizer.step()
            schedule.step()
    for own, other in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-6)
        for name, value in theirs.state[other].items():
            torch.testing.assert_close(ours.state[own][name], value, rtol=1e-4, atol=1e-5)
    theirs.load_state_dict(ours.state_dict())


@pytest.mark.usefixtures("pinned")
def test_a_graph_records_the_whole_step(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeGraphs(monkeypatch)
    network = nn.Linear(3, 2)
    optimizer = make_optimizer(network, 1e-2, 0.1, muon=True)
    optimizer.on_device = True
    replay, steps = Replay(True, Generator()), []  # type: ignore[arg-type]

    def work(values: Tensor, *rates: float | Tensor) -> Tensor:
        loss = network(values).square().sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.descend(all_rates(rates))
        steps.append(type(rates[0]))
        return loss.detach()

    for _ in range(3):
        rates = [float(rate) for own in optimizer.rates() for rate in own]
        replay(work, [torch.ones(4, 3)], rates)
        assert all(parameter.grad is None for parameter in network.parameters())
        before = [parameter.detach().clone() for parameter in network.parameters()]
        optimizer.step()
        for own, parameter in zip(before, network.parameters(), strict=True):
            # The stand-in records with the existing tensors.
            assert torch.equal(own.nan_to_num(), parameter.nan_to_num()), "the host has nothing left to do"
    assert steps == [float, Tensor]
    assert replay.recorded
