"""Rows of layers through reconstructions, coloured by displacement (Fig. 6) or error (Fig. 8)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from figure_style import save
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from table_files import logged

from prammol.io import read_atoms
from prammol.plotting.quantities import error_norm
from prammol.plotting.slices import (
    Cut,
    cuts_through,
    draw_layer,
    draw_marks,
    frame_alike,
    legend_of_marks,
)
from prammol.plotting.style import (
    EVEN,
    PAGE,
    STYLE,
    beyond,
    letter_panels,
    new_figure,
    plain_ticks,
)
from prammol.structure.atoms import Atoms
from prammol.structure.lattice_planes import CUBE

LABELS = {
    "displacement": "displacement from the lattice (pm)",
    "error": "position error (pm)",
}


@dataclass(frozen=True, eq=False)
class Row:
    """A reconstruction in the frame of its truth, with error_pm and truth_index."""

    name: str
    found: Atoms
    truth: Atoms

    @property
    def errors(self) -> np.ndarray:
        """Distance from the true atom [pm], NaN for an extra atom."""
        return np.asarray(self.found.columns["error_pm"], dtype=float)

    @cached_property
    def partner(self) -> np.ndarray:
        """Number of the true atom of each, -1 for an extra atom."""
        return np.asarray(self.found.columns["truth_index"], dtype=int)

    @property
    def extra(self) -> np.ndarray:
        """Places of atoms that aren't true [Å]."""
        return np.asarray(self.found.positions[self.partner < 0])

    @property
    def missing(self) -> np.ndarray:
        """Places of true atoms that weren't found [Å]."""
        taken = self.partner[self.partner >= 0]
        return np.asarray(np.delete(self.truth.positions, taken, axis=0))

    def values(self, colour: str) -> np.ndarray:
        """What colours the atoms [pm]."""
        if colour == "error" or "displacement" not in self.found.columns:
            return self.errors
        moved = np.asarray(self.found.columns["displacement"], dtype=float)
        return np.asarray(100 * np.linalg.norm(moved, axis=1))


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


def figure(rows: Sequence[Row], planned: int, colour: str = "error") -> Figure:
    """Return the figure: a row for each reconstruction, a column for each plane.

    Layers go through missing and extra atoms if there are any. Errors have one scale, displacements
    one for each crystal. It says if there are fewer rows than planned.
    """
    every = np.concatenate([r.errors[np.isfinite(r.errors)] for r in rows])
    with mpl.rc_context(STYLE):
        figure = new_figure(PAGE, 2.6 * len(rows) + 0.4)
        grid = figure.subplots(len(rows), len(CUBE), squeeze=False)
        for row, panels in zip(rows, grid, strict=True):
            values = row.values(colour)
            known = values[np.isfinite(values)]
            norm = error_norm(every if colour == "error" else known)
            discs = _draw(row, panels, values, norm)
            bar = figure.colorbar(
                discs,
                ax=panels,
                label=LABELS[colour],
                pad=0.01,
                shrink=0.8,
                extend=beyond(known, norm),
            )
            plain_ticks(bar.ax.yaxis, norm)
        letter_panels(list(grid.ravel()))
        marks = legend_of_marks(
            missing=sum(len(r.missing) for r in rows), extra=sum(len(r.extra) for r in rows)
        )
        figure.legend(handles=marks, loc="outside lower center", ncols=2)
        if len(rows) < planned:
            figure.suptitle(f"{len(rows)} of {planned} planned crystals", fontsize=8)
    return figure


def table(rows: Sequence[Row], colour: str = "error") -> list[dict[str, Any]]:
    """Return one row per atom found (with its error and displacement), extra or missing."""
    out = []
    for row in rows:
        moved = row.values("displacement") if colour == "displacement" else [None] * len(row.found)
        for x, error, i, u in zip(row.found.positions, row.errors, row.partner, moved, strict=True):
            kind = "found" if i >= 0 else "extra"
            out.append(_line(row.name, kind, x, float(error) if i >= 0 else None, u))
        out += [_line(row.name, "missing", x, None, None) for x in row.missing]
    return out


def _line(name: str, kind: str, x: Any, error: float | None, moved: Any) -> dict[str, Any]:
    place = {f"{a}_angstrom": float(v) for a, v in zip("xyz", x, strict=True)}
    return {
        "reconstruction": name,
        "atom": kind,
        **place,
        "error_pm": error,
        "displacement_pm": None if moved is None or not np.isfinite(moved) else float(moved),
    }


def _draw(row: Row, panels: Sequence[Any], values: np.ndarray, norm: Normalize) -> Any:
    x, truth = row.found.positions, row.truth.positions
    cuts: list[Cut] = cuts_through(truth, wrong=np.concatenate([row.missing, row.extra]))
    good = np.isfinite(values) & (row.partner >= 0)
    discs = None
    for axes, cut in zip(panels, cuts, strict=True):
        discs = draw_layer(axes, cut, x[good], array=values[good], norm=norm, cmap=EVEN)
        draw_marks(axes, cut, row.missing, "missing")
        draw_marks(axes, cut, row.extra, "extra")
        axes.set_title(cut.title, loc="left")
    frame_alike([[axes] for axes in panels], cuts, np.concatenate([x, truth]))
    found = int((row.partner >= 0).sum())
    panels[0].set_title(
        f"{row.name}: {found} of {len(truth)} atoms found,\n{len(row.missing)} missing, "
        f"{len(row.extra)} extra\n{cuts[0].title}",
        loc="left",
    )
    return discs


if "snakemake" in globals():
    with logged(snakemake):  # noqa: F821
        rows = rows_of(snakemake.input.trials, snakemake.input.crystals)  # noqa: F821
        colour = snakemake.params.colour  # noqa: F821
        drawn = figure(rows, snakemake.params.planned, colour)  # noqa: F821
        save(drawn, table(rows, colour), snakemake.output)  # noqa: F821
