"""Processes that exchange tensors over gloo: sums, shards, batch norm; and a single process."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from gpu_ssl.errors import RankError
from gpu_ssl.runtime.process_group import Together, shard_of
from gpu_ssl.runtime.ranks import ALONE, join_ranks
from tests.program import run_ranks


def test_three_ranks_exchange_what_one_has() -> None:
    torchrun = ["--standalone", "--nproc-per-node=3"]
    done = run_ranks(Path.cwd(), torchrun, module="tests.runtime.rank_work")
    assert done.returncode == 0, done.stderr[-3000:]
    assert all(f"rank {n} is content" in done.stdout for n in range(3))  # lines may run into one another


def test_without_torchrun_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")  # others than torchrun set it, too
    assert join_ranks() is ALONE
    assert ALONE.leads
    assert ALONE.shard(7) == range(7)
    assert torch.equal(ALONE.total(torch.ones(2)), torch.ones(2))


@pytest.mark.parametrize(("n", "size"), [(10, 3), (3, 3), (2, 5), (0, 2), (60_000, 64)])
def test_shards_are_all_rows_once_and_alike(n: int, size: int) -> None:
    shards = [shard_of(n, number, size) for number in range(size)]
    assert [row for shard in shards for row in shard] == list(range(n))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize(
    "message",
    [
        "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:538] Connection closed by peer [127.0.0.1]:1",
        "Application timeout caused pair closure",
        "NCCL communicator was aborted on rank 0",
    ],
)
def test_what_torch_says_of_a_rank_that_is_gone_is_told_in_one_line(message: str) -> None:
    with pytest.raises(RankError, match="another process ended"), object.__new__(Together).exchanging():
        raise RuntimeError(message)


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"), object.__new__(Together).exchanging():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_a_rank_that_waits_in_the_depths_of_torch_ends_with_a_word() -> None:
    """As one does for a GPU that waits for a dead rank: Python's own handler of signals has no turn there."""
    code = (
        "import torch; from gpu_ssl.runtime import process_group; "
        "process_group.GRACE = 0.5; rank = object.__new__(process_group.Together); rank._heed_sigterm(); "
        "print('waiting', flush=True); torch.futures.Future().wait()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    time.sleep(0.5)
    process.terminate()
    started = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - started < 10
    assert process.returncode == 1
    assert said == "gpu-ssl: error: stopped by SIGTERM, which torchrun sends when another process ends\n"
