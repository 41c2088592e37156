"""The fit view: counts, model and what is between them, through each Bragg peak."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from prammol.diffraction.dataset import Diffraction
from prammol.io.atomic_write import PathLike, require_absent
from prammol.plotting.style import (
    COUNTS,
    DASHED,
    FOUND,
    GRID,
    LIMIT,
    MODEL,
    PAGE,
    SIGNED,
    STYLE,
    letter_panels,
    miller,
    new_figure,
    require_format,
    save,
)
from prammol.reconstruction.fit import Fit, fit_of
from prammol.reconstruction.result import Reconstruction

FloatArray = NDArray[np.float64]

_ROW = 1.75  # chosen: display, height [inches]
_SHELLS = 20  # chosen: display
_MOST_SIGMA = 5.0  # chosen: display, ends of the residuals' colours [standard deviations]
_DARKEST = 0.5  # chosen: display, below it a point is black [photons]
_CLEAR = 0.99  # chosen: display, cosine from a direction of small indices
_NOISE = 3.0  # derived: standard deviations within which a misfit is noise


def plot_fit(
    result: Reconstruction, data: Diffraction, path: PathLike, *, force: bool = False
) -> None:
    """Draw counts, model and residuals through each Bragg peak, and the misfit in shells.

    Parameters
    ----------
    result : Reconstruction
        What expects the counts, see :func:`prammol.reconstruction.fit.fit_of`.
    data : Diffraction
        What it was made from.
    path : path
        Picture to write; png, pdf or svg by its suffix.
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    InputError
        If the suffix is unknown or the data aren't those of the reconstruction.
    OutputExistsError
        If the file exists and ``force`` is False.
    """
    require_format(path)
    require_absent(path, force)
    save(fit_figure(fit_of(result, data), result.misfit_text()), path, force)


def fit_figure(fit: Fit, said: str = "") -> Figure:
    """Return the figure, a row for each peak; ``said`` is what the run says of its misfit."""
    with mpl.rc_context(STYLE):
        figure = new_figure(PAGE, _ROW * len(fit.patches) + 0.9)
        grid = figure.subplots(len(fit.patches), 4, squeeze=False)
        highest = max(max(c.max(), e.max()) for c, e in zip(fit.counts, fit.expected, strict=True))
        shown = LogNorm(_DARKEST, max(float(highest), 10 * _DARKEST))
        signed = Normalize(-_MOST_SIGMA, _MOST_SIGMA)
        for k, panels in enumerate(grid):
            plane, number = _plane(fit, k), frame_of(fit, k)
            values = (fit.counts[k], fit.expected[k], fit.residual(k))
            for axes, what, norm in zip(panels, values, (shown, shown, signed), strict=False):
                seen = np.where(fit.valid[k], what, np.nan)[number]
                _draw_plane(axes, plane, seen, norm)
            for axes in panels[1:3]:
                axes.set_ylabel("")
                axes.tick_params(labelleft=False)
            panels[0].set_title(f"counts {peak_name(fit.peaks[k])}, frame {number + 1}", loc="left")
            _draw_shells(panels[3], fit, k)
        for axes in grid[:-1, :3].ravel():
            axes.set_xlabel("")
        for axes in grid[:-1, 3]:
            axes.set_xlabel("")
        for axes, text in zip(grid[0, 1:3], ("model", "residual"), strict=True):
            axes.set_title(text, loc="left")
        grid[0, 3].set_title("shells", loc="left")
        photons = mpl.cm.ScalarMappable(shown, _colours())
        figure.colorbar(
            photons, ax=list(grid[:, :2].ravel()), label="photons per point",
            extend="min", pad=0.02, aspect=30, location="bottom",
        )  # fmt: skip
        figure.colorbar(
            mpl.cm.ScalarMappable(signed, SIGNED), ax=list(grid[:, 2]), label="residual (σ)",
            extend="both", pad=0.02, aspect=15, location="bottom",
        )  # fmt: skip
        title = f"misfit {said or f'{fit.sigma:.3g} sigma beyond noise'}"
        if fit.diffuse:
            title += "\nresiduals and shells without the error of the diffuse scattering fitted"
        figure.suptitle(title, fontsize=8)
        letter_panels(list(grid.ravel()))
    return figure


def peak_name(peak: FloatArray) -> str:
    """Return a peak by its indices if they are clear, as those of the innermost peaks of a cubic
    crystal along x, y and z are; else by its scattering vector."""
    indices = np.rint(peak / np.abs(peak).max()).astype(int)
    angle = peak @ indices / np.linalg.norm(peak) / np.linalg.norm(indices)
    if angle > _CLEAR:
        return miller(indices.tolist())
    return "q = ({:.2f}, {:.2f}, {:.2f}) Å$^{{-1}}$".format(*peak)


def _colours() -> Any:
    return mpl.colormaps[COUNTS].with_extremes(under="black", bad="#B9BDC6")


def frame_of(fit: Fit, k: int) -> int:
    """Return the frame of patch k, an index along its first axis, that is nearest to the peak.

    Of a rocking scan it is the detector's picture at one angle.
    """
    patch = fit.patches[k]
    distance = np.sum((patch.q() - fit.peaks[k]) ** 2, axis=1)
    return int(np.unravel_index(int(distance.argmin()), patch.shape)[0])


def _plane(fit: Fit, k: int) -> FloatArray:
    """Return where the points of that frame are, (n2, n3, 2) [1/Å], true to scale."""
    patch = fit.patches[k]
    q = patch.q().reshape(*patch.shape, 3)[frame_of(fit, k)] - fit.peaks[k]
    right = patch.affine.step[2] / np.linalg.norm(patch.affine.step[2])
    up = patch.affine.step[1] - (patch.affine.step[1] @ right) * right
    return np.asarray(q @ np.stack([right, up / np.linalg.norm(up)], axis=1))


def _draw_plane(axes: Axes, plane: FloatArray, values: FloatArray, norm: Normalize) -> None:
    cut = np.ma.masked_invalid(values)
    cmap: Any = SIGNED
    if isinstance(norm, LogNorm):
        cmap, cut = _colours(), np.ma.maximum(cut, _DARKEST / 2)
    axes.pcolormesh(
        plane[..., 0], plane[..., 1], cut, norm=norm, cmap=cmap, shading="nearest", rasterized=True
    )
    axes.set_facecolor("#B9BDC6")
    axes.set(aspect="equal", xlabel="q − G (Å$^{-1}$)", ylabel="q − G (Å$^{-1}$)")
    for side in (axes.xaxis, axes.yaxis):
        side.set_major_locator(MaxNLocator(3))


def _draw_shells(axes: Axes, fit: Fit, k: int) -> None:
    """Draw counts and model in shells around the peak, and the misfit below."""
    number = min(_SHELLS, max(4, min(fit.patches[k].shape) // 2))
    means = fit.shells(k, number)
    axes.set_axis_off()
    above = axes.inset_axes((0.0, 0.45, 1.0, 0.55))
    below = axes.inset_axes((0.0, 0.0, 1.0, 0.38), sharex=above)
    above.plot(means["q"], means["counts"], "o", color="black", ms=2.5, label="counts")
    above.plot(means["q"], means["expected"], color=MODEL, lw=1.2, label="model")
    if (means["counts"] > 0).any():
        above.set_yscale("log")
    above.tick_params(labelbottom=False)
    above.set_ylabel("photons")
    above.legend(loc="upper right", borderaxespad=0, handlelength=1.2)
    below.axhspan(-_NOISE, _NOISE, color=LIMIT, alpha=0.18, lw=0)
    below.axhline(0, color=LIMIT, **DASHED)
    below.plot(means["q"], means["sigma"], color=FOUND, lw=1, marker="o", ms=2)
    below.grid(axis="y", **GRID)
    below.set(ylabel="misfit (σ)", xlabel="|q − G| (Å$^{-1}$)")
    largest = max(2 * _NOISE, 1.1 * float(np.nanmax(np.abs(means["sigma"]), initial=0.0)))
    below.set_ylim(-largest if np.nanmin(means["sigma"]) < -_NOISE else -2 * _NOISE, largest)
