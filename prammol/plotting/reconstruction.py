"""Pictures of a reconstruction and of diffraction.

Everything is drawn with matplotlib's objects on the Agg canvas: no window, no global
figure, safe in a job without a display. Colours stay apart for the colour-blind
(Okabe & Ito; viridis, magma).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError, cKDTree

from prammol.core.errors import InputError
from prammol.diffraction.dataset import Diffraction
from prammol.evaluation.metrics import Metrics, evaluate
from prammol.evaluation.registration import neighbour_distance
from prammol.io.atomic_write import PathLike, replacing, require_absent
from prammol.plotting.panels import (
    BLUE,
    RED,
    draw_histogram,
    error_norm,
    history_panels,
    plain_ticks,
)
from prammol.reconstruction.result import Reconstruction
from prammol.structure.atoms import Atoms

FloatArray = NDArray[np.float64]

PURPLE = "#B5176E"
# chosen: display
_STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
_DPI = 160  # chosen: display
_FORMATS = ("png", "pdf", "svg")
# chosen: display
_ATOM_SIZE = 0.72  # diameter of a drawn atom, in nearest-neighbour distances
_AXES = "xyz"


def plot_reconstruction(
    result: Reconstruction,
    path: PathLike,
    truth: Atoms | None = None,
    *,
    metrics: Metrics | None = None,
    true_scale: float | None = None,
    centre: Sequence[float] | None = None,
    force: bool = False,
) -> None:
    """Draw slices of a reconstruction in three directions and how it converged.

    A slice is one nearest-neighbour distance thick and goes through a vacancy inside the
    crystal if there is one, else through the atom nearest the centre. With a truth,
    atoms are coloured by their error, missing atoms are open circles and extra ones
    crosses; without, atoms are coloured by their energy.

    Parameters
    ----------
    result : Reconstruction
        What to draw.
    path : path
        Picture to write; png, pdf or svg by its suffix.
    truth : Atoms, optional
        The true crystal.
    metrics : Metrics, optional
        Comparison with the truth, computed if not given.
    true_scale : float, optional
        The true C, to draw C / C_true.
    centre : (3,) sequence of float, optional
        Where the slices cross, in the frame of the truth, if there is one [Å].
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    InputError
        If there are no atoms, the suffix is unknown or the elements differ.
    OutputExistsError
        If the file exists and ``force`` is False.
    """
    _format(path)
    require_absent(path, force)
    if not len(result.atoms):
        msg = f"{path}: the reconstruction has no atoms to draw"
        raise InputError(msg)
    if truth is not None and metrics is None:
        metrics = evaluate(result.atoms, truth)
    rows = 1 if truth is None else 2
    panels = [*history_panels(result.history, truth, true_scale)]
    if metrics is not None and len(metrics.errors_pm):
        panels.append(lambda axes: draw_histogram(axes, metrics.errors_pm))
    heights = [3.4 * rows + 0.2] + ([2.5] if panels else [])
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(11, sum(heights) + 0.6), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(_headline(result, metrics), fontsize=11)
        parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        grid = parts[0].subplots(rows, 3, squeeze=False)
        if truth is None or metrics is None:
            _draw_alone(parts[0], grid[0], result.atoms, centre)
        else:
            _draw_compared(parts[0], grid, truth.positions, metrics, centre)
        if panels:
            for axes, draw in zip(
                parts[1].subplots(1, len(panels), squeeze=False)[0], panels, strict=True
            ):
                draw(axes)
        _save(figure, path, force)


def _draw_compared(
    figure: Any,
    grid: NDArray[Any],
    truth: FloatArray,
    metrics: Metrics,
    centre: Sequence[float] | None,
) -> None:
    """Draw the truth above the reconstruction coloured by error."""
    size = neighbour_distance(truth)
    middle = slice_centre(truth, size) if centre is None else np.asarray(centre, dtype=float)
    norm = error_norm(metrics.errors_pm)
    found = metrics.positions[metrics.found_index]
    missing, extra = truth[metrics.missing], metrics.positions[metrics.extra]
    views = _views(np.concatenate([truth, metrics.positions]), middle, size)
    atoms = None
    for axis in range(3):
        above, below = grid[:, axis]
        _draw_atoms(above, truth, middle, size, axis, facecolors="#D7DAE0")
        atoms = _draw_atoms(
            below, found, middle, size, axis, array=metrics.errors_pm, norm=norm, cmap="viridis"
        )
        _draw_marks(below, missing, middle, size, axis, "missing")
        _draw_marks(below, extra, middle, size, axis, "extra")
        for axes in (above, below):
            _frame(axes, *views[axis], axis)
        above.set_xlabel("")
        above.tick_params(labelbottom=False)
        above.set_title(f"slice {size:.1f} Å thick, seen along {_AXES[axis]}")
    for axes, text in zip(grid[:, 0], ("truth", "reconstruction"), strict=True):
        axes.annotate(
            text,
            (0, 1),
            xytext=(4, -4),
            xycoords="axes fraction",
            textcoords="offset points",
            va="top",
            fontweight="bold",
        )
    if len(found):
        beyond = norm.vmax is not None and metrics.errors_pm.max() > 1.001 * norm.vmax
        extend = "max" if beyond else "neither"
        bar = figure.colorbar(
            atoms, ax=grid[1], label="error (pm)", pad=0.01, aspect=25, extend=extend
        )
        plain_ticks(bar.ax.yaxis, norm)
    if len(missing) or len(extra):
        figure.legend(
            handles=_legend_of_marks(len(missing), len(extra)),
            loc="outside lower center",
            ncols=2,
        )


def _draw_alone(
    figure: Any, row: NDArray[Any], atoms: Atoms, centre: Sequence[float] | None
) -> None:
    """Draw a reconstruction coloured by energy, if it is known."""
    x = atoms.positions
    size = neighbour_distance(x) if len(x) > 1 else 2.5
    middle = slice_centre(x, size) if centre is None else np.asarray(centre, dtype=float)
    energy = np.asarray(atoms.columns["energy"]) if "energy" in atoms.columns else None
    views = _views(x, middle, size)
    drawn = None
    for axis, axes in enumerate(row):
        if energy is None:
            _draw_atoms(axes, x, middle, size, axis, facecolors=BLUE)
        else:
            low, high = np.percentile(energy, [1, 99])
            norm = Normalize(low, high if high > low else low + 1e-6)
            drawn = _draw_atoms(
                axes, x, middle, size, axis, array=energy, norm=norm, cmap="viridis"
            )
        _frame(axes, *views[axis], axis)
        axes.set_title(f"slice {size:.1f} Å thick, seen along {_AXES[axis]}")
    if drawn is not None:
        figure.colorbar(drawn, ax=row, label="energy per atom (eV)", pad=0.01, aspect=25)


def slice_centre(x: FloatArray, neighbours: float) -> FloatArray:
    """Return a vacancy inside the crystal, or the atom nearest the centre.

    Around a vacancy, atoms deep inside have fewer neighbours than most.
    """
    middle = x.mean(axis=0)
    nearest = np.asarray(x[np.linalg.norm(x - middle, axis=1).argmin()])
    try:
        hull = ConvexHull(x).equations
    except (QhullError, ValueError):
        return nearest
    depth = -(x @ hull[:, :3].T + hull[:, 3]).max(axis=1)
    tree = cKDTree(x)
    number = tree.query_ball_point(x, 1.25 * neighbours, return_length=True)
    poor = np.flatnonzero(
        (number < np.median(number[depth > depth.max() / 2])) & (depth > 2 * neighbours)
    )
    if not len(poor):
        return nearest
    first = x[poor[np.linalg.norm(x[poor] - middle, axis=1).argmin()]]
    around = poor[np.linalg.norm(x[poor] - first, axis=1) < 2.1 * neighbours]
    return np.asarray(x[around].mean(axis=0))


def _slab(x: FloatArray, middle: FloatArray, thickness: float, axis: int) -> NDArray[np.bool_]:
    return np.asarray(np.abs(x[:, axis] - middle[axis]) <= thickness / 2)


def _views(x: FloatArray, middle: FloatArray, size: float) -> list[tuple[FloatArray, float]]:
    """Return middle, (2,), and half edge of the view of each slice: one scale for all [Å]."""
    shown = [_plane(x[_slab(x, middle, size, axis)], middle, axis) for axis in range(3)]
    low = [p.min(axis=0, initial=0) for p in shown]
    high = [p.max(axis=0, initial=0) for p in shown]
    half = max(float((h - lo).max()) / 2 for h, lo in zip(high, low, strict=True)) + size
    return [((h + lo) / 2, half) for h, lo in zip(high, low, strict=True)]


def _plane(x: FloatArray, middle: FloatArray, axis: int) -> FloatArray:
    """Return the two coordinates seen along an axis, relative to the centre."""
    return np.asarray((x - middle)[:, [(axis + 1) % 3, (axis + 2) % 3]])


def _draw_atoms(
    axes: Axes, x: FloatArray, middle: FloatArray, size: float, axis: int, **colour: Any
) -> EllipseCollection:
    inside = _slab(x, middle, size, axis)
    if "array" in colour:
        colour["array"] = colour["array"][inside]
    diameter = np.full(int(inside.sum()), _ATOM_SIZE * size)
    atoms = EllipseCollection(
        diameter,
        diameter,
        np.zeros_like(diameter),
        units="xy",
        offsets=_plane(x[inside], middle, axis),
        offset_transform=axes.transData,
        linewidths=0.3,
        edgecolors="#40444B",
        **colour,
    )
    axes.add_collection(atoms)
    return atoms


def _draw_marks(
    axes: Axes, x: FloatArray, middle: FloatArray, size: float, axis: int, kind: str
) -> None:
    at = _plane(x[_slab(x, middle, size, axis)], middle, axis)
    axes.plot(*at.T, linestyle="none", **_mark(kind))


def _mark(kind: str) -> dict[str, Any]:
    if kind == "missing":
        return {"marker": "o", "ms": 6, "mfc": "none", "mec": RED, "mew": 1.4, "zorder": 4}
    return {"marker": "x", "ms": 5.5, "mec": PURPLE, "mew": 1.8, "zorder": 5}


def _legend_of_marks(missing: int, extra: int) -> list[Line2D]:
    return [
        Line2D([], [], linestyle="none", label=f"{kind} ({n} in all)", **_mark(kind))
        for kind, n in (("missing", missing), ("extra", extra))
    ]


def _frame(axes: Axes, middle: FloatArray, half: float, axis: int) -> None:
    a, b = (axis + 1) % 3, (axis + 2) % 3
    axes.set(
        xlim=(middle[0] - half, middle[0] + half),
        ylim=(middle[1] - half, middle[1] + half),
        aspect="equal",
        xlabel=f"{_AXES[a]} (Å)",
        ylabel=f"{_AXES[b]} (Å)",
    )
    for side in (axes.xaxis, axes.yaxis):
        side.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def _headline(result: Reconstruction, metrics: Metrics | None) -> str:
    text = f"{len(result.atoms)} {result.atoms.element} atoms found"
    if metrics is not None:
        text += f" of {metrics.n_true} · {metrics.n_missing} missing · {metrics.n_extra} extra"
        if len(metrics.errors_pm):
            text += f" · mean error {metrics.mae_pm:.3g} pm, largest {metrics.max_error_pm:.3g} pm"
        if np.isfinite(metrics.resolution_angstrom):
            text += f" · resolution {metrics.resolution_angstrom:.2g} Å"
    if result.misfit_sigma is None:
        return text
    return f"{text}\nmisfit {result.misfit_text()}"


# Slices of diffraction


def _draw_slice(
    axes: Axes,
    data: Diffraction,
    k: int,
    peak: Sequence[Any],
    axis: int,
    norm: LogNorm,
    colours: Any,
) -> Any:
    """Draw a plane of grid points through the peak, distances along the grid axes."""
    patch = data.patches[k]
    a, b = (axis + 1) % 3, (axis + 2) % 3
    cut: list[Any] = [slice(None)] * 3
    cut[axis] = int(peak[axis])
    plane = np.where(data.valid[k][tuple(cut)], data.counts[k][tuple(cut)], np.nan)
    plane = np.where(plane == 0, 1e-30, plane)  # no photon: darkest, not masked
    if a < b:
        plane = plane.T  # rows upwards are axis b
    step = np.linalg.norm(patch.step, axis=1)
    extent = [
        v
        for c in (a, b)
        for v in ((-0.5 - peak[c]) * step[c], (patch.shape[c] - 0.5 - peak[c]) * step[c])
    ]
    image = axes.imshow(
        np.ma.masked_invalid(plane),
        origin="lower",
        extent=(extent[0], extent[1], extent[2], extent[3]),
        norm=norm,
        cmap=colours,
        interpolation="nearest",
    )
    axes.set_xlabel(f"along grid axis {a + 1} (Å$^{{-1}}$)")
    axes.set_ylabel(f"along grid axis {b + 1} (Å$^{{-1}}$)")
    return image


def _format(path: PathLike) -> str:
    suffix = Path(path).suffix.lstrip(".").lower()
    if suffix not in _FORMATS:
        msg = f"{path}: can't draw {suffix or 'a file without suffix'}, expected .png, .pdf or .svg"
        raise InputError(msg)
    return suffix


def _save(figure: Figure, path: PathLike, force: bool) -> None:
    with replacing(path, force) as temporary:
        figure.savefig(temporary, format=_format(path), dpi=_DPI)
