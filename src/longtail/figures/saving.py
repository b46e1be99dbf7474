"""The two files of a figure."""

import io
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

DPI = 150


def save(figure: Figure, path_without_suffix: str | Path) -> tuple[Path, Path]:
    """Write a figure as PNG and as SVG with its text as text, the same bytes each time; folders are made.

    Both are drawn before either is written, so that an error leaves no half of them. The first drawing lays the
    figure out, and its parts stay where they are then. `Figure.savefig` would draw five times instead of twice.

    Returns:
        The paths of the PNG and of the SVG.
    """
    base = Path(path_without_suffix)
    png, svg = (base.with_name(f"{base.name}.{kind}") for kind in ("png", "svg"))
    drawn, written = io.BytesIO(), io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "longtail", "hatch.linewidth": 0.5}):
        figure.set_dpi(DPI)
        FigureCanvasAgg(figure).print_png(drawn, metadata={"Software": None})
        figure.set_layout_engine("none")
        FigureCanvasSVG(figure).print_svg(written, metadata={"Date": None, "Creator": None})
    base.parent.mkdir(parents=True, exist_ok=True)
    png.write_bytes(drawn.getvalue())
    svg.write_bytes(written.getvalue())
    return png, svg
