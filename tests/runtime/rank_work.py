"""What each of several ranks checks; started by test_ranks.py."""

import torch
from torch import nn

from gpu_ssl.networks.batch_norm import synchronize_batch_norm
from gpu_ssl.runtime.ranks import Ranks, join_ranks


def check_exchange(ranks: Ranks) -> None:
    assert ranks.share(f"from {ranks.number}") == "from 0"
    own = ranks.shard(10)
    assert 3 <= len(own) <= 4
    rows = torch.arange(20.0).reshape(10, 2)
    whole = ranks.gather(rows[own.start : own.stop], 10)
    assert (whole is not None) == ranks.leads
    if whole is not None:
        assert torch.equal(whole, rows)
        assert whole.T.is_contiguous()
    x = torch.tensor([1.0 + ranks.number], requires_grad=True)
    total = ranks.total(x)
    assert total.item() == 6
    # Every rank's loss depends on every rank's x: 1 + 2 + 3 times the total.
    (gradient,) = torch.autograd.grad(x.detach().item() * total, x)
    assert gradient.item() == 6


def check_batch_norm(ranks: Ranks, shape: tuple[int, ...], bounds: tuple[int, ...]) -> None:
    """Several steps on shards of a batch must be those of torch's own batch norm on the whole of it."""
    torch.manual_seed(0)
    make = nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d
    expected = nn.Sequential(make(shape[1]), nn.ReLU())
    nn.init.uniform_(expected[0].weight)  # type: ignore[arg-type]
    network = nn.Sequential(make(shape[1]), nn.ReLU())
    network.load_state_dict(expected.state_dict())
    synchronize_batch_norm(network, ranks)
    assert list(network.state_dict()) == list(expected.state_dict())
    own = slice(bounds[ranks.number], bounds[ranks.number + 1])
    for _ in range(3):
        whole = (3 + torch.randn(shape)).requires_grad_()
        part = whole.detach()[own].requires_grad_()
        weights = torch.randn(shape)
        (expected(whole) * weights).sum().backward()
        (network(part) * weights[own]).sum().backward()
        assert whole.grad is not None
        torch.testing.assert_close(network(part), expected(whole)[own], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(part.grad, whole.grad[own], rtol=1e-4, atol=1e-5)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], value, rtol=1e-5, atol=1e-5)
    for one, other in zip(network.parameters(), expected.parameters(), strict=True):
        assert one.grad is not None
        torch.testing.assert_close(ranks.total(one.grad), other.grad, rtol=1e-4, atol=1e-4)
    network.eval()
    expected.eval()
    torch.testing.assert_close(network(part), expected(whole)[own], rtol=1e-5, atol=1e-5)


if __name__ == "__main__":
    together = join_ranks()
    assert together.size == 3
    assert together.device("auto").used == "cpu"
    together.meet()
    check_exchange(together)
    check_batch_norm(together, (12, 5), (0, 3, 4, 12))
    check_batch_norm(together, (12, 5, 4, 3), (0, 7, 7, 12))  # rank 1 has no image
    assert sum(together.fails_first() for _ in range(2)) <= 1
    ended = False
    try:
        together.part()
    except SystemExit as end:
        ended = end.code == 0
    assert ended != together.leads, "rank 0 does the rest, and the others end"
    print(f"rank {together.number} is content")
