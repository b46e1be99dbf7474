"""Figures as parts of a page, so that what they say under the pointer is shown there."""

from base64 import b64encode
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

LEFT_OUT = ("metadata", "style")  # says nothing of the figure; would style the whole page
WIDE = 480  # points; a wider figure has a row of the page to itself


def embedded(figure: Path, caption: str) -> Element:
    """Return a figure, `figure` with the suffix of its SVG, else of its PNG, as an element of HTML.

    The ids of an SVG get the name of the figure in front, for other figures have the same.
    """
    svg = figure.with_name(f"{figure.name}.svg")
    if not svg.exists():
        content = b64encode(figure.with_name(f"{figure.name}.png").read_bytes()).decode()
        return Element("img", {"src": f"data:image/png;base64,{content}", "alt": caption})
    root = fromstring(svg.read_text("utf-8"))
    for part in root.iter():
        part.tag = _local(part.tag)
        part.attrib = {_local(key): _prefixed(_local(key), value, figure.name) for key, value in part.items()}
        part.text, part.tail = (text and text.strip() for text in (part.text, part.tail))
    shared = {part for defs in root.iter("defs") for part in defs.iter()}
    for part in [*root.iter()]:
        if part not in shared:
            part.attrib.pop("id", None)
        for child in [child for child in part if child.tag in LEFT_OUT]:
            part.remove(child)
    root.attrib |= {"role": "img", "aria-label": caption}
    return root


def is_wide(figure: Element) -> bool:
    """Whether a figure needs more than half of a page of the usual width to be readable, as photographs do."""
    return figure.tag == "img" or float(figure.get("width", "0").removesuffix("pt")) > WIDE


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _prefixed(key: str, value: str, prefix: str) -> str:
    if key == "id":
        return f"{prefix}-{value}"
    if key == "href" and value.startswith("#"):
        return f"#{prefix}-{value[1:]}"
    return value.replace("url(#", f"url(#{prefix}-")
