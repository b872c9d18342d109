"""Reads what Weights & Biases leaves of a run without a server: records in blocks, as of LevelDB's log."""

from collections.abc import Iterator
from pathlib import Path

from wandb.proto.wandb_internal_pb2 import Record

BLOCK, HEAD = 32 * 1024, 7
WHOLE, LAST = 1, 4


def records(path: Path) -> Iterator[Record]:
    """Give the records of a ``.wandb`` file."""
    content, at, whole = path.read_bytes(), HEAD, b""
    assert content.startswith(b":W&B")
    while at < len(content):
        left = BLOCK - at % BLOCK
        if left < HEAD:
            at += left
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        whole += content[at + HEAD : at + HEAD + length]
        at += HEAD + length
        if kind in (WHOLE, LAST):
            yield Record.FromString(whole)
            whole = b""
