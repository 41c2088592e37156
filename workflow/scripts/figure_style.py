"""What the workflow's figures share beside the style of prammol's own: files, remarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray
from table_files import write_table

from prammol.plotting.style import STYLE

FloatArray = NDArray[np.float64]


def save(figure: Figure, rows: Sequence[Mapping[str, Any]], outputs: Any) -> None:
    """Write the figure as PNG and PDF, and the numbers in it as CSV."""
    with mpl.rc_context(STYLE):
        figure.savefig(outputs.png, dpi=300, metadata={"Software": None})
        figure.savefig(outputs.pdf, metadata={"CreationDate": None}, dpi=300)
    write_table(outputs.csv, rows)


def log_axis(axes: Axes, values: FloatArray) -> None:
    """Make the vertical axis logarithmic, with few labels, for values of which some may be NaN."""
    if not np.isfinite(values).any():
        return
    axes.set_yscale("log")
    decades = np.log10(np.nanmax(values) / np.nanmin(values))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3) if decades < 2 else (1,), numticks=6))
    axes.yaxis.set_minor_formatter(NullFormatter())


def planned(table: Sequence[Mapping[str, Any]]) -> str:
    """Return a remark if trials of the study were not made, else an empty text."""
    missing = int(table[0]["trials_planned"]) - len(table)
    return f"{len(table)} of {len(table) + missing} planned trials" if missing else ""
