"""Texts that a browser shows under the pointer: titles of the parts of an SVG, without a script.

Matplotlib writes the id of an artist into the SVG. So a text travels as an id, of which `titled` makes a title.
"""

import math
import re
from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

ONE, EACH = "tip:", "tips:"  # how such an id begins
MOST = 1000  # points of a method or a panel that have one


def tip(artist: Artist, said: str) -> None:
    """Give an artist a text."""
    artist.set_gid(ONE + _line(said))


def tip_each(markers: Line2D, said: Sequence[str]) -> None:
    """Give each marker of a line, which has one at every point, a text."""
    markers.set_gid(EACH + "\n".join(map(_line, said)))


def tips(axes: Axes, x: Sequence[float], y: Sequence[float], said: Sequence[str], points: float = 6.0) -> None:
    """Give places a text each, by squares of so many points that cannot be seen; what is not finite has none."""
    shown = [place for place in zip(x, y, said, strict=True) if math.isfinite(place[0] + place[1])]
    if 0 < len(shown) <= MOST:
        xs, ys, texts = zip(*shown, strict=True)
        tip_each(axes.plot(xs, ys, "s", markersize=points, markeredgewidth=0, alpha=0)[0], texts)


def titled(svg: str) -> str:
    """Return an SVG of Matplotlib with titles instead of the ids that hold a text."""
    svg = re.sub(rf'<g id="{EACH}([^"]*)">(.*?</g>\s*</g>)', _markers, svg, flags=re.DOTALL)
    return re.sub(rf'<g id="{ONE}([^"]*)">', r"<g><title>\1</title>", svg)


def _markers(match: re.Match[str]) -> str:
    said = match[1].split("\n")
    if len(said) != match[2].count("<use "):  # some are not on the canvas, and nobody knows which
        return f"<g>{match[2]}"
    titles = iter(said)
    marker = re.compile(r"<use ([^>]*)/>")
    return "<g>" + marker.sub(lambda use: f"<use {use[1]}><title>{next(titles)}</title></use>", match[2])


def _line(said: str) -> str:
    return re.sub(r"\s+", " ", said)
