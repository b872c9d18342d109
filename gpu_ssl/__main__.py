"""``python -m gpu_ssl`` is ``gpu-ssl``."""

from gpu_ssl.cli import entry_point

if __name__ == "__main__":
    entry_point()
