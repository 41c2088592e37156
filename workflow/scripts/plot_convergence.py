"""Figure 5: how one reconstruction finds the scale, the number of atoms and the counts."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from figure_style import BLUE, COLUMN, RED, STYLE, letter, log_axis, new_figure, save
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from table_files import logged

from prammol.io import read_atoms, read_reconstruction


def figure(rows: Sequence[Mapping[str, Any]], n_true: int) -> Figure:
    """Return the figure of a history, see :func:`rows_of`."""
    step = [r["iteration"] for r in rows]
    with mpl.rc_context(STYLE):
        figure = new_figure(COLUMN + 0.5, 4.8)
        scale, atoms, misfit = figure.subplots(3, 1, sharex=True)
        line = {"color": BLUE, "lw": 1.2, "marker": "o", "ms": 2.5}
        scale.plot(step, [r["scale_ratio"] for r in rows], **line)
        scale.axhline(1, color=RED, lw=0.9, ls=(0, (4, 3)))
        scale.set_ylabel("C / true C")
        atoms.plot(step, [r["atoms"] for r in rows], **line)
        atoms.axhline(n_true, color=RED, lw=0.9, ls=(0, (4, 3)))
        atoms.annotate(
            f"true: {n_true}",
            (1, n_true),
            (0, 3),
            ("axes fraction", "data"),
            "offset points",
            ha="right",
            color=RED,
        )
        atoms.set_ylabel("atoms")
        atoms.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        below = np.array([r["log_likelihood_below_best"] for r in rows])
        misfit.plot(step, np.where(below > 0, below, np.nan), **line)
        log_axis(misfit, np.where(below > 0, below, np.nan))
        misfit.set(ylabel="log-likelihood\nbelow its best", xlabel="iteration")
        misfit.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        for axes, name in zip((scale, atoms, misfit), "abc", strict=True):
            letter(axes, name)
            axes.ticklabel_format(axis="y", useOffset=False) if axes is not misfit else None
            axes.margins(y=0.15)
            axes.grid(axis="y", color="#E4E6EA", lw=0.5)
        figure.align_ylabels()
    return figure


def rows_of(history: Sequence[Mapping[str, Any]], true_scale: float) -> list[dict[str, Any]]:
    """Return one row per iteration."""
    best = max(h["log_likelihood"] for h in history)
    return [
        {
            "iteration": int(h["iteration"]),
            "scale_ratio": h["scale"] / true_scale,
            "atoms": int(h["atoms"]),
            "log_likelihood_below_best": best - h["log_likelihood"],
        }
        for h in history
    ]


if "snakemake" in globals():
    with logged(snakemake):  # noqa: F821
        result = read_reconstruction(snakemake.input.result)  # noqa: F821
        truth = read_atoms(snakemake.input.crystal)  # noqa: F821
        table = rows_of(result.history, float(result.provenance["diffraction"]["scale"]))
        save(figure(table, len(truth)), table, snakemake.output)  # noqa: F821
