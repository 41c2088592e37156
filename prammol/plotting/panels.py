"""Panels of curves: how a reconstruction converged, how large its errors are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from prammol.plotting.quantities import error_norm
from prammol.plotting.style import DASHED, FOUND, GRID, LIMIT, TRUTH, plain_ticks
from prammol.structure.atoms import Atoms

FloatArray = NDArray[np.float64]
Panel = Callable[[Axes], None]

_FEWEST = 3  # derived: two points are no curve
_NOISE = 3.0  # derived: standard deviations within which a misfit is noise


def history_panels(history: Sequence[Mapping[str, Any]], truth: Atoms | None) -> list[Panel]:
    """Return one function per panel the history has numbers for, none for fewer than three."""
    panels: list[Panel] = []
    for name, draw in (
        ("excess", draw_misfit),
        ("log_likelihood", draw_likelihood),
        ("atoms", lambda axes, x, y: draw_number(axes, x, y, truth)),
    ):
        steps, values = series(history, name)
        # The misfit in standard deviations says more than a log-likelihood.
        if len(steps) >= _FEWEST and not (name == "log_likelihood" and panels):
            panels.append(lambda axes, d=draw, x=steps, y=values: d(axes, x, y))  # type: ignore[misc]
    return panels


def series(history: Sequence[Mapping[str, Any]], name: str) -> tuple[FloatArray, FloatArray]:
    """Return iterations and finite values of a key."""
    pairs = [
        (record.get("iteration", i), record[name])
        for i, record in enumerate(history)
        if isinstance(record.get(name), int | float) and np.isfinite(record[name])
    ]
    table = np.array(pairs, dtype=float).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def draw_curve(axes: Axes, x: FloatArray, y: FloatArray, label: str) -> None:
    """Draw a number after each iteration."""
    few = len(x) <= 40
    axes.plot(x, y, color=FOUND, lw=1.2, marker="o" if few else "", ms=2.5, zorder=3)
    axes.set(xlabel="iteration", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", **GRID)
    axes.margins(y=0.15)


def draw_misfit(axes: Axes, x: FloatArray, y: FloatArray) -> None:
    """Draw the misfit beyond noise [standard deviations], and where noise is."""
    draw_curve(axes, x, y, "misfit beyond noise (σ)")
    if np.abs(y).max() > 10 * _NOISE:
        axes.set_yscale("symlog", linthresh=_NOISE)
        decades = np.arange(1, np.ceil(np.log10(np.abs(y).max())) + 1)
        axes.set_yticks([0, *10.0 ** decades[:: 1 + len(decades) // 5]])
        axes.set_ylim(min(-2 * _NOISE, 2 * y.min()), 3 * y.max())
    axes.axhspan(-_NOISE, _NOISE, color=LIMIT, alpha=0.18, lw=0)
    axes.annotate(
        f"noise, ±{_NOISE:g} σ",
        (1, _NOISE),
        (-2, 2),
        ("axes fraction", "data"),
        "offset points",
        ha="right",
        color=LIMIT,
        fontsize=7,
    )


def draw_likelihood(axes: Axes, x: FloatArray, y: FloatArray) -> None:
    """Draw by how much the log-likelihood is below its best."""
    below = y.max() - y
    label = "log-likelihood below best"
    positive = below > 0
    if positive.sum() > 1 and below.max() > 30 * below[positive].min():
        # The best iteration itself has no place on this scale.
        draw_curve(axes, x[positive], below[positive], label)
        axes.set_xlim(x.min() - 0.02 * np.ptp(x), x.max() + 0.02 * np.ptp(x))
        axes.set_yscale("log")
        best = int(y.argmax())
        axes.axvline(x[best], color=LIMIT, **DASHED)
        axes.annotate("best", (x[best], 0.98), xycoords=("data", "axes fraction"), va="top",
                      ha="right", rotation=90, fontsize=7, color=LIMIT)  # fmt: skip
    else:
        draw_curve(axes, x, below, label)


def draw_number(axes: Axes, x: FloatArray, y: FloatArray, truth: Atoms | None) -> None:
    """Draw the number of atoms."""
    draw_curve(axes, x, y, "atoms")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    axes.ticklabel_format(axis="y", useOffset=False, style="plain")
    if truth is not None:
        target(axes, len(truth), f"true: {len(truth)}")


def target(axes: Axes, value: float, text: str) -> None:
    """Draw the true value."""
    axes.axhline(value, color=TRUTH, **DASHED)
    axes.annotate(
        text,
        (1, value),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        color=TRUTH,
        fontsize=7,
    )


def draw_histogram(axes: Axes, errors: FloatArray) -> None:
    """Draw how many atoms have which error [pm]."""
    norm = error_norm(errors)
    low, high = float(norm.vmin or 0.0), max(float(norm.vmax or 0.0), float(errors.max()))
    if isinstance(norm, LogNorm):
        edges = np.geomspace(low, high, 41)
        axes.set_xscale("log")
        plain_ticks(axes.xaxis, norm, minor=False)
    else:
        edges = np.linspace(low, high, 41)
    axes.hist(np.maximum(errors, low), bins=list(edges), color=FOUND)
    axes.axvline(errors.mean(), color="black", **DASHED)
    axes.annotate(
        f"mean {errors.mean():.3g} pm",
        (0.02, 0.98),
        xycoords="axes fraction",
        va="top",
        fontsize=7,
    )
    axes.margins(y=0.18)
    least = f", ≤ {low:.2g} in the first bin" if (errors < low).any() else ""
    axes.set(ylabel="atoms", xlabel=f"position error (pm){least}")
