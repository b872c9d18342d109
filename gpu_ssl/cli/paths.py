"""The click type of paths."""

from pathlib import Path
from typing import Any

import click


class GivenPath(click.Path):
    """A path. An empty one, as from an unset shell variable, is refused.

    Python would take it for the current folder.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, as click does."""
        if value == "":
            self.fail("the path is empty; is a variable of the shell not set?", param, ctx)
        return super().convert(value, param, ctx)
