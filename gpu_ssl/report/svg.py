"""Figures of matplotlib as SVG for a page without inline styles, in light and dark mode."""

import io
import re
import warnings
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SVG = "http://www.w3.org/2000/svg"
LINK = "{http://www.w3.org/1999/xlink}href"

BLACK = frozenset({"#000000", "black"})
"""Colour that is replaced by the page's text colour."""

FONT_SIZE = re.compile(r"([\d.]+)px")


def inline_svg(figure: "Figure", description: str) -> Markup:
    """Return a figure as an SVG element.

    Styles become attributes, ids get the description as a prefix so that those of several figures do not
    collide, and black becomes the text colour of the page.

    Parameters
    ----------
    figure : Figure
        The figure; its background becomes transparent.
    description : str
        Alternative text.
    """
    import matplotlib

    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
        if (legend := axes.get_legend()) is not None:
            legend.get_frame().set_visible(False)
    file = io.StringIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": description, "font.family": "sans-serif"}
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # the browser has other fonts
        figure.savefig(file, format="svg", metadata=nothing)
    root = ElementTree.fromstring(file.getvalue())
    prefix = re.sub(r"\W+", "-", description.lower())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        _without_style(element)
        _rename(element, prefix)
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", description)
    root.set("fill", "currentColor")
    ElementTree.register_namespace("", SVG)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _without_style(element: ElementTree.Element) -> None:
    style = element.attrib.pop("style", "")
    for declaration in style.split(";"):
        name, _, value = declaration.partition(":")
        name, value = name.strip(), value.strip()
        if name == "font" and (size := FONT_SIZE.search(value)):
            element.set("font-size", size[1])
            if "bold" in value or "700" in value:
                element.set("font-weight", "bold")
        elif name in ("fill", "stroke") and value in BLACK:
            element.set(name, "currentColor")
        elif name:
            element.set(name, value)


def _rename(element: ElementTree.Element, prefix: str) -> None:
    for name, value in list(element.attrib.items()):
        if name == "id":
            element.set(name, f"{prefix}-{value}")
        elif name == LINK and value.startswith("#"):
            del element.attrib[name]
            element.set("href", f"#{prefix}-{value[1:]}")
        elif "url(#" in value:
            element.set(name, value.replace("url(#", f"url(#{prefix}-"))
