"""Errors name settings; on the command line they become options that there are."""

import ast
import importlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import gpu_ssl
from gpu_ssl.cli import COMMANDS
from gpu_ssl.cli.messages import Worded
from gpu_ssl.cli.wording import as_options
from gpu_ssl.report.command import option_name

PACKAGE = Path(gpu_ssl.__file__).parent
NO_ERRORS = {"report/card.py", "report/expectation.py"}
"""Files whose backticks are not in errors."""


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("try a smaller `learning_rate`", "try a smaller --learning-rate"),
        ("or `precision=float32`, or", "or --precision float32, or"),
        ("`labels=5`: fewer", "--labels 5: fewer"),
        ("`C` -1.0: greater", "--svm-c -1.0: greater"),
        ("`methods` 'zzz'", "--method 'zzz'"),
        ("`svm_backend=cuml` and `svm=cuml`", "--svm cuml and --svm cuml"),
        ("`from` names a model", "--from names a model"),
        ("`encoder=vae+hog`", "--encoder vae+hog"),
        ("`image_size`, `batch_size`", "--image-size, --batch-size"),
        ("a folder `photos`", "a folder `photos`"),
        ("`zzz=3` and `not this one`", "`zzz=3` and `not this one`"),
        ("no tick, learning_rate=3", "no tick, learning_rate=3"),
        ("a file named `", "a file named `"),
    ],
)
def test_settings_become_options_and_all_else_stays(message: str, words: str) -> None:
    assert as_options(message) == words


def test_what_the_library_logs_names_options_as_well() -> None:
    record = logging.LogRecord(
        "x", logging.WARNING, "", 0, "give more `steps`, or `encoder=%s`", ("hog",), None
    )
    assert Worded("%(message)s").format(record) == "give more --steps, or --encoder hog"


def messages() -> Iterator[tuple[str, str]]:
    """All text in the library that is no docstring, with its file."""
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                name = path.relative_to(PACKAGE).as_posix()
                if id(node) not in documentation and name not in NO_ERRORS:
                    yield name, node.value


def all_options() -> set[str]:
    commands = [importlib.import_module(module).command for module, _ in COMMANDS.values()]
    commands += [
        sub for command in commands if isinstance(command, click.Group) for sub in command.commands.values()
    ]
    return {name for command in commands for option in command.params for name in option.opts}


def test_every_setting_that_an_error_names_has_an_option() -> None:
    found = {(name, word) for name, text in messages() for word in re.findall(r"`(\w+)(?:=|`)", text)}
    assert {word for _, word in found} >= {
        "learning_rate",
        "precision",
        "device",
        "labels",
        "from",
        "encoder",
    }
    options = all_options()
    for name, word in sorted(found):
        assert as_options(f"`{word}`") == option_name(word), (name, word)
        assert option_name(word) in options, (name, word)


OF_THE_COMMAND_LINE = {"cli", "catalog", "doctor.py"}
"""Help texts, and what ``gpu-ssl doctor`` advises."""

OF_OTHER_PROGRAMS = {"runtime/environment.py"}
MAKES_COMMANDS = {"report/command.py"}
"""Files that put whole commands together, word by word."""


def test_the_library_names_no_options_but_in_whole_commands() -> None:
    """Who calls Python knows settings."""
    options = all_options()
    for name, text in messages():
        if name.split("/")[0] not in OF_THE_COMMAND_LINE and name not in OF_OTHER_PROGRAMS | MAKES_COMMANDS:
            for option in sorted(options & set(re.findall(r"--[a-z][\w-]*", text))):
                assert re.search(rf"gpu-ssl [a-z]+ .*{option}", text), (name, text)
