"""A picture of a reconstruction: layers of its lattice, errors, how it converged.

Everything is drawn with matplotlib's objects on the Agg canvas: no window, no global
figure, safe in a job without a display.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from prammol.core.errors import InputError
from prammol.evaluation.metrics import Metrics, evaluate
from prammol.io.atomic_write import PathLike, require_absent
from prammol.plotting.panels import draw_histogram, history_panels
from prammol.plotting.quantities import NAMES, Quantity, error_norm, quantities
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
    FOUND,
    PAGE,
    PALE,
    STYLE,
    beyond,
    letter_panels,
    new_figure,
    plain_ticks,
    require_format,
    save,
)
from prammol.reconstruction.result import Reconstruction
from prammol.structure.atoms import Atoms
from prammol.structure.lattice_planes import CUBE, Miller

FloatArray = NDArray[np.float64]

_ROW, _CURVES = 2.5, 1.9  # chosen: display, heights [inches]
_COLUMNS = 3  # derived: panels in a row, as many as planes are shown


def plot_reconstruction(
    result: Reconstruction,
    path: PathLike,
    truth: Atoms | None = None,
    *,
    metrics: Metrics | None = None,
    planes: Sequence[Miller] = CUBE,
    colour: str | None = None,
    centre: Sequence[float] | None = None,
    force: bool = False,
) -> None:
    """Draw layers of a reconstruction along planes of its lattice and how it converged.

    The lattice's orientation is that of the atoms. A layer goes through most missing and extra
    atoms if there are any, else through a vacancy inside the crystal, else through the atom
    nearest the centre; its title says where. With a truth, atoms are coloured by their
    error, missing atoms are open circles and extra ones crosses; without, the first
    layer is drawn once for each quantity that is known of the atoms.

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
    planes : sequence of (int, int, int)
        Miller indices of up to three planes.
    colour : str, optional
        Quantity that colours the atoms in all planes, one of
        :data:`prammol.plotting.quantities.NAMES`; the error with a truth, else the displacement
        if not given.
    centre : (3,) sequence of float, optional
        Where the layers cross, in the frame of the truth, if there is one [Å].
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    InputError
        If there are no atoms, the suffix is unknown, the elements differ, or the atoms don't have
        the quantity.
    OutputExistsError
        If the file exists and ``force`` is False.
    """
    require_format(path)
    require_absent(path, force)
    if not len(result.atoms):
        msg = f"{path}: the reconstruction has no atoms to draw"
        raise InputError(msg)
    known = quantities(result.atoms)
    if colour is not None and colour not in known:
        has = ", ".join(known) if known else "none of " + ", ".join(NAMES)
        msg = f"{path}: nothing is known of {colour!r} of the atoms, expected one of {has}"
        raise InputError(msg)
    if truth is not None and metrics is None:
        metrics = evaluate(result.atoms, truth)
    panels = history_panels(result.history, truth)
    if metrics is not None and len(metrics.errors_pm):
        panels.append(lambda axes: draw_histogram(axes, metrics.errors_pm))
    if truth is None or metrics is None:
        others = [q for name, q in known.items() if name != (colour or next(iter(known)))]
        rows = 1 + (0 if colour else -(-len(others) // _COLUMNS))
    else:
        rows = 2
    heights = [_ROW * rows] + ([_CURVES] if panels else [])
    with mpl.rc_context(STYLE):
        figure = new_figure(PAGE, sum(heights) + 0.5)
        figure.suptitle(_headline(result, metrics), fontsize=8)
        parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        grid = parts[0].subplots(rows, _COLUMNS, squeeze=False)
        if truth is None or metrics is None:
            main = known.get(colour) if colour else next(iter(known.values()), None)
            cuts = cuts_through(result.atoms.positions, planes, centre=centre)
            used = _draw_alone(parts[0], grid, result.atoms, cuts, main, [] if colour else others)
        else:
            by = None if colour is None else known[colour]
            used = _draw_compared(parts[0], grid, truth, metrics, planes, by, centre)
        letter_panels([*used, *_draw_panels(parts[-1], panels)])
        save(figure, path, force)


def _draw_panels(part: Any, panels: Sequence[Any]) -> list[Axes]:
    if not panels:
        return []
    drawn = list(part.subplots(1, len(panels), squeeze=False)[0])
    for axes, draw in zip(drawn, panels, strict=True):
        draw(axes)
    return drawn


def _draw_compared(
    figure: Any,
    grid: NDArray[Any],
    truth: Atoms,
    metrics: Metrics,
    planes: Sequence[Miller],
    by: Quantity | None,
    centre: Sequence[float] | None,
) -> list[Axes]:
    """Draw the truth above the reconstruction, coloured by its errors; return the panels."""
    x = truth.positions
    missing, extra = x[metrics.missing], metrics.positions[metrics.extra]
    cuts = cuts_through(x, planes, np.concatenate([missing, extra]), centre)
    if by is None:
        errors = np.full(metrics.n_atoms, np.nan)
        errors[metrics.found_index] = metrics.errors_pm
        by = Quantity("position error (pm)", errors, error_norm(metrics.errors_pm), EVEN)
    found = metrics.found_index
    discs = None
    for cut, above, below in zip(cuts, *grid[:, : len(cuts)], strict=True):
        draw_layer(above, cut, x, facecolors=PALE)
        discs = _draw_by(below, cut, metrics.positions[found], by, by.values[found])
        draw_marks(below, cut, missing, "missing")
        draw_marks(below, cut, extra, "extra")
        above.set_title(f"true {cut.title}", loc="left")
        below.set_title("found", loc="left")
    frame_alike(
        [list(column) for column in grid.T[: len(cuts)]],
        cuts,
        np.concatenate([x, metrics.positions]),
    )
    for axes in grid[0, : len(cuts)]:
        axes.set_xlabel("")
        axes.tick_params(labelbottom=False)
    if discs is not None and len(found):
        _colour_bar(figure, discs, list(grid[1]), by)
    if len(missing) or len(extra):
        marks = legend_of_marks(missing=len(missing), extra=len(extra))
        figure.legend(handles=marks, loc="outside lower center", ncols=2)
    return _without_unused(grid, [*grid[0, : len(cuts)], *grid[1, : len(cuts)]])


def _draw_alone(
    figure: Any,
    grid: NDArray[Any],
    atoms: Atoms,
    cuts: Sequence[Cut],
    main: Quantity | None,
    others: Sequence[Quantity],
) -> list[Axes]:
    """Draw all planes by one quantity, and the first by the others; return the panels."""
    x = atoms.positions
    used = list(grid[0, : len(cuts)])
    discs = None
    for axes, cut in zip(used, cuts, strict=True):
        if main is None:
            draw_layer(axes, cut, x, facecolors=FOUND)
        else:
            discs = _draw_by(axes, cut, x, main, main.values)
        axes.set_title(cut.title, loc="left")
    if discs is not None and main is not None:
        _colour_bar(figure, discs, list(grid[0]), main)
    first = [used[0]]
    for axes, by in zip_longest(grid[1:].ravel(), others):
        if by is not None:
            bar = figure.colorbar(
                _draw_by(axes, cuts[0], x, by, by.values),
                ax=axes,
                label=by.label,
                pad=0.02,
                shrink=0.75,
                extend=beyond(by.values[np.isfinite(by.values)], by.norm),
            )
            plain_ticks(bar.ax.yaxis, by.norm)
            axes.set_title(cuts[0].title, loc="left")
            first.append(axes)
    frame_alike([first, *([axes] for axes in used[1:])], cuts, x)
    return _without_unused(grid, [*used, *first[1:]])


def _draw_by(axes: Axes, cut: Cut, x: FloatArray, by: Quantity, values: FloatArray) -> Any:
    """Draw atoms coloured by a quantity, grey where it isn't known."""
    known = np.isfinite(values)
    draw_layer(axes, cut, x[~known], facecolors=PALE)
    return draw_layer(axes, cut, x[known], array=values[known], norm=by.norm, cmap=by.cmap)


def _colour_bar(figure: Any, discs: Any, panels: Sequence[Axes], by: Quantity) -> None:
    known = by.values[np.isfinite(by.values)]
    bar = figure.colorbar(
        discs, ax=panels, label=by.label, pad=0.01, shrink=0.75, extend=beyond(known, by.norm)
    )
    plain_ticks(bar.ax.yaxis, by.norm)


def _without_unused(grid: NDArray[Any], used: list[Axes]) -> list[Axes]:
    for axes in grid.ravel():
        if axes not in used:
            axes.set_axis_off()
    return used


def _headline(result: Reconstruction, metrics: Metrics | None) -> str:
    text = f"{len(result.atoms)} {result.atoms.element} atoms found"
    if metrics is not None:
        text = f"{len(metrics.found_index)} of {metrics.n_true} {result.atoms.element} atoms found"
        text += f" · {metrics.n_missing} missing · {metrics.n_extra} extra"
        if len(metrics.errors_pm):
            text += f" · mean error {metrics.mae_pm:.3g} pm, largest {metrics.max_error_pm:.3g} pm"
        if np.isfinite(metrics.resolution_angstrom):
            text += f" · resolution {metrics.resolution_angstrom:.2g} Å"
    if result.misfit_sigma is not None:
        text += f"\nmisfit {result.misfit_text()}"
    return f"{text}\nsingle layers, at their distance from the centre of the crystal"
