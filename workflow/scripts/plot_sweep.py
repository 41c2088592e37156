"""Errors, resolution and wrong atoms of all trials against what a study varies (Figs. 4, 7)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
from figure_style import (
    BLUE,
    COLUMN,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    STYLE,
    letter,
    new_figure,
    planned,
    save,
)
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from table_files import logged, read_table

FloatArray = NDArray[np.float64]

ERRORS = (
    ("mae_pm", "MAE", BLUE, "o"),
    ("rmse_pm", "RMSE", GREEN, "s"),
    ("max_error_pm", "largest", ORANGE, "^"),
)
WRONG = (("n_missing", "missing", RED, "v"), ("n_extra", "extra", BLUE, "D"))

# Other studies in the same picture, in turn
BESIDE = tuple(
    {"colour": c, "marker": m} for c, m in ((PURPLE, "s"), ("#7A4E1D", "P"), (GREY, "X"))
)

# Cramér-Rao bounds of the mean error
BOUNDS = (
    ("single_atom_pm", "bound, no potential"),
    ("with_potential_pm", "bound, potential"),
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
        threshold_text="paper: atomic from 10$^{18}$",
    ),
    "temperature": Sweep(
        label="temperature (K)",
        logarithmic=False,
        threshold=400,
        threshold_text="paper: below 1 Å up to 400 K",
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
            draw_series(top, rows, "mae_pm", sweep, label=f"MAE, {study}", **styles[study])
        for (name, label), dashes in zip(BOUNDS, ((4, 2), (1, 1)), strict=True):
            pairs = [(float(r["value"]), float(r[name])) for r in bounds]
            if pairs:
                style = {"color": GREY, "lw": 1.0, "ls": (0, dashes), "zorder": 1}
                top.plot(*np.array(sorted(pairs)).T, label=label, **style)
        _log_axis(top, "position error (pm)")
        _legend(top, 3)
        draw_series(
            middle, table, "resolution_angstrom", sweep, label="one trial", colour=BLUE, marker="o"
        )
        draw_series(
            middle,
            table,
            "resolution_of_scattering_angstrom",
            sweep,
            label="against mean scattering",
            colour=GREEN,
            marker="s",
        )
        for study, rows in beside.items():
            draw_series(middle, rows, "resolution_angstrom", sweep, label=study, **styles[study])
        _draw_condition(middle, table)
        middle.axhline(1, color=GREY, lw=0.8, ls=(0, (1, 2)))
        middle.annotate(
            "1 Å",
            (1, 1),
            (-3, 2),
            ("axes fraction", "data"),
            "offset points",
            ha="right",
            color=GREY,
        )
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
        for axes, text in zip((top, middle, bottom), "abc", strict=True):
            letter(axes, text)
            axes.axvline(sweep.threshold, color=RED, lw=0.9, ls=(0, (4, 3)), zorder=1)
            axes.grid(axis="y", color="#E4E6EA", lw=0.5)
        _name_threshold(top, sweep)
        bottom.set_xlabel(sweep.label)
        if remark := planned(table):
            figure.supxlabel(remark, color=RED, fontsize="medium")
    return figure


def _by_study(table: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each study, with the number of atoms that are missing or extra."""
    out: dict[str, list[dict[str, Any]]] = {}
    for row in table:
        pair = row["n_missing"], row["n_extra"]
        wrong = None if None in pair else sum(pair)
        out.setdefault(row["study"], []).append({**row, "wrong": wrong})
    return out


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
    """Draw every trial, the median of each condition and the middle half of the trials."""
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
    axes.fill_between(values, quartiles[:, 0], quartiles[:, 2], color=colour, alpha=0.18, lw=0)


def _draw_condition(axes: Axes, table: Sequence[Mapping[str, Any]]) -> None:
    """Draw the resolution of all trials of a condition together, the paper's number."""
    name = "resolution_of_condition_angstrom"
    pairs = sorted({(r["value"], r[name]) for r in table if r[name] is not None})
    if pairs:
        axes.plot(*np.array(pairs).T, "x", color=RED, ms=5, mew=1.2, label="all trials together")


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
        color=RED,
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
