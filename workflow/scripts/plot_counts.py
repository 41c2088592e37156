"""Figure 3: what the detector counts around the three Bragg peaks."""

from typing import Any

import matplotlib as mpl
import numpy as np
from figure_style import PAGE, STYLE, letter, new_figure, save
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from table_files import logged

from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.dataset import Diffraction
from prammol.io import read_diffraction


def middle_planes(data: Diffraction) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Return for each patch its number, counts of the plane through its brightest point, and q.

    The plane is that of the first two axes of the grid; q, (n, m, 3) [1/Å].
    """
    planes = []
    for k, (patch, counts) in enumerate(zip(data.patches, data.counts, strict=True)):
        third = int(np.unravel_index(int(counts.argmax()), patch.shape)[2])
        i, j = np.mgrid[: patch.shape[0], : patch.shape[1]]
        q = patch.origin + np.stack([i, j, np.full_like(i, third)], axis=-1) @ patch.step
        planes.append((k + 1, counts[:, :, third], q))
    return planes


def peak_name(patch: BraggPatch) -> str:
    """Return the indices of the peak in the middle of a patch, as mathematical text.

    It is one of the innermost peaks of a cubic structure: they are 0, 1 or -1.
    """
    q = patch.origin + (np.array(patch.shape) - 1) / 2 @ patch.step
    indices = np.round(q / np.abs(q).max()).astype(int)
    return "".join(str(i) if i >= 0 else rf"\bar{{{-i}}}" for i in indices)


def figure(data: Diffraction) -> Figure:
    """Return the figure of three patches on one logarithmic scale."""
    planes = middle_planes(data)
    norm = LogNorm(0.8, max(float(p[1].max()) for p in planes))
    colours = mpl.colormaps["magma"].with_extremes(under="black")
    with mpl.rc_context(STYLE):
        figure = new_figure(PAGE, 2.3)
        panels = figure.subplots(1, len(planes), squeeze=False)[0]
        for axes, (number, counts, q) in zip(panels, planes, strict=True):
            image = axes.pcolormesh(
                q[..., 0],
                q[..., 1],
                np.maximum(counts, 1e-3),
                norm=norm,
                cmap=colours,
                shading="nearest",
                rasterized=True,
            )
            axes.set(aspect="equal", xlabel="q$_x$ (Å$^{-1}$)", ylabel="q$_y$ (Å$^{-1}$)")
            peak = peak_name(data.patches[number - 1])
            letter(axes, f"{'abc'[number - 1] if number < 4 else number}   (${peak}$)")
        figure.colorbar(image, ax=list(panels), label="photons per point", extend="min", pad=0.01)
    return figure


def rows_of(data: Diffraction) -> list[dict[str, Any]]:
    """Return the points drawn."""
    names = ("qx_per_angstrom", "qy_per_angstrom", "qz_per_angstrom")
    return [
        {"patch": number, **dict(zip(names, place, strict=True)), "photons": photons}
        for number, counts, q in middle_planes(data)
        for place, photons in zip(q.reshape(-1, 3).tolist(), counts.ravel().tolist(), strict=True)
    ]


if "snakemake" in globals():
    with logged(snakemake):  # noqa: F821
        data = read_diffraction(snakemake.input.diffraction)  # noqa: F821
        save(figure(data), rows_of(data), snakemake.output)  # noqa: F821
