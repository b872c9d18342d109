"""The folder of a new run: claimed before the work, so that no other run takes it."""

import itertools
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path

from gpu_ssl.config import RunConfig
from gpu_ssl.errors import UsageError


def claim(output: Path | None, config: RunConfig, stack: ExitStack) -> Path:
    """Create the folder of a new run; without `output`, under a new name.

    No other run writes to it as long as `stack` is open.
    """
    from gpu_ssl.report import writing

    if output is not None:
        _claim_folder(output, config, stack)
        return output
    if writing.DEFAULT_PARENT.exists() and not writing.DEFAULT_PARENT.is_dir():
        raise UsageError(f"{writing.DEFAULT_PARENT} is a file; move it, or name a folder with `output`")
    name = f"{datetime.now().strftime('%Y%m%d-%H%M%S')}-{config.data.dataset}-{'-'.join(config.methods)}"
    for suffix in itertools.chain([""], (f"-{n}" for n in itertools.count(2))):
        folder = writing.DEFAULT_PARENT / f"{name}{suffix}"
        if not folder.exists():
            with suppress(UsageError):
                _claim_folder(folder, config, stack)
                return folder
    raise AssertionError("unreachable: there is always another number")


def _claim_folder(folder: Path, config: RunConfig, stack: ExitStack) -> None:
    from gpu_ssl.report import writing
    from gpu_ssl.runtime.files import alone_in

    writing.refuse_taken(folder)
    with ExitStack() as own:
        own.enter_context(alone_in(folder))
        writing.claim_folder(folder, config)
        stack.push(own.pop_all())
