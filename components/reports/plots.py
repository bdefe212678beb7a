"""Matplotlib figures in the house style, without pyplot's global state: safe in threads, nothing to close."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from components.reports.theme import INK, MUTED, PALETTE, RULE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE: dict[str, Any] = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "font.size": 9.5,
    "lines.linewidth": 1.8,
}


def chart(width: float = 4.6, height: float = 3.0) -> tuple[Figure, Axes]:
    """Return an empty figure of one plot; draw on the axes, then give the figure to `pages.figure`.

    Args:
        width: Inches; 4.6 fits a third of a page, 7 a half, 11 the whole.
    """
    import matplotlib
    from cycler import cycler
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**STYLE, "axes.prop_cycle": cycler(color=PALETTE)}):
        fig = Figure(figsize=(width, height), layout="constrained")
        axes = fig.add_subplot()
    return fig, axes


def grid_of(number: int) -> tuple[Figure, list[Axes]]:
    """Return an empty figure of several plots, three in a row, as wide as a page."""
    import matplotlib
    from cycler import cycler
    from matplotlib.figure import Figure

    rows = -(-number // 3)
    with matplotlib.rc_context({**STYLE, "axes.prop_cycle": cycler(color=PALETTE)}):
        fig = Figure(figsize=(11, 2.5 * rows), layout="constrained")
        found = [fig.add_subplot(rows, 3, place + 1) for place in range(number)]
    return fig, found
