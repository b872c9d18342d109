"""Nothing in the package unpickles or evaluates what it reads, or opens a socket, but in the named places."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import gpu_ssl

PACKAGE = Path(gpu_ssl.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

RUNS_WHAT_IT_READS = {
    "pickle",
    "_pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "yaml",
    "runpy",
}
"""Modules whose readers run what a file says."""

CONNECTS = {
    *("socket", "socketserver", "ssl", "http", "urllib", "urllib3", "requests", "httpx", "aiohttp", "ftplib"),
    *("smtplib", "telnetlib", "xmlrpc", "asyncio", "uvicorn", "starlette", "websockets", "distributed"),
}
"""Modules that open sockets."""

ALLOWED = {
    # Between processes of one run, which have one user and one program.
    ("methods/workers.py", "pickle"),
    # Data sets, compared with their hashes.
    *(("data/sources.py", module) for module in ("http", "urllib")),
    # Weights of networks; those of torchvision are compared with the hash in their name.
    *(("encoders/backbones/weights.py", module) for module in ("http", "urllib")),
    # The page for labels, on 127.0.0.1.
    *(("label/server.py", module) for module in ("asyncio", "socket", "starlette", "uvicorn")),
    ("label/guard.py", "starlette"),
    # The cluster of a sweep.
    ("sweep/cluster.py", "distributed"),
}


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_unpickles_evaluates_and_connects_only_where_it_may(path: Path) -> None:
    name = path.relative_to(PACKAGE).as_posix()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    roots = {module.partition(".")[0] for module in imports(tree)}
    # Names of files and of URLs are text, and no connection.
    roots -= {"urllib"} if {"urllib.parse"} >= {m for m in imports(tree) if m.startswith("urllib")} else set()
    unexpected = {(name, root) for root in roots & (RUNS_WHAT_IT_READS | CONNECTS)} - ALLOWED
    assert not unexpected
    for function, call in calls(tree):
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert function not in ("eval", "exec", "compile", "__import__", "os.system", "os.popen"), function
        assert options.get("shell") != "True", function
        if function == "torch.load":
            assert options.get("weights_only") == "True", "torch.load unpickles"
        if function in ("np.load", "numpy.load"):
            assert options.get("allow_pickle") in (None, "False"), "np.load would unpickle"


def test_what_is_allowed_is_still_needed() -> None:
    found = {
        (path.relative_to(PACKAGE).as_posix(), module.partition(".")[0])
        for path in MODULES
        for module in imports(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert not ALLOWED - found


def test_the_check_finds_what_it_is_for() -> None:
    tree = ast.parse("import pickle\nfrom http.client import HTTPConnection\neval('1')\ntorch.load(x)")
    assert {"pickle", "http.client"} <= set(imports(tree))
    assert [function for function, _ in calls(tree)] == ["eval", "torch.load"]
