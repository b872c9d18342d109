"""Python's garbage collector traverses torch's modules repeatedly while they are imported.

They hold about a million objects that are never freed. With the default threshold that takes 0.3 s of an
import, and 0.6 s at the end of the process.

Upstream: CPython's collector, https://github.com/python/cpython/issues/108362 (incremental collection); no
issue of torch. To be removed when `import torch` and exit are as fast without it.
"""

import atexit
import gc

THRESHOLD = 100_000
"""Objects between two collections; Python's default is 700 to 2,000."""


def spare_collector() -> None:
    """Collect less often, and not at the end of the process. Called before torch is imported."""
    gc.set_threshold(THRESHOLD)
    atexit.register(gc.freeze)
