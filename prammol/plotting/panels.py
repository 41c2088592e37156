"""Panels of curves: how a reconstruction converged, how large its errors are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from prammol.structure.atoms import Atoms

FloatArray = NDArray[np.float64]
Panel = Callable[[Axes], None]

BLUE, RED = "#0072B2", "#D55E00"


def history_panels(
    history: Sequence[Mapping[str, Any]], truth: Atoms | None, true_scale: float | None
) -> list[Panel]:
    """Return one function per panel the history has numbers for."""
    panels: list[Panel] = []
    steps, values = _series(history, "log_likelihood")
    if len(steps):
        panels.append(lambda axes: _draw_likelihood(axes, steps, values))
    at, atoms = _series(history, "atoms")
    if len(at):
        panels.append(lambda axes: _draw_number(axes, at, atoms, truth))
    when, scale = _series(history, "scale")
    if len(when):
        panels.append(lambda axes: _draw_scale(axes, when, scale, true_scale))
    return panels


def _series(history: Sequence[Mapping[str, Any]], name: str) -> tuple[FloatArray, FloatArray]:
    """Return iterations and finite values of a key."""
    pairs = [
        (record.get("iteration", i), record[name])
        for i, record in enumerate(history)
        if isinstance(record.get(name), int | float) and np.isfinite(record[name])
    ]
    table = np.array(pairs, dtype=float).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _line(axes: Axes, x: FloatArray, y: FloatArray) -> None:
    few = len(x) <= 40
    axes.plot(x, y, color=BLUE, lw=1.4, marker="o" if few else "", ms=3.5, clip_on=False, zorder=3)
    axes.set_xlabel("iteration")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", color="#E4E6EA", lw=0.6)


def _draw_likelihood(axes: Axes, x: FloatArray, y: FloatArray) -> None:
    below = y.max() - y
    positive = below > 0
    if positive.sum() > 1 and below.max() > 30 * below[positive].min():
        # The best iteration itself has no place on this scale.
        _line(axes, x[positive], below[positive])
        axes.set_xlim(x.min() - 0.02 * np.ptp(x), x.max() + 0.02 * np.ptp(x))
        axes.set_yscale("log")
        axes.set_title("log-likelihood below its best")
    else:
        _line(axes, x, y)
        axes.set_title("log-likelihood")


def _draw_number(axes: Axes, x: FloatArray, y: FloatArray, truth: Atoms | None) -> None:
    _line(axes, x, y)
    axes.set_title("number of atoms")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    axes.ticklabel_format(axis="y", useOffset=False, style="plain")
    if truth is not None:
        _target(axes, len(truth), f"true: {len(truth)}")


def _draw_scale(axes: Axes, x: FloatArray, y: FloatArray, true_scale: float | None) -> None:
    known = true_scale is not None and true_scale > 0
    _line(axes, x, y / (true_scale if known and true_scale else 1.0))
    axes.set_title("scale C / true C" if known else "scale C (sqrt(photons))")
    axes.ticklabel_format(axis="y", useOffset=False)
    if known:
        _target(axes, 1.0, "true")


def _target(axes: Axes, value: float, text: str) -> None:
    axes.axhline(value, color=RED, lw=1, ls=(0, (4, 3)), zorder=2)
    axes.annotate(
        text,
        (1, value),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        color=RED,
    )
    axes.margins(y=0.15)


def draw_histogram(axes: Axes, errors: FloatArray) -> None:
    """Draw how many atoms have which error [pm]."""
    norm = error_norm(errors)
    if isinstance(norm, LogNorm):
        edges = np.geomspace(max(errors.min(), errors.max() / 1e4), errors.max(), 41)
        axes.set_xscale("log")
        plain_ticks(axes.xaxis, norm, minor=False)
    else:
        edges = np.linspace(0, max(errors.max(), 1e-3), 41)
    axes.hist(errors, bins=list(edges), color=BLUE)
    axes.axvline(errors.mean(), color=RED, lw=1, ls=(0, (4, 3)))
    axes.annotate(
        f"mean {errors.mean():.3g} pm",
        (0.02, 0.98),
        xycoords="axes fraction",
        va="top",
        color=RED,
    )
    axes.margins(y=0.18)
    axes.set(title="atoms by error", xlabel="error (pm)")


def error_norm(errors: FloatArray) -> Normalize:
    """Return a logarithmic scale if the errors span more than a decade."""
    if not len(errors) or np.percentile(errors, 99.5) < 1e-6:
        return Normalize(0, 1e-3)
    # A few bad atoms must not take the colours from all others.
    low, high = (float(v) for v in np.percentile(errors, [1, 99.5]))
    low = max(low, high / 1e3)
    return LogNorm(low, high) if high > 10 * low else Normalize(0, high)


def plain_ticks(axis: Any, norm: Normalize, minor: bool = True) -> None:
    """Label a logarithmic axis 0.1, 1, 10 instead of with powers."""
    if isinstance(norm, LogNorm):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        wide = norm.vmax is not None and norm.vmin is not None and norm.vmax > 300 * norm.vmin
        few = FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
        axis.set_minor_formatter(few if minor and not wide else NullFormatter())
