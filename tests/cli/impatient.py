"""``gpu-ssl`` whose ranks wait less for torchrun to end them before they report wrong usage."""

from gpu_ssl import cli

if __name__ == "__main__":
    cli.PATIENCE = 1.0
    cli.entry_point()
