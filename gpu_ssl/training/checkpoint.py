"""Checkpoints of a VAE's training: everything that is needed to resume it with bitwise identical results."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpu_ssl.errors import StorageError
from gpu_ssl.records import EpochLosses, Record
from gpu_ssl.runtime import state
from gpu_ssl.training.vae import Trainer

logger = logging.getLogger(__name__)


class Checkpoint(Record):
    """Content of a checkpoint other than tensors; `origin` identifies the training that it belongs to."""

    origin: dict[str, str]
    history: tuple[EpochLosses, ...]
    schedule: dict[str, Any]
    groups: tuple[dict[str, Any], ...]
    threads: int


CHECKPOINT = state.Kind("gpu-ssl training checkpoint", 2, Checkpoint, "delete it, and the training restarts")


def save(trainer: Trainer, path: Path, origin: dict[str, str]) -> None:
    """Write the state of a training.

    Parameters
    ----------
    trainer : Trainer
        The training.
    path : Path
        The JSON file; tensors are written next to it.
    origin : dict of str to str
        Identifies data and settings of the training.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    tensors = state.under("vae", trainer.vae.state_dict())
    optimizer = trainer.optimizer.state_dict()
    for index, moments in optimizer["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
    tensors["generator"] = trainer.generator.get_state()
    checkpoint = Checkpoint(
        origin=origin,
        history=tuple(trainer.history),
        schedule=trainer.schedule.state_dict(),
        groups=tuple(optimizer["param_groups"]),
        threads=torch.get_num_threads(),
    )
    state.save(path, CHECKPOINT, checkpoint, tensors)


def restore(trainer: Trainer, path: Path, origin: dict[str, str]) -> None:
    """Load the state that `save` wrote, if the file exists; rank 0 reads it for all ranks.

    Raises
    ------
    StorageError
        If the file is damaged, or belongs to a training with another `origin`.
    """
    ranks = trainer.ranks
    found = ranks.share(state.load(path, CHECKPOINT) if ranks.leads and path.exists() else None)
    if found is None:
        return
    checkpoint, tensors = found
    if checkpoint.origin != origin:
        differing = [name for name in origin if checkpoint.origin.get(name) != origin[name]]
        raise StorageError(
            f"{path} belongs to another training: {' and '.join(differing)} differ; resume with the data "
            f"and settings that it was started with, or delete {path.parent} to restart"
        )
    if trainer.device.type == "cpu" and checkpoint.threads != torch.get_num_threads():
        logger.warning(
            "%s was written with %d threads and is resumed with %d: the result will differ slightly from "
            "that of an uninterrupted run (OMP_NUM_THREADS sets the number)",
            *(path, checkpoint.threads, torch.get_num_threads()),
        )
    with state.built(path, CHECKPOINT):
        _load(trainer, checkpoint, tensors)


def _load(trainer: Trainer, checkpoint: Checkpoint, tensors: dict[str, Tensor]) -> None:
    _check(trainer, checkpoint)
    trainer.replay.forget()  # its momentum buffers are replaced
    trainer.vae.load_state_dict(state.below("vae", tensors))
    parameters = [p for group in trainer.optimizer.param_groups for p in group["params"]]
    states: dict[int, dict[str, Tensor]] = {}
    for key, value in state.below("optimizer", tensors).items():
        index, name = key.split(".", 1)
        if value.shape == (parameter := parameters[int(index)]).shape:
            # The fused optimizer needs weights and moments in one memory layout, which files do not preserve.
            value = torch.empty_like(parameter).copy_(value)
        states.setdefault(int(index), {})[name] = value
    trainer.optimizer.load_state_dict({"state": states, "param_groups": list(checkpoint.groups)})
    trainer.schedule.load_state_dict(checkpoint.schedule)
    trainer.generator.set_state(tensors["generator"])
    trainer.history = list(checkpoint.history)


def _check(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Raise ValueError if the checkpoint does not fit the plan, the schedule and the optimizer."""
    plan, done = trainer.plan, len(checkpoint.history)
    if done > plan.epochs or [own.epoch for own in checkpoint.history] != list(range(1, done + 1)):
        raise ValueError(f"{done} epochs of {plan.epochs}")
    for name, kept, own in (
        ("schedule", [checkpoint.schedule], [trainer.schedule.state_dict()]),
        ("optimizer", checkpoint.groups, trainer.optimizer.state_dict()["param_groups"]),
    ):
        if [set(group) for group in kept] != [set(group) for group in own]:
            raise ValueError(f"the {name} has other settings")
    if checkpoint.schedule["last_epoch"] != done * plan.steps_per_epoch:
        raise ValueError(f"{done} epochs, and {checkpoint.schedule['last_epoch']} steps")
