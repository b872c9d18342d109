"""The directive ``cli``: the help of every command of gpu-ssl, as click prints it."""

from collections.abc import Iterator
from typing import Any

import click
from docutils import nodes
from docutils.parsers.rst import Directive

from gpu_ssl.cli import main

WIDTH = 100


def contexts(
    command: click.Command, name: str, parent: click.Context | None = None
) -> Iterator[click.Context]:
    """Give the context of a command and of all below it."""
    context = click.Context(
        command, info_name=name, parent=parent, max_content_width=WIDTH, terminal_width=WIDTH
    )
    yield context
    if isinstance(command, click.Group):
        for own in command.list_commands(context):
            below = command.get_command(context, own)
            assert below is not None
            yield from contexts(below, own, context)


class CommandLine(Directive):
    """Puts a section for each command where it stands."""

    def run(self) -> list[nodes.Node]:
        """See `Directive.run`."""
        sections: list[nodes.Node] = []
        for context in contexts(main, "gpu-ssl"):
            path = context.command_path
            section = nodes.section(ids=[path.replace(" ", "-")], names=[path])
            section += nodes.title(text=path)
            help_text = context.command.get_help(context)
            section += nodes.literal_block(help_text, help_text, language="text")
            sections.append(section)
        return sections


def setup(app: Any) -> dict[str, bool]:
    """Register the directive with Sphinx."""
    app.add_directive("cli", CommandLine)
    return {"parallel_read_safe": True}
