"""Which atoms exist: cross-validation over subsets of atoms (paper Fig. 9)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prammol.curved import CurvedPatch
from prammol.ranking import single_atom_gains
from prammol.state import Problem, State

Cell = tuple[int, int]
_BLOCK = 32768
_KEPT_WAVES = 8
_MOVES = [(a, b) for a in (1, 0, -1) for b in (1, 0, -1) if (a, b) != (0, 0)]


@dataclass(frozen=True)
class Select:
    """Remove and add atoms while the likelihood of the held-out points grows (Algorithm 1, 7-14).

    Atoms in the object and positions outside it are each sorted by their effect on
    the likelihood of the points that were not used to fit the positions. A walk on
    the grid (atoms removed, atoms added) then finds how many to change. An atom that
    was removed is a position outside the object from then on, and both are sorted
    again until nothing changes. C is held.

    Attributes
    ----------
    terms : int
        Terms of the series that ranks the atoms (:mod:`prammol.ranking`).
    tolerance : float
        Smallest improvement to take, in units of the photons one atom alone
        scatters into the points; it only has to exceed the rounding of the sums.
    max_rounds : int
        Most repetitions of sorting and walking; they end by themselves well before.
    """

    terms: int = 3
    tolerance: float = 1e-4
    max_rounds: int = 1000

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state with the selected atoms and their changes counted."""
        points = problem.shard.valid
        if state.training is not None:
            points = points & ~state.training
        # All positions there are; the object is a set of numbers of them.
        pool = np.concatenate([state.positions, state.candidates])
        held = len(state.positions)
        inside = np.arange(len(pool)) < held
        omega = problem.factor.forward(pool[inside])
        for _ in range(self.max_rounds):
            gains = single_atom_gains(
                problem.factor, omega, problem.shard.counts, points, state.scale,
                pool, inside, problem.comm, self.terms, problem.shard.background,
            )  # fmt: skip
            order = np.argsort(-gains, kind="stable")
            leave, enter = order[inside[order]], order[~inside[order]]
            walk = _Walk(problem, points, omega, state.scale, pool[leave], pool[enter])
            least = self.tolerance * walk.photons_per_atom
            removed, added = grid_search((len(leave), len(enter)), walk.gains, least)
            if removed == added == 0:
                break
            inside[leave[:removed]] = False
            inside[enter[:added]] = True
            omega = walk.field((removed, added))
        new, lost = int(inside[held:].sum()), int((~inside[:held]).sum())
        return replace(
            state,
            positions=pool[inside],
            candidates=pool[~inside],
            added=state.added + new,
            removed=state.removed + lost,
            selected=state.selected or new + lost > 0,
        )


def grid_search(
    size: Cell, gains: Callable[[Cell, Sequence[Cell]], Sequence[float]], tolerance: float = 0.0
) -> Cell:
    """Walk on a grid, each step to the best of the eight neighbours, until staying is best.

    Parameters
    ----------
    size : (int, int)
        Atoms that can be removed and atoms that can be added; the walk starts at (0, 0).
    gains : callable
        ``gains(here, cells)`` returns the log-likelihood of cells next to `here`,
        counted from that of (0, 0). Each cell is asked for once.
    tolerance : float
        Smallest improvement that is worth a step.

    Returns
    -------
    (int, int)
        Atoms to remove and atoms to add.
    """
    here = (0, 0)
    known: dict[Cell, float] = {here: 0.0}
    while True:
        cells = [(here[0] + a, here[1] + b) for a, b in _MOVES]
        cells = [c for c in cells if 0 <= c[0] <= size[0] and 0 <= c[1] <= size[1]]
        new = [c for c in cells if c not in known]
        if new:
            known.update(zip(new, gains(here, new), strict=True))
        best = max(cells, key=known.__getitem__, default=here)
        if known[best] <= known[here] + tolerance:
            return here
        here = best


class _Walk:
    """The likelihood of neighbouring cells of the grid, by adding and subtracting single waves.

    The field is kept in double precision; likelihoods are computed in single precision
    and relative to the start: only differences matter, small beside the likelihood itself.

    Parameters
    ----------
    problem : Problem
    points : (m,) bool ndarray
        Points that count.
    omega : (m,) complex ndarray
        Structure factor at the start.
    scale : float
        C.
    leave, enter : (n, 3) ndarray
        Sorted atoms to remove and positions to add [Å].
    """

    def __init__(
        self,
        problem: Problem,
        points: NDArray[np.bool_],
        omega: NDArray[np.complex128],
        scale: float,
        leave: NDArray[np.float64],
        enter: NDArray[np.float64],
    ) -> None:
        self._problem = problem
        self._field = omega.copy()
        self._start = _square(omega.astype(np.complex64))
        self._counts = np.where(points, problem.shard.counts, 0).astype(np.float32)
        self._weight = np.where(points, scale**2, 0).astype(np.float32)
        # in units of C^2, as the squares
        self._background: NDArray[np.float32] | None = None
        level = self._start
        if problem.shard.background is not None:
            self._background = (problem.shard.background / scale**2).astype(np.float32)
            level = level + self._background
        self._inverse = 1 / np.maximum(level, np.float32(1e-12))
        self._atoms = (leave, enter)
        self._here: Cell = (0, 0)
        self._waves: dict[Cell, NDArray[np.complex64]] = {}
        self.photons_per_atom = scale**2 * problem.comm.sum(float(points.sum()))

    def field(self, here: Cell) -> NDArray[np.complex128]:
        """Return the structure factor at a cell next to the last one asked for."""
        for axis in (0, 1):
            for sign, wave in self._steps(axis, self._here[axis], here[axis]):
                self._field += sign * wave
        self._here = here
        return self._field

    def gains(self, here: Cell, cells: Sequence[Cell]) -> list[float]:
        """Return the log-likelihood of cells next to `here`, less that of the start."""
        base = self.field(here)
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
        return self._problem.comm.allreduce(out).tolist()

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
            self._waves[key] = plane_wave(self._problem, self._atoms[axis][index])
        return self._waves[key]


def plane_wave(problem: Problem, x: NDArray[np.float64]) -> NDArray[np.complex64]:
    """Return exp(-i q.x) of one atom on this rank's points, as products along the grid axes.

    Parameters
    ----------
    problem : Problem
    x : (3,) ndarray
        Position [Å].

    Returns
    -------
    (m,) complex64 ndarray
    """
    parts = [np.empty(0, dtype=np.complex64)]
    for patch in problem.shard.patches:
        if isinstance(patch, CurvedPatch):
            parts.append(np.exp(-1j * (patch.q() @ x)).astype(np.complex64))
            continue
        a, b, c = (
            np.exp(-1j * (step @ x) * np.arange(count)).astype(np.complex64)
            for step, count in zip(patch.step, patch.shape, strict=True)
        )
        a = a * np.complex64(np.exp(-1j * (patch.origin @ x)))
        parts.append(((a[:, None] * b)[:, :, None] * c).ravel())
    return np.concatenate(parts)


def _square(field: NDArray[np.complex64]) -> NDArray[np.float32]:
    return field.real**2 + field.imag**2
