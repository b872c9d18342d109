"""What every training begins with: torch's own AdamW, without the import of torch's compiler."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

from gpu_ssl.training.optimizers import build, make_optimizer, make_schedule

TRAIN = """
import sys, torch
from gpu_ssl.training.optimizers import make_optimizer, make_schedule
network = torch.nn.Linear(3, 2)
optimizer = make_optimizer(network, 1e-2, 0.1, muon=True)
schedule = make_schedule(optimizer, 1e-2, 4, 0.2)
for _ in range(3):
    optimizer.zero_grad(set_to_none=True)
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    schedule.step()
optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules)
"""


def train(network: nn.Module, optimizer: torch.optim.Optimizer) -> torch.Tensor:
    schedule = make_schedule(optimizer, 1e-2, 6, 0.2)
    for step in range(5):
        optimizer.zero_grad(set_to_none=True)
        network(torch.arange(6.0).reshape(2, 3) + step).square().sum().backward()
        optimizer.step()
        schedule.step()
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_it_takes_the_steps_of_torchs_adamw() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    groups = [
        {"params": [theirs.weight], "weight_decay": 0.1},
        {"params": [theirs.bias], "weight_decay": 0.0},
    ]
    expected = train(theirs, torch.optim.AdamW(groups, lr=1e-2, fused=True, betas=(0.85, 0.98)))
    assert torch.equal(train(ours, make_optimizer(ours, 1e-2, 0.1, beta2=0.98)), expected)


def test_training_does_not_wait_for_the_import_of_torchs_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", TRAIN], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_threads_that_build_networks_get_those_of_their_seeds() -> None:
    """The seed of torch's default generator is that of all threads."""

    def weights(seed: int) -> torch.Tensor:
        return torch.cat(
            [p.detach().flatten() for p in build(network, torch.device("cpu"), seed).parameters()]
        )

    def network() -> nn.Module:
        return nn.Sequential(*[nn.Linear(40, 40) for _ in range(20)])

    expected = [weights(seed) for seed in range(4)]
    before = torch.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(weights, list(range(4)) * 10))
    assert all(torch.equal(own, expected[i % 4]) for i, own in enumerate(found))
    assert torch.equal(torch.get_rng_state(), before)
