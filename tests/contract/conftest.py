"""These tests run against the real cuML and CuPy, which import without a GPU: scripts/test-contract."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("cuml") and find_spec("cupy") else ["test_*.py"]
