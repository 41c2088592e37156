"""The one style of all figures: sizes, and colours that mean one thing each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from prammol.core.errors import InputError
from prammol.io.atomic_write import PathLike, replacing

# Okabe & Ito 2008 and two more: apart for the colour-blind.
FOUND = BLUE = "#0072B2"  # what a reconstruction found
MODEL = ORANGE = "#E69F00"  # what its model expects
TRUTH = GREEN = "#009E73"
MISSING = RED = "#D55E00"
EXTRA = PURPLE = "#B5176E"
LIMIT = GREY = "#6B7280"  # bounds, limits, numbers of the paper
PALE = "#D7DAE0"
# chosen: display
GRID: Any = {"color": "#E4E6EA", "lw": 0.5}
# chosen: display
DASHED: Any = {"lw": 0.9, "ls": (0, (4, 3)), "zorder": 1.5}
EVEN, SIGNED, COUNTS = "viridis", "RdBu_r", "magma"  # maps of values, of differences, of photons
# chosen: display
MARKS: dict[str, dict[str, Any]] = {
    "missing": {"marker": "o", "ms": 4.5, "mfc": "none", "mec": MISSING, "mew": 1.2, "zorder": 4},
    "extra": {"marker": "x", "ms": 4.5, "mec": EXTRA, "mew": 1.5, "zorder": 5},
}
# chosen: display
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
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
COLUMN, PAGE = 3.5, 7.1  # chosen: display, widths of a journal's column and page [inches]
_DPI = 200  # chosen: display
_FORMATS = ("png", "pdf", "svg")


def new_figure(width: float, height: float) -> Figure:
    """Return a figure without a window, width and height in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def letter_panels(panels: Sequence[Axes]) -> None:
    """Put a, b, c, ... before the left titles of panels."""
    for axes, name in zip(panels, _letters(len(panels)), strict=True):
        text = axes.get_title(loc="left")
        axes.set_title(rf"$\bf{{{name}}}$   {text}".rstrip(), loc="left")


def _letters(number: int) -> list[str]:
    once = "abcdefghijklmnopqrstuvwxyz"
    return [*once, *(a + b for a in once for b in once)][:number]


def miller(indices: Sequence[int], brackets: str = "()") -> str:
    r"""Return indices as mathematical text, ``(1$\bar{1}$0)``."""
    text = "".join(rf"$\bar{{{-i}}}$" if i < 0 else f"{i}" for i in indices)
    return f"{brackets[0]}{text}{brackets[1]}"


def plain_ticks(axis: Any, norm: Normalize, minor: bool = True) -> None:
    """Label a logarithmic axis 0.1, 1, 10 instead of with powers."""
    if isinstance(norm, LogNorm):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        wide = norm.vmax is not None and norm.vmin is not None and norm.vmax > 300 * norm.vmin
        few = FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
        axis.set_minor_formatter(few if minor and not wide else NullFormatter())


def beyond(values: NDArray[np.float64], norm: Normalize) -> Any:
    """Return which ends of a colour bar values go beyond, matplotlib's ``extend``."""
    low = bool(len(values)) and norm.vmin is not None and values.min() < norm.vmin
    high = bool(len(values)) and norm.vmax is not None and values.max() > norm.vmax
    return {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[int(low), int(high)]


def require_format(path: PathLike) -> str:
    """Return the format that a file's name asks for.

    Raises
    ------
    InputError
        If it isn't png, pdf or svg.
    """
    suffix = Path(path).suffix.lstrip(".").lower()
    if suffix not in _FORMATS:
        msg = f"{path}: can't draw {suffix or 'a file without suffix'}, expected .png, .pdf or .svg"
        raise InputError(msg)
    return suffix


def save(figure: Figure, path: PathLike, force: bool) -> None:
    """Write a figure, complete or not at all."""
    with replacing(path, force) as temporary, mpl.rc_context(STYLE):
        figure.savefig(temporary, format=require_format(path), dpi=_DPI)
