"""Detects torchrun without importing torch."""

import os


def by_torchrun() -> bool:
    """Return whether torchrun started this process and others. Other launchers also set WORLD_SIZE."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", 1)) > 1


def follows() -> bool:
    """Return whether this process leaves common messages to rank 0."""
    return by_torchrun() and os.environ.get("RANK") != "0"
