"""Rows of slices through reconstructions, atoms coloured by their error (Figs. 6 and 8)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from figure_style import (
    PAGE,
    PLANES,
    PURPLE,
    RED,
    STYLE,
    draw_slice,
    frame,
    new_figure,
    save,
    slab,
)
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from table_files import logged

from prammol.evaluation.registration import neighbour_distance
from prammol.io import read_atoms
from prammol.plotting.panels import error_norm, plain_ticks
from prammol.plotting.reconstruction import slice_centre
from prammol.structure.atoms import Atoms

MISSING: Any = {"marker": "o", "ms": 3.6, "mfc": "none", "mec": RED, "mew": 1.0}
EXTRA: Any = {"marker": "x", "ms": 3.6, "mec": PURPLE, "mew": 1.2}


@dataclass(frozen=True)
class Row:
    """A reconstruction in the frame of its truth, with error_pm and truth_index."""

    name: str
    found: Atoms
    truth: Atoms


def rows_of(reconstructions: Sequence[str], crystals: Sequence[str]) -> list[Row]:
    """Read errors.xyz of trials and their truths; a row is named after its condition."""
    return [
        Row(
            re.sub(r"^([\d.]+)K$", r"\1 K", Path(found).parts[-3]),
            read_atoms(found),
            read_atoms(true),
        )
        for found, true in zip(reconstructions, crystals, strict=True)
    ]


def figure(rows: Sequence[Row], planned: int) -> Figure:
    """Return the figure: a row for each reconstruction, the slices of the paper as columns.

    It says if there are fewer rows than planned.
    """
    errors = np.concatenate([_errors(r)[np.isfinite(_errors(r))] for r in rows])
    norm = error_norm(errors)
    with mpl.rc_context(STYLE):
        figure = new_figure(PAGE, 2.25 * len(rows) + 0.4)
        grid = figure.subplots(len(rows), 3, squeeze=False)
        for row, panels in zip(rows, grid, strict=True):
            discs = _draw(row, panels, norm)
        beyond = len(errors) and errors.max() > norm.vmax
        bar = figure.colorbar(
            discs,
            ax=grid,
            label="position error (pm)",
            aspect=40,
            pad=0.01,
            extend="max" if beyond else "neither",
        )
        plain_ticks(bar.ax.yaxis, norm)
        figure.legend(
            handles=[
                Line2D([], [], ls="none", label="missing atom", **MISSING),
                Line2D([], [], ls="none", label="extra atom", **EXTRA),
            ],
            loc="outside lower center",
            ncols=2,
        )
        if len(rows) < planned:
            remark = f"{planned - len(rows)} of {planned} crystals are missing"
            figure.suptitle(remark, color=RED)
    return figure


def table(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return one row per atom found (with its error) or missing."""
    out = []
    for row in rows:
        partner = np.asarray(row.found.columns["truth_index"], dtype=int)
        for x, error, i in zip(row.found.positions, _errors(row), partner, strict=True):
            kind = "found" if i >= 0 else "extra"
            out.append(_line(row.name, kind, x, float(error) if i >= 0 else None))
        out += [_line(row.name, "missing", x, None) for x in _missing(row)]
    return out


def _line(name: str, kind: str, x: Any, error: float | None) -> dict[str, Any]:
    place = {f"{a}_angstrom": float(v) for a, v in zip("xyz", x, strict=True)}
    return {"reconstruction": name, "atom": kind, **place, "error_pm": error}


def _errors(row: Row) -> np.ndarray:
    return np.asarray(row.found.columns["error_pm"], dtype=float)


def _missing(row: Row) -> np.ndarray:
    partner = np.asarray(row.found.columns["truth_index"], dtype=int)
    return np.asarray(np.delete(row.truth.positions, partner[partner >= 0], axis=0))


def _draw(row: Row, panels: Sequence[Any], norm: Normalize) -> Any:
    x, truth = row.found.positions, row.truth.positions
    size = neighbour_distance(truth)
    middle = slice_centre(truth, size)
    good = np.isfinite(_errors(row))
    half = float(max(np.abs(truth).max(), np.abs(x).max() if len(x) else 0)) + size
    discs = None
    for axes, plane in zip(panels, PLANES, strict=True):
        cut = slab(x, middle, size, plane[2])
        colour = {"array": _errors(row)[good & cut], "norm": norm, "cmap": "viridis"}
        discs = draw_slice(axes, x[good & cut], plane, size, **colour)
        away = _missing(row)
        away = away[slab(away, middle, size, plane[2])]
        axes.plot(*away[:, plane[:2]].T, ls="none", **MISSING)
        axes.plot(*x[cut & ~good][:, plane[:2]].T, ls="none", **EXTRA)
        frame(axes, plane, half)
    extra, missing = int((~good).sum()), len(_missing(row))
    panels[0].set_title(
        f"{row.name}: {len(x)} of {len(truth)} atoms, {missing} missing, {extra} extra",
        loc="left",
        fontweight="bold",
    )
    return discs


if "snakemake" in globals():
    with logged(snakemake):  # noqa: F821
        rows = rows_of(snakemake.input.trials, snakemake.input.crystals)  # noqa: F821
        save(figure(rows, snakemake.params.planned), table(rows), snakemake.output)  # noqa: F821
