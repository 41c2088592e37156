"""Figure 2: the sample, from outside and in three slices through its middle."""

from typing import Any

import matplotlib as mpl
import numpy as np
from figure_style import (
    BLUE,
    PAGE,
    PLANES,
    STYLE,
    draw_slice,
    frame,
    letter,
    new_figure,
    save,
    slab,
)
from matplotlib.figure import Figure
from table_files import logged

from prammol.evaluation.registration import neighbour_distance
from prammol.io import read_atoms
from prammol.plotting.reconstruction import slice_centre
from prammol.structure.atoms import Atoms


def figure(atoms: Atoms) -> Figure:
    """Return the figure of a crystal whose middle is the origin."""
    x = atoms.positions
    size = neighbour_distance(x)
    middle = slice_centre(x, size)
    half = float(np.abs(x).max()) + size
    with mpl.rc_context(STYLE):
        figure = new_figure(PAGE, 2.1)
        solid, *panels = figure.subplots(1, 4)
        _draw_solid(solid, x, size)
        letter(solid, f"a   {len(x)} atoms")
        for axes, plane, name in zip(panels, PLANES, "bcd", strict=True):
            draw_slice(axes, x[slab(x, middle, size, plane[2])], plane, size, facecolors=BLUE)
            frame(axes, plane, half)
            letter(axes, name)
    return figure


def _draw_solid(axes: Any, x: np.ndarray, size: float) -> None:
    """Draw all atoms from a corner, the nearest last and lightest."""
    look = np.array([2.0, 1.3, 1.0]) / np.linalg.norm([2.0, 1.3, 1.0])
    right = np.cross([0, 0, 1], look)
    right /= np.linalg.norm(right)
    seen = x @ np.stack([right, np.cross(look, right), look], axis=1)
    seen = seen[np.argsort(seen[:, 2])]
    depth = (seen[:, 2] - seen[:, 2].min()) / max(np.ptp(seen[:, 2]), 1e-9)
    shades = mpl.colormaps["Blues_r"](0.15 + 0.6 * depth)
    draw_slice(axes, seen, (0, 1, 2), 1.2 * size, facecolors=shades)
    half = float(np.abs(seen).max()) + size
    axes.set(xlim=(-half, half), ylim=(-half, half), aspect="equal")
    axes.axis("off")


def rows_of(atoms: Atoms) -> list[dict[str, Any]]:
    """Return the positions drawn."""
    columns = ("x_angstrom", "y_angstrom", "z_angstrom")
    return [dict(zip(columns, p, strict=True)) for p in atoms.positions.tolist()]


if "snakemake" in globals():
    with logged(snakemake):  # noqa: F821
        crystal = read_atoms(snakemake.input.crystal)  # noqa: F821
        save(figure(crystal), rows_of(crystal), snakemake.output)  # noqa: F821
