"""``gpu-ssl`` whose ranks wait less to be ended by torchrun before they tell of wrong usage."""

from gpu_ssl import cli

if __name__ == "__main__":
    cli.PATIENCE = 1.0
    cli.entry_point()
