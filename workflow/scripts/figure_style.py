"""What the figures share: style, colours, slices of atoms, files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray
from table_files import write_table

FloatArray = NDArray[np.float64]

# Okabe & Ito, apart for the colour-blind and in grey
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#B5176E",
    "#6B7280",
)
STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
# Slice planes of the paper: horizontal axis, vertical axis, what is cut
PLANES = ((0, 1, 2), (1, 2, 0), (0, 2, 1))
AXES = "xyz"
COLUMN, PAGE = 3.5, 7.1  # widths of a journal's column and page [inches]


def new_figure(width: float, height: float) -> Figure:
    """Return a figure without a window."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, rows: Sequence[Mapping[str, Any]], outputs: Any) -> None:
    """Write the figure as PNG and PDF, and the numbers in it as CSV."""
    with mpl.rc_context(STYLE):
        figure.savefig(outputs.png, dpi=300, metadata={"Software": None})
        figure.savefig(outputs.pdf, metadata={"CreationDate": None}, dpi=300)
    write_table(outputs.csv, rows)


def letter(axes: Axes, text: str) -> None:
    """Name a panel."""
    axes.set_title(text, loc="left", fontweight="bold")


def log_axis(axes: Axes, values: FloatArray) -> None:
    """Make the vertical axis logarithmic, with few labels, for values of which some may be NaN."""
    if not np.isfinite(values).any():
        return
    axes.set_yscale("log")
    decades = np.log10(np.nanmax(values) / np.nanmin(values))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3) if decades < 2 else (1,), numticks=6))
    axes.yaxis.set_minor_formatter(NullFormatter())


def planned(table: Sequence[Mapping[str, Any]]) -> str:
    """Return a remark if trials of the study are missing, else an empty text."""
    missing = int(table[0]["trials_planned"]) - len(table)
    return f"{missing} trials of this study are missing" if missing else ""


def slab(x: FloatArray, middle: FloatArray, size: float, axis: int) -> NDArray[np.bool_]:
    """Tell which atoms are in the slice through the middle across an axis.

    With ``size`` the nearest-neighbour distance [Å] it holds one (100) layer of fcc.
    """
    return np.asarray(np.abs(x[:, axis] - middle[axis]) <= 0.35 * size)


def draw_slice(
    axes: Axes, x: FloatArray, plane: tuple[int, int, int], size: float | FloatArray, **colour: Any
) -> EllipseCollection:
    """Draw atoms as discs of diameter ``0.8 size`` in the plane.

    Parameters
    ----------
    axes : Axes
        Where to.
    x : (n, 3) ndarray
        Atoms of the slice [Å].
    plane : tuple of int
        Horizontal, vertical axis and the one looked along.
    size : float or (n,) ndarray
        Nearest-neighbour distance, less for parts of atoms [Å].
    **colour
        Of the discs: ``facecolors``, or ``array`` with ``norm`` and ``cmap``.
    """
    diameter = np.broadcast_to(0.8 * size, len(x))
    discs = EllipseCollection(
        diameter,
        diameter,
        np.zeros(len(x)),
        units="xy",
        offsets=x[:, plane[:2]],
        offset_transform=axes.transData,
        linewidths=0.25,
        edgecolors="#40444B",
        **colour,
    )
    axes.add_collection(discs)
    return discs


def frame(axes: Axes, plane: tuple[int, int, int], half: float) -> None:
    """Give a slice equal axes from -half to half [Å]."""
    axes.set(
        xlim=(-half, half),
        ylim=(-half, half),
        aspect="equal",
        xlabel=f"{AXES[plane[0]]} (Å)",
        ylabel=f"{AXES[plane[1]]} (Å)",
    )
    for side in (axes.xaxis, axes.yaxis):
        side.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
