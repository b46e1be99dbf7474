"""Texts that a browser shows under the pointer: titles of the parts of an SVG, without a script.

Matplotlib writes the id of an artist into the SVG. So a text travels as an id, of which `titled` makes a title.
"""

import math
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

Places = Sequence[float] | NDArray[Any]
ONE, EACH = "tip:", "tips:"  # how such an id begins
MOST = 1000  # points of a method or a panel that have one


def tip(artist: Artist, said: str) -> None:
    """Give an artist a text."""
    artist.set_gid(ONE + _as_id(said))


def tip_each(markers: Line2D, said: Sequence[str]) -> None:
    """Give each marker of a line, which has one at every point, a text."""
    markers.set_gid(EACH + ",".join(map(_as_id, said)))


def tips(axes: Axes, x: Places, y: Places, said: Sequence[str], points: float = 6.0) -> None:
    """Give each place a text, by invisible squares of so many points a side; one that is not finite has none."""
    shown = [place for place in zip(x, y, said, strict=True) if math.isfinite(place[0] + place[1])]
    if 0 < len(shown) <= MOST:
        xs, ys, texts = zip(*shown, strict=True)
        tip_each(axes.plot(xs, ys, "s", markersize=points, markeredgewidth=0, alpha=0)[0], texts)


def titled(svg: str) -> str:
    """Return an SVG of Matplotlib with titles instead of the ids that hold a text."""
    svg = re.sub(rf'<g id="{EACH}([^"]*)">(.*?</g>\s*</g>)', _markers, svg, flags=re.DOTALL)
    return re.sub(rf'<g id="{ONE}([^"]*)">', lambda match: f"<g>{_title(match[1])}", svg)


def _markers(match: re.Match[str]) -> str:
    said = match[1].split(",")
    if len(said) != match[2].count("<use "):  # some are not on the canvas, and nobody knows which
        return f"<g>{match[2]}"
    titles = iter(said)
    marker = re.compile(r"<use ([^>]*)/>")
    return "<g>" + marker.sub(lambda use: f"<use {use[1]}>{_title(next(titles))}</use>", match[2])


def _as_id(said: str) -> str:
    """Return a text on one line, in letters that an attribute of XML has as they are; a comma is not one of them."""
    return quote(re.sub(r"\s+", " ", said), safe="", errors="replace")


def _title(written: str) -> str:
    return f"<title>{escape(unquote(written))}</title>"
