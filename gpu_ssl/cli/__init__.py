"""The command line: parses and prints. The module of a command is imported when the command is called."""

import contextlib
import importlib
import logging
import os
import sys
import time
import warnings
from typing import Any

import click

from gpu_ssl.cli.messages import Worded, line_of
from gpu_ssl.cli.process import (
    RESERVE,
    heed_signals,
    ignore_signals,
    prepare_streams,
    reached_memory_limit,
    require_current_folder,
)
from gpu_ssl.cli.ranks import TOGETHER, print_error
from gpu_ssl.errors import GpuSslError, UsageError, either, lacks_memory
from gpu_ssl.runtime.cache import lend_to_libraries
from gpu_ssl.runtime.torch_workarounds.collector import spare_collector
from gpu_ssl.runtime.torchrun import by_torchrun, follows

COMMANDS = {
    "run": ("gpu_ssl.cli.run", "Train, classify with few labels, and print the table of accuracies."),
    "sweep": ("gpu_ssl.cli.sweep", "Run many settings on a Dask cluster, and print one table."),
    "check": (
        "gpu_ssl.cli.check",
        "Check your images and labels before training.",
    ),
    "label": ("gpu_ssl.cli.label", "Label images on a web page while models train in the background."),
    "fit": ("gpu_ssl.cli.fit", "Fit a model to your images, a few of which are labelled."),
    "predict": ("gpu_ssl.cli.predict", "Predict the classes of images with a fitted model."),
    "suggest": ("gpu_ssl.cli.suggest", "Suggest the images to label next."),
    "encode": ("gpu_ssl.cli.encode", "Write embeddings of images, from a model or an encoder."),
    "export": ("gpu_ssl.cli.export", "Export a fitted model to ONNX."),
    "report": ("gpu_ssl.cli.report", "Write the report page of a run or a model, or compare runs."),
    "bench": ("gpu_ssl.cli.bench", "Time every phase at growing sizes; compare records."),
    "doctor": ("gpu_ssl.cli.doctor", "Check the GPU and its libraries, and suggest remedies."),
    "data": ("gpu_ssl.cli.data", "List the data sets, or fetch one."),
}
"""Module and one line of help of each command; --help imports none of the modules."""

logger = logging.getLogger(__name__)

NO_MEMORY = "too little memory for this; give fewer or smaller images, or end other programs"

UNEXPECTED = "unexpected error"

PATIENCE = 10.0
"""Seconds by which rank 0 may find the same fault later than another process."""


class LazyGroup(click.Group):
    """A click group that imports a command when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gpu-ssl", prog_name="gpu-ssl")
@click.option("-v", "--verbose", is_flag=True, help="Log progress to stderr.")
@click.pass_context
def main(ctx: click.Context, verbose: bool) -> None:
    """Classify images when only a few of them are labelled.

    Encoders such as a variational autoencoder are trained on all images without labels; classifiers learn
    from the labelled images, and some from the others as well. It runs on an NVIDIA GPU if there is one, else
    on the CPU. To start:

    \b
      gpu-ssl run --dataset digits --labels 50,100    a minute, no download
      gpu-ssl run --labels all                        Fashion-MNIST: 100, 600, 1000, 3000 labels
      gpu-ssl fit FOLDER --labels CSV --output MODEL  your own images
    """
    level = logging.CRITICAL if follows() else logging.INFO if verbose else logging.WARNING
    to_stderr = logging.StreamHandler(sys.stderr)
    to_stderr.setFormatter(Worded("%(message)s"))
    logging.basicConfig(level=level, handlers=[to_stderr])
    lend_to_libraries()
    if by_torchrun() and ctx.invoked_subcommand not in TOGETHER:
        raise UsageError(
            f"torchrun starts several of gpu-ssl {either(TOGETHER)}, not of {ctx.invoked_subcommand}"
        )


def entry_point(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 for success, 1 for failure, 2 for wrong usage, 130 for Ctrl-C.

    Signals to stop do what Ctrl-C does, and the exit code is 128 and their number.
    """
    code = 0
    prepare_streams()
    stopped = heed_signals()
    # Pillow warns about large images that are read; those that are skipped are reported anyway.
    warnings.filterwarnings("ignore", "Image size .* exceeds limit")
    warnings.filterwarnings("ignore", "Corrupt EXIF data")  # the image is read without it
    warnings.formatwarning = _one_line
    spare_collector()
    try:
        try:
            require_current_folder()
            code = main(args=arguments, standalone_mode=False)
        finally:
            RESERVE.clear()
        sys.stdout.flush()
    except GpuSslError as error:
        _fail(str(error), 128 + stopped[0] if stopped else error.exit_code)
    except SystemExit as error:
        # click exits with 1 when the reader of stdout has seen enough; that is no failure.
        if error.code != 1 or "PacifyFlushWrapper" not in type(sys.stdout).__name__:
            raise
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _fail(_usage_hint(error), error.exit_code)
    except BrokenPipeError:
        # The reader of stdout has seen enough; Python would report it again when it closes the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if lacks_memory(error):
            _fail(NO_MEMORY, 1)
        # Such as a full disk behind a redirected stdout; Python would report it again at exit.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
        _fail(
            f"cannot {f'use {error.filename}' if error.filename else 'write'}: {error.strerror or error}", 1
        )
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", 128 + stopped[0] if stopped else 130)
    except BaseException as error:
        if lacks_memory(error) or reached_memory_limit():
            _fail(NO_MEMORY, 1)
        logger.info("", exc_info=True)
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        _fail(f"{UNEXPECTED}: {what}; please report it, with what gpu-ssl -v says", 1)
    ignore_signals()
    sys.exit(128 + stopped[0] if stopped and code else code if isinstance(code, int) else 0)


def _one_line(message: Warning | str, *_: object, **__: object) -> str:
    """Format a library's warning for users, without its place in the source."""
    return f"gpu-ssl: warning: {line_of(' '.join(str(message).split()))}\n"


def _usage_hint(error: click.ClickException) -> str:
    message = error.format_message()
    ctx: Any = getattr(error, "ctx", None)
    return f"{message} (see {ctx.command_path} --help)" if ctx is not None else message


def _fail(message: str, code: int) -> None:
    """Print an error and exit; before the processes have met, only rank 0 prints wrong usage and Ctrl-C."""
    if not by_torchrun():
        ignore_signals()
    if follows() and code == 2:
        # torchrun ends all processes once one has ended. If this one still runs, only its usage was wrong.
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(PATIENCE)
    if not (follows() and code == 130):
        print_error(message)
    sys.exit(code)
