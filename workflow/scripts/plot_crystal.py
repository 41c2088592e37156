"""Figure 2: the sample, from outside and in three layers through its middle."""

from typing import Any

import matplotlib as mpl
import numpy as np
from figure_style import save
from matplotlib.figure import Figure
from table_files import logged

from prammol.evaluation.registration import neighbour_distance
from prammol.io import read_atoms
from prammol.plotting.slices import cuts_through, draw_discs, draw_layer, frame_alike
from prammol.plotting.style import PAGE, PALE, STYLE, letter_panels, new_figure
from prammol.structure.atoms import Atoms

BAR = 20.0  # Å


def figure(atoms: Atoms) -> Figure:
    """Return the figure of a crystal."""
    x = atoms.positions
    with mpl.rc_context(STYLE):
        figure = new_figure(PAGE, 2.2)
        solid, *panels = figure.subplots(1, 4)
        _draw_solid(solid, x, neighbour_distance(x))
        solid.set_title(f"{len(x)} atoms", loc="left")
        cuts = cuts_through(x)
        for axes, cut in zip(panels, cuts, strict=True):
            draw_layer(axes, cut, x, facecolors=PALE)
            axes.set_title(cut.title, loc="left")
        frame_alike([[axes] for axes in panels], cuts, x)
        letter_panels([solid, *panels])
    return figure


def _draw_solid(axes: Any, x: np.ndarray, size: float) -> None:
    """Draw all atoms from a corner, the nearest last and lightest, and a scale."""
    look = np.array([2.0, 1.3, 1.0]) / np.linalg.norm([2.0, 1.3, 1.0])
    right = np.cross([0, 0, 1], look)
    right /= np.linalg.norm(right)
    seen = (x - x.mean(axis=0)) @ np.stack([right, np.cross(look, right), look], axis=1)
    seen = seen[np.argsort(seen[:, 2])]
    depth = (seen[:, 2] - seen[:, 2].min()) / max(np.ptp(seen[:, 2]), 1e-9)
    shades = mpl.colormaps["Greys_r"](0.25 + 0.6 * depth)
    draw_discs(axes, seen[:, :2], 1.25 * size, facecolors=shades)
    half = float(np.abs(seen).max()) + size
    axes.set(xlim=(-half, half), ylim=(-1.25 * half, half), aspect="equal")
    axes.plot([-BAR / 2, BAR / 2], [-1.1 * half] * 2, color="black", lw=2)
    axes.annotate(f"{BAR:g} Å", (0, -1.1 * half), (0, 3), textcoords="offset points", ha="center")
    axes.axis("off")


def rows_of(atoms: Atoms) -> list[dict[str, Any]]:
    """Return the positions drawn."""
    columns = ("x_angstrom", "y_angstrom", "z_angstrom")
    return [dict(zip(columns, p, strict=True)) for p in atoms.positions.tolist()]


if "snakemake" in globals():
    with logged(snakemake):  # noqa: F821
        crystal = read_atoms(snakemake.input.crystal)  # noqa: F821
        save(figure(crystal), rows_of(crystal), snakemake.output)  # noqa: F821
