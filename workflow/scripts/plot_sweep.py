"""Errors, resolution and wrong atoms of all trials against what a study varies (Figs. 4, 7)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
from figure_style import planned, save
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from table_files import logged, read_table

from prammol.evaluation.mean_scattering import FINEST
from prammol.evaluation.resolution import COARSE, Q_MAX
from prammol.plotting.style import (
    COLUMN,
    EXTRA,
    FOUND,
    GREY,
    GRID,
    MISSING,
    STYLE,
    letter_panels,
    new_figure,
)

FloatArray = NDArray[np.float64]

# One colour for what this study found, in three shades; another for each that is beside it.
ERRORS = (
    ("mae_pm", "mean", FOUND, "o"),
    ("rmse_pm", "root mean square", "#56B4E9", "s"),
    ("max_error_pm", "largest", "#08306B", "^"),
)
WRONG = (("n_missing", "missing", MISSING, "v"), ("n_extra", "extra", EXTRA, "D"))
BESIDE = tuple(
    {"colour": c, "marker": m} for c, m in (("#7A4E1D", "P"), ("#009E73", "s"), ("#E69F00", "X"))
)
SCATTERING = "#CC79A7"  # against the mean scattering
FEWEST = 4  # trials of a condition whose middle half is drawn as a band

# Cramér-Rao bounds of the mean error
BOUNDS = (
    ("single_atom_pm", "bound of the mean, one atom"),
    ("with_potential_pm", "bound of the mean, known potential"),
)


@dataclass(frozen=True)
class Sweep:
    """What is varied and where the paper's threshold is."""

    label: str
    logarithmic: bool
    threshold: float
    threshold_text: str


SWEEPS = {
    "flux": Sweep(
        label="time-integrated flux (photons/µm²)",
        logarithmic=True,
        threshold=1e18,
        threshold_text="atomic from 10$^{18}$\n(Mezière 2024)",
    ),
    "temperature": Sweep(
        label="temperature (K)",
        logarithmic=False,
        threshold=400,
        threshold_text="below 1 Å up to 400 K\n(Mezière 2024)",
    ),
}


def figure(
    table: Sequence[Mapping[str, Any]],
    sweep: Sweep,
    bounds: Sequence[Mapping[str, Any]] = (),
    other: Sequence[Mapping[str, Any]] = (),
) -> Figure:
    """Draw three panels above each other.

    Parameters
    ----------
    table : sequence of mapping
        One row per trial, as in trials.csv.
    sweep : Sweep
        The horizontal axis.
    bounds : sequence of mapping
        One row per value, as in bounds.csv.
    other : sequence of mapping
        Trials of other studies: their mean error, resolution and missing plus extra atoms are
        drawn beside, under the name of the study.
    """
    beside = _by_study(other)
    styles = dict(zip(beside, cycle(BESIDE), strict=False))
    with mpl.rc_context(STYLE):
        figure = new_figure(COLUMN + 0.5, 6.8)
        top, middle, bottom = figure.subplots(3, 1, sharex=True)
        for name, label, colour, marker in ERRORS:
            draw_series(top, table, name, sweep, label=label, colour=colour, marker=marker)
        for study, rows in beside.items():
            named = f"mean, {study}"
            draw_series(top, rows, "mae_pm", sweep, label=named, **styles[study])
        for (name, label), dashes in zip(BOUNDS, ((4, 2), (1, 1)), strict=True):
            pairs = [(float(r["value"]), float(r[name])) for r in bounds]
            if pairs:
                style = {"color": GREY, "lw": 1.0, "ls": (0, dashes), "zorder": 1}
                top.plot(*np.array(sorted(pairs)).T, label=label, **style)
        _log_axis(top, "position error (pm)")
        _legend(top, 2)
        draw_series(
            middle, table, "resolution_angstrom", sweep, label="one trial", colour=FOUND, marker="o"
        )
        draw_series(
            middle,
            table,
            "resolution_of_scattering_angstrom",
            sweep,
            label="against mean scattering",
            colour=SCATTERING,
            marker="s",
        )
        for study, rows in beside.items():
            draw_series(middle, rows, "resolution_angstrom", sweep, label=study, **styles[study])
        _draw_condition(middle, table)
        _draw_limits(middle, table)
        _log_axis(middle, "resolution π/q$_c$ (Å)")
        _legend(middle, 2)
        for name, label, colour, marker in WRONG:
            draw_series(bottom, table, name, sweep, label=label, colour=colour, marker=marker)
        for study, rows in beside.items():
            draw_series(bottom, rows, "wrong", sweep, label=f"both, {study}", **styles[study])
        bottom.set_yscale("symlog", linthresh=1, linscale=0.5)
        numbers = [r[n] or 0 for r in table for n in ("n_missing", "n_extra")]
        numbers += [r["wrong"] or 0 for rows in beside.values() for r in rows]
        bottom.set_ylim(-0.3, 2 * max(5, *numbers))
        bottom.set_ylabel("wrong atoms")
        _legend(bottom, 2)
        for axes in (top, middle, bottom):
            axes.axvline(sweep.threshold, color=GREY, lw=0.9, ls=(0, (4, 3)), zorder=1)
            axes.grid(axis="y", **GRID)
        letter_panels([top, middle, bottom])
        _name_threshold(bottom, sweep)
        bottom.set_xlabel(sweep.label)
        if remark := planned(table):
            figure.supxlabel(remark, fontsize="medium")
    return figure


def _by_study(table: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each study, with the number of atoms that are missing or extra.

    They are named by their preset; by the study where that isn't known or two have the same.
    """
    out: dict[str, list[dict[str, Any]]] = {}
    for row in table:
        pair = row["n_missing"], row["n_extra"]
        wrong = None if None in pair else sum(pair)
        out.setdefault(row["study"], []).append({**row, "wrong": wrong})
    presets = [rows[0].get("preset") for rows in out.values()]
    return {
        f"preset {preset}" if preset and presets.count(preset) == 1 else study: rows
        for (study, rows), preset in zip(out.items(), presets, strict=True)
    }


def draw_series(
    axes: Axes,
    table: Sequence[Mapping[str, Any]],
    name: str,
    sweep: Sweep,
    *,
    label: str,
    colour: str,
    marker: str,
) -> None:
    """Draw every trial, the median of each condition and, of four or more, their middle half."""
    if sweep.logarithmic:
        axes.set_xscale("log")
    rows = [r for r in table if r.get(name) is not None]
    values = sorted({float(r["value"]) for r in rows})
    if not values:
        return
    groups = [np.array([r[name] for r in rows if r["value"] == v], dtype=float) for v in values]
    for v, group in zip(values, groups, strict=True):
        axes.plot(
            np.full(len(group), v),
            group,
            marker,
            ms=2.8,
            mec=colour,
            mfc="none",
            mew=0.6,
            alpha=0.8,
        )
    quartiles = np.array([np.percentile(g, [25, 50, 75]) for g in groups])
    axes.plot(values, quartiles[:, 1], color=colour, lw=1.2, marker=marker, ms=2.2, label=label)
    if min(map(len, groups)) >= FEWEST:
        low, high = quartiles[:, 0], quartiles[:, 2]
        axes.fill_between(values, low, high, color=colour, alpha=0.18, lw=0)


def _draw_condition(axes: Axes, table: Sequence[Mapping[str, Any]]) -> None:
    """Draw the resolution of all trials of a condition together, the paper's number."""
    name = "resolution_of_condition_angstrom"
    pairs = sorted({(r["value"], r[name]) for r in table if r[name] is not None})
    if pairs:
        axes.plot(*np.array(pairs).T, "x", color="black", ms=4, mew=1, label="all trials together")


def _draw_limits(axes: Axes, table: Sequence[Mapping[str, Any]]) -> None:
    """Mark below which resolution nothing is looked at, where trials reach it."""
    for name, limit, what in (
        ("resolution_angstrom", COARSE * np.pi / Q_MAX, "errors in phase are looked for"),
        ("resolution_of_scattering_angstrom", FINEST, "mean scattering is compared"),
    ):
        known = [r[name] for r in table if r.get(name) is not None]
        if known and min(known) <= 1.01 * limit:
            axes.axhline(limit, color=GREY, lw=0.8, ls=(0, (1, 1.5)), zorder=1)
            axes.annotate(
                f"{what} up to here",
                (1, limit),
                (0, -2),
                ("axes fraction", "data"),
                "offset points",
                ha="right",
                va="top",
                fontsize=6,
                color=GREY,
            )


def _name_threshold(axes: Axes, sweep: Sweep) -> None:
    """Write the threshold's meaning on the side of its line that has more room."""
    place = axes.transAxes.inverted().transform(axes.transData.transform((sweep.threshold, 1)))[0]
    left = place > 0.5
    axes.annotate(
        sweep.threshold_text,
        (sweep.threshold, 0.97),
        (-3 if left else 3, 0),
        ("data", "axes fraction"),
        "offset points",
        ha="right" if left else "left",
        va="top",
        fontsize=7,
        color=GREY,
    ).set_in_layout(False)


def _log_axis(axes: Axes, label: str) -> None:
    axes.set_yscale("log")
    axes.set_ylabel(label)
    axes.margins(y=0.15)


def _legend(axes: Axes, columns: int) -> None:
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.01, 0.99),
        ncols=columns,
        borderaxespad=0,
        columnspacing=1,
        handlelength=1.4,
        handletextpad=0.4,
    )


if "snakemake" in globals():
    with logged(snakemake):  # noqa: F821
        rows = read_table(snakemake.input.table)  # noqa: F821
        path = getattr(snakemake.input, "bounds", None)  # noqa: F821
        bounds = read_table(path) if path else []
        tables = getattr(snakemake.input, "others", [])  # noqa: F821
        other = [row for table in tables for row in read_table(table)]
        sweep = SWEEPS[snakemake.params.sweep]  # noqa: F821
        drawn = figure(rows, sweep, bounds, other)
        save(drawn, [*rows, *other], snakemake.output)  # noqa: F821
