"""The directive ``layers``: a figure of the import contract, generated from pyproject.toml at build time."""

import ast
import html
import re
import tomllib
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive

ROOT = Path(__file__).parents[2]
WIDTH, ROW, GAP = 720, 46, 10


def layers() -> list[list[str]]:
    """Return the packages of each layer, the uppermost first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (contract,) = (own for own in contracts if own["type"] == "layers")
    return [line.replace("|", ":").replace(" ", "").split(":") for line in contract["layers"]]


def summary(module: str) -> str:
    """Return the first line of a module's docstring."""
    path = ROOT / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").splitlines()[0]


def figure() -> str:
    """Return the layers as SVG: a row per layer, a box per package with its purpose as title."""
    rows = layers()
    height = len(rows) * (ROW + GAP)
    parts = [
        f'<svg viewBox="-1 -1 {WIDTH + 2} {height}" role="img" aria-label="Layers of packages" '
        'style="max-width:100%;font:14px sans-serif">'
    ]
    for number, modules in enumerate(rows):
        width = (WIDTH - GAP * (len(modules) - 1)) / len(modules)
        for column, module in enumerate(modules):
            x, y = column * (width + GAP), number * (ROW + GAP)
            name = module.removeprefix("gpu_ssl.")
            parts.append(
                f"<g><title>{html.escape(summary(module))}</title>"
                f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{ROW}" rx="6" fill="none" '
                'stroke="currentColor"/>'
                f'<text x="{x + width / 2:.0f}" y="{y + ROW / 2 + 5:.0f}" text-anchor="middle" '
                f'fill="currentColor">{html.escape(name)}</text></g>'
            )
    return "".join(parts) + "</svg>"


def _code(text: str) -> str:
    return re.sub(r"``?([^`]+)``?", r"<code>\1</code>", text)


class Layers(Directive):
    """Puts the figure, and a table of the packages, where it stands."""

    def run(self) -> list[nodes.Node]:
        """See `Directive.run`."""
        rows = "".join(
            f"<tr><td><code>{html.escape(module)}</code></td><td>{_code(html.escape(summary(module)))}</td></tr>"
            for line in layers()
            for module in line
        )
        table = f"<table><thead><tr><th>module</th><th>job</th></tr></thead><tbody>{rows}</tbody></table>"
        return [nodes.raw("", figure() + table, format="html")]


def setup(app: Any) -> dict[str, bool]:
    """Register the directive with Sphinx."""
    app.add_directive("layers", Layers)
    return {"parallel_read_safe": True}
