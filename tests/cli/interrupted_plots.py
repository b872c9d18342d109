"""``gpu-ssl`` with a Ctrl-C as it begins to plot."""

from typing import NoReturn

from gpu_ssl.cli import entry_point
from gpu_ssl.report import plots


def interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    plots.write_plots = interrupted
    entry_point()
