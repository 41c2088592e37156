"""Figure 5: how one reconstruction finds the scale, the number of atoms and the counts."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from figure_style import save
from matplotlib.figure import Figure
from table_files import logged

from prammol.io import read_atoms, read_reconstruction
from prammol.plotting.panels import (
    draw_curve,
    draw_likelihood,
    draw_misfit,
    draw_number,
    target,
)
from prammol.plotting.style import COLUMN, STYLE, letter_panels, new_figure
from prammol.structure.atoms import Atoms

FEW = 4  # so few points have their values written beside them


def figure(rows: Sequence[Mapping[str, Any]], truth: Atoms) -> Figure:
    """Return the figure of a history, see :func:`rows_of`."""
    step = np.array([r["iteration"] for r in rows], dtype=float)
    excess = np.array([r["misfit_sigma"] for r in rows], dtype=float)
    with mpl.rc_context(STYLE):
        figure = new_figure(COLUMN + 0.5, 4.8)
        panels = figure.subplots(3, 1, sharex=True)
        scale = np.array([r["scale_ratio"] for r in rows])
        draw_curve(panels[0], step, scale, "C / true C")
        target(panels[0], 1.0, "true")
        panels[0].ticklabel_format(axis="y", useOffset=False)
        number = np.array([r["atoms"] for r in rows], dtype=float)
        draw_number(panels[1], step, number, truth)
        last = excess
        if np.isfinite(excess).all():
            draw_misfit(panels[2], step, excess)
        else:
            last = np.array([r["log_likelihood"] for r in rows])
            draw_likelihood(panels[2], step, last)
            last = last.max() - last
        if len(rows) <= FEW:
            panels[2].set_xticks(step, ["start", *(f"{s:g}" for s in step[1:])])
            for axes, values in zip(panels, (scale, number, last), strict=True):
                first, last_one = step[0], step[-1]
                for at, value in zip(step, values, strict=True):
                    axes.annotate(
                        f"{value:.4g}".replace("-", "\N{MINUS SIGN}"),
                        (at, value),
                        (6 if at == first else -6, 0),
                        textcoords="offset points",
                        ha="left" if at == first else "right",
                        va="top" if at == last_one else "center",
                        fontsize=7,
                    )
        for axes in panels[:2]:
            axes.set_xlabel("")
        letter_panels(list(panels))
        figure.align_ylabels()
    return figure


def rows_of(history: Sequence[Mapping[str, Any]], true_scale: float) -> list[dict[str, Any]]:
    """Return one row per iteration."""
    return [
        {
            "iteration": int(h["iteration"]),
            "scale_ratio": h["scale"] / true_scale,
            "atoms": int(h["atoms"]),
            "misfit_sigma": h.get("excess"),
            "log_likelihood": h["log_likelihood"],
        }
        for h in history
    ]


if "snakemake" in globals():
    with logged(snakemake):  # noqa: F821
        result = read_reconstruction(snakemake.input.result)  # noqa: F821
        truth = read_atoms(snakemake.input.crystal)  # noqa: F821
        table = rows_of(result.history, float(result.provenance["diffraction"]["scale"]))
        save(figure(table, truth), table, snakemake.output)  # noqa: F821
