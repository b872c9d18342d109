"""Whether torchrun started this process, told without importing torch."""

import os


def by_torchrun() -> bool:
    """Whether torchrun started this process and others. WORLD_SIZE alone is set by many."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", 1)) > 1


def follows() -> bool:
    """Whether rank 0 tells the user what all ranks could tell."""
    return by_torchrun() and os.environ.get("RANK") != "0"
