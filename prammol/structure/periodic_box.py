"""A cluster in a periodic box, in one piece, and a box for a cluster."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.core.errors import InputError

FloatArray = NDArray[np.float64]
_MARGIN = 10.0  # chosen: display, empty space around the cluster [Å]
_FLAT = 1e-9  # derived: rounding, relative volume of a box that is none


def box_around(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return two opposite corners of a box around a cluster, with empty space, (3,) each [Å].

    Parameters
    ----------
    x : (n, 3) ndarray
        Positions [Å].

    Raises
    ------
    InputError
        If there are no atoms.
    """
    if not len(x):
        msg = "no atoms to write"
        raise InputError(msg)
    return x.min(axis=0) - _MARGIN, x.max(axis=0) + _MARGIN


def in_one_piece(
    x: FloatArray, cell: FloatArray, periodic: NDArray[np.bool_], sure: bool = True
) -> FloatArray:
    """Bring together a cluster that lies across the borders of its box.

    Along each edge the widest empty slab, going around the border, is brought there.

    Parameters
    ----------
    x : (n, 3) ndarray
        Positions [Å].
    cell : (3, 3) ndarray
        Edges of the box as rows [Å].
    periodic : (3,) bool ndarray
        Along which edges it is repeated.
    sure : bool
        Whether it is known that it is.

    Returns
    -------
    (n, 3) ndarray
        The same positions if they are in one piece.

    Raises
    ------
    InputError
        If the box has no volume, or, where that is `sure`, atoms touch across its border: a
        crystal without a surface.
    """
    if abs(np.linalg.det(cell)) <= _FLAT * np.prod(np.linalg.norm(cell, axis=1)):
        msg = "its box has no volume, expected three independent edges"
        raise InputError(msg)
    if len(x) < 2 or not np.isfinite(x).all():
        return x
    inverse = np.linalg.inv(cell)
    heights = 1 / np.linalg.norm(inverse, axis=0)
    bond = float(np.median(cKDTree(x).query(x, k=2)[0][:, 1]))
    s = x @ inverse
    shift = np.zeros_like(s)
    for k in np.flatnonzero(periodic):
        extent = np.ptp(s[:, k])
        if extent > 1:  # longer than the box: it was never cut
            continue
        around = np.sort(s[:, k] % 1.0)
        gaps = np.diff(around, append=around[0] + 1)
        widest = int(gaps.argmax())
        if gaps[widest] * heights[k] < bond:
            if not sure:
                continue
            msg = (
                f"fills its periodic box along edge {k + 1}, expected a crystal with empty space "
                'around it, or pbc="F F F"'
            )
            raise InputError(msg)
        begin = around[widest] + gaps[widest] / 2
        moved = begin + (s[:, k] - begin) % 1.0
        if np.ptp(moved) < extent - gaps[widest] / 2:
            shift[:, k] = np.rint(moved - s[:, k])
    return x + shift @ cell if shift.any() else x
