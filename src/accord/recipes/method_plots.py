"""A method's loss and slope as a small SVG, and any figure in the same style."""

from __future__ import annotations

import io
import re
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from accord.recipes.method_curves import Picture

COLOURS = ("#2563eb", "#d97706")
MUTED = "#808080"
"""Grey that can be read on white and on black."""

STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "accord",
    "font.size": 9.0,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "text.color": MUTED,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
}
"""What matplotlib draws with."""


def draw(picture: Picture) -> str:
    """The figure as SVG; the same curves give the same file."""
    return as_svg(plot(picture))


def as_svg(figure: Figure) -> str:
    """A figure as SVG, transparent, with text that stays text; the same figure gives the same file."""
    with rc_context(STYLE):
        target = io.StringIO()
        figure.savefig(target, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    # A tenth of a point is finer than it is looked at, and indentation would be a fifth of the file.
    svg = re.sub(r"\s*\n\s*", "\n", target.getvalue())
    return re.sub(r'="[^"]*"', lambda attribute: re.sub(r"(\.\d)\d+", r"\1", attribute[0]), svg)


def plot(picture: Picture) -> Figure:
    """Two panels, the loss and its slope."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.5), layout="constrained")
        loss, slope = figure.subplots(1, 2)
        for curve, colour in zip(picture.curves, COLOURS, strict=False):
            loss.plot(curve.x, curve.loss, color=colour, linewidth=1.6, label=curve.label)
            slope.plot(curve.x, curve.slope, color=colour, linewidth=1.6)
        for axes, title in ((loss, "loss"), (slope, "slope")):
            axes.set_title(title, color=MUTED, fontsize=10)
            axes.axvline(0, color=MUTED, linewidth=0.5, linestyle=":")
            axes.locator_params(nbins=5)
            axes.axhline(0, color=MUTED, linewidth=0.5, linestyle=":")
        figure.supxlabel(picture.variable, color=MUTED, fontsize=9)
        if len(picture.curves) > 1:
            loss.legend(frameon=False, fontsize=8)
    return figure
