"""The two files of a figure."""

import io
import re
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from longtail.figures.tips import titled

DPI = 150
NOT_XML = "[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]"


def png(figure: Figure) -> bytes:
    """Draw a figure as PNG, the same bytes each time."""
    drawn = io.BytesIO()
    figure.set_dpi(DPI)
    FigureCanvasAgg(figure).print_png(drawn, metadata={"Software": None})
    return drawn.getvalue()


def save(figure: Figure, path_without_suffix: str | Path) -> tuple[Path, Path]:
    """Write a figure as PNG and as SVG with its text as text, the same bytes each time; folders are made.

    Both are drawn before either is written, so that an error leaves no half of them. The first drawing lays the
    figure out, and its parts stay where they are then. `Figure.savefig` would draw five times instead of twice.

    Returns:
        The paths of the PNG and of the SVG.
    """
    base = Path(path_without_suffix)
    of_png, of_svg = (base.with_name(f"{base.name}.{kind}") for kind in ("png", "svg"))
    written = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "longtail", "hatch.linewidth": 0.5}):
        drawn = png(figure)
        figure.set_layout_engine("none")
        FigureCanvasSVG(figure).print_svg(written, metadata={"Date": None, "Creator": None})
    base.parent.mkdir(parents=True, exist_ok=True)
    of_png.write_bytes(drawn)
    of_svg.write_text(re.sub(NOT_XML, "\ufffd", titled(written.getvalue().decode())), encoding="utf-8")
    return of_png, of_svg
