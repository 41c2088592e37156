"""The likelihood of neighbouring cells of the grid (atoms removed, atoms added)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.plane_waves import PlaneWaves
from prammol.reconstruction.problem import Problem

Cell = tuple[int, int]
_BLOCK = 32768  # chosen: cache, speed only; not varied
_KEPT_WAVES = 8  # derived: the steps to and from a cell's neighbours


class GridLikelihood:
    """The likelihood of neighbouring cells of the grid, by adding and subtracting single waves.

    The field is kept in double precision; likelihoods are computed in single precision
    and relative to the start: only differences matter, small beside the likelihood itself.

    Parameters
    ----------
    problem : Problem
    votes : (m,) ndarray
        Weight of each point, 0 or False for those that don't count.
    omega : (m,) complex ndarray
        Structure factor at the start.
    scale : float
        C.
    leave, enter : (n, 3) ndarray
        Sorted atoms to remove and positions to add [Å].
    sampled : bool
        Whether to leave out points that don't count instead of weighing them with 0: faster
        where they are many.
    """

    def __init__(
        self,
        problem: Problem,
        votes: NDArray[np.float64] | NDArray[np.bool_],
        omega: NDArray[np.complex128],
        scale: float,
        leave: NDArray[np.float64],
        enter: NDArray[np.float64],
        sampled: bool = False,
    ) -> None:
        where = np.flatnonzero(votes) if sampled else None
        kept = slice(None) if where is None else where
        self._comm = problem.comm
        self._wave_of = PlaneWaves(problem.shard.patches, where)
        # In units of what one atom scatters, as the waves are.
        self._own = problem.factor.amplitude
        own: NDArray[np.float64] | float = 1.0
        self._field = omega[kept].copy()
        if self._own is not None:
            self._own = self._own[kept]
            self._field /= self._own
            own = self._own**2
        self._start = _square(self._field.astype(np.complex64))
        self._counts = (votes[kept] * problem.shard.counts[kept]).astype(np.float32)
        self._weight = (scale**2 * votes[kept] * own).astype(np.float32)
        # in units of C^2, as the squares
        self._background: NDArray[np.float32] | None = None
        level = self._start
        if problem.shard.background is not None:
            self._background = (problem.shard.background[kept] / (scale**2 * own)).astype(
                np.float32
            )
            level = level + self._background
        self._inverse = 1 / np.maximum(level, np.float32(1e-12))
        self._atoms = (leave, enter)
        self._here: Cell = (0, 0)
        self._waves: dict[Cell, NDArray[np.complex64]] = {}

    def field(self, here: Cell) -> NDArray[np.complex128]:
        """Return the structure factor at a cell next to the last one asked for, (k,) complex.

        On all points of the rank, or of a sample on its own.
        """
        field = self._moved_to(here)
        return field if self._own is None else field * self._own

    def _moved_to(self, here: Cell) -> NDArray[np.complex128]:
        for axis in (0, 1):
            for sign, wave in self._steps(axis, self._here[axis], here[axis]):
                self._field += sign * wave
        self._here = here
        return self._field

    def gains(self, here: Cell, cells: Sequence[Cell]) -> list[float]:
        """Return the log-likelihood of cells next to `here`, less that of the start."""
        base = self._moved_to(here)
        steps = [
            [s for axis in (0, 1) for s in self._steps(axis, here[axis], cell[axis])]
            for cell in cells
        ]
        out = np.zeros(len(cells))
        # Block by block, so that all intermediate values stay in the cache.
        for first in range(0, len(base), _BLOCK):
            part = slice(first, first + _BLOCK)
            near = base[part].astype(np.complex64)
            for n, waves in enumerate(steps):
                field = near
                for sign, wave in waves:
                    field = field + wave[part] if sign > 0 else field - wave[part]
                out[n] += self._gain(field, part)
        return self._comm.allreduce(out).tolist()

    def _steps(self, axis: int, start: int, stop: int) -> list[tuple[int, NDArray[np.complex64]]]:
        """Return the signs and waves that lead from one row or column to the next."""
        if stop == start:
            return []
        forward = stop > start
        # Removing forwards and un-adding backwards subtract a wave, the others add one.
        sign = -1 if (axis == 0) == forward else 1
        return [(sign, self._wave(axis, start if forward else stop))]

    def _gain(self, field: NDArray[np.complex64], part: slice) -> float:
        square = _square(field)
        if self._background is None:
            log = square * self._inverse[part]
        else:
            log = (square + self._background[part]) * self._inverse[part]
        np.maximum(log, np.float32(1e-30), out=log)
        np.log(log, out=log)
        log *= self._counts[part]
        square -= self._start[part]
        square *= self._weight[part]
        log -= square
        return float(log.sum(dtype=np.float64))

    def _wave(self, axis: int, index: int) -> NDArray[np.complex64]:
        """Return the wave of one atom of a list; the few used last are kept."""
        key = (axis, index)
        if key not in self._waves:
            if len(self._waves) == _KEPT_WAVES:
                self._waves.pop(next(iter(self._waves)))
            self._waves[key] = self._wave_of(self._atoms[axis][index])
        return self._waves[key]


def _square(field: NDArray[np.complex64]) -> NDArray[np.float32]:
    return field.real**2 + field.imag**2
