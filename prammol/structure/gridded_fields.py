"""Values of atoms as smooth fields on a grid: density, displacement, strain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from prammol.core.errors import InputError

FloatArray = NDArray[np.float64]

_BEYOND = 4.0  # derived: a Gaussian has 6e-5 of its mass farther out [standard deviations]
_LEAST = 0.05  # chosen: display, of the highest density, below it there is no crystal
_MOST_VOXELS = 2e8  # chosen: memory, 1.6 GB for each component; not varied


@dataclass(frozen=True, eq=False)
class GriddedFields:
    """Fields on a grid along x, y and z.

    Attributes
    ----------
    origin : (3,) ndarray
        Where the first point is [Å].
    spacing : float
        Distance of points [Å].
    fields : mapping of str to (nx, ny, nz) or (nx, ny, nz, k) ndarray
        ``density`` [atoms/Å^3], and the others in their own units, NaN where no atoms are.
    """

    origin: FloatArray
    spacing: float
    fields: Mapping[str, FloatArray]


def gridded(
    x: FloatArray, columns: Mapping[str, FloatArray], spacing: float, width: float
) -> GriddedFields:
    """Return the density of atoms and the means of their values around points of a grid.

    Each atom counts as a Gaussian; it is first shared among the eight points around it.

    Parameters
    ----------
    x : (n, 3) ndarray
        Positions [Å].
    columns : mapping of str to (n,) or (n, k) ndarray
        Values; atoms whose values are NaN don't count in their mean.
    spacing : float
        Distance of points [Å].
    width : float
        Standard deviation of the Gaussian [Å].

    Raises
    ------
    InputError
        If there are no atoms, a number isn't positive, or the grid has more than 2e8 points.
    """
    if not len(x) or not spacing > 0 or not width > 0:
        msg = (
            f"{len(x)} atoms on a grid of {spacing} Å with a width of {width} Å, expected some "
            "atoms and positive lengths"
        )
        raise InputError(msg)
    origin = x.min(axis=0) - _BEYOND * width
    shape = np.ceil((x.max(axis=0) + _BEYOND * width - origin) / spacing) + 1
    if np.prod(shape) > _MOST_VOXELS:
        msg = (
            f"a grid of {np.prod(shape):.1e} points, expected at most {_MOST_VOXELS:.0e}; "
            "take a larger spacing"
        )
        raise InputError(msg)
    grid = _Grid((x - origin) / spacing, tuple(shape.astype(int)), width / spacing)
    density = grid.smooth(np.ones(len(x)))
    there = density > _LEAST * density.max()
    fields = {"density": density / spacing**3}
    for name, values in columns.items():
        parts = np.asarray(values, dtype=float).reshape(len(x), -1)
        known = np.isfinite(parts).all(axis=1)
        if not known.any():
            continue
        weight = grid.smooth(known.astype(float))
        inside = there & (weight > _LEAST * density.max())
        sums = [grid.smooth(np.where(known, part, 0.0)) for part in parts.T]
        mean = np.full((*density.shape, len(sums)), np.nan)
        mean[inside] = np.stack([s[inside] for s in sums], axis=1) / weight[inside, None]
        fields[name] = mean if np.ndim(values) > 1 else mean[..., 0]
    return GriddedFields(origin, spacing, fields)


class _Grid:
    """Where atoms are on a grid; places and width in steps."""

    def __init__(self, places: FloatArray, shape: tuple[int, ...], width: float) -> None:
        self._shape, self._width = shape, width
        corner = np.floor(places).astype(int)
        part = places - corner
        self._shares = []
        for step in product((0, 1), repeat=3):
            share = np.prod(np.where(step, part, 1 - part), axis=1)
            number = np.ravel_multi_index(tuple((corner + step).T), shape)
            self._shares.append((number, share))

    def smooth(self, values: FloatArray) -> FloatArray:
        """Return the sum of Gaussians of mass ``values``, (n,), per point."""
        out = np.zeros(int(np.prod(self._shape)))
        for number, share in self._shares:
            out += np.bincount(number, weights=share * values, minlength=len(out))
        grid = out.reshape(self._shape)
        return np.asarray(gaussian_filter(grid, self._width, mode="constant", truncate=_BEYOND))
