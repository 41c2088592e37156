"""Which atoms exist: cross-validation over subsets of atoms (paper Fig. 9)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from prammol.likelihood import poisson_log_likelihood
from prammol.ranking import ADD, REMOVE, single_atom_gains
from prammol.state import Problem, State

Cell = tuple[int, int]
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
        Most repetitions of sorting and walking.
    """

    terms: int = 3
    tolerance: float = 1e-4
    max_rounds: int = 50

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state with the selected atoms and their changes counted."""
        points = problem.shard.valid
        if state.training is not None:
            points = points & ~state.training
        # All positions there are; the object is a set of numbers of them.
        pool = np.concatenate([state.positions, state.candidates])
        held = len(state.positions)
        inside, outside = np.arange(held), np.arange(held, len(pool))
        value, omega = self._likelihood(problem, points, state.scale, pool[inside])
        for _ in range(self.max_rounds):
            gains = [
                single_atom_gains(
                    problem.factor, omega, problem.shard.counts, points, state.scale,
                    pool[some], sign, problem.comm, self.terms,
                )
                for some, sign in ((inside, REMOVE), (outside, ADD))
            ]  # fmt: skip
            leave = inside[np.argsort(-gains[0], kind="stable")]
            enter = outside[np.argsort(-gains[1], kind="stable")]
            walk = _Walk(problem, points, omega, state.scale, pool[leave], pool[enter])
            least = self.tolerance * walk.photons_per_atom
            removed, added = grid_search((len(leave), len(enter)), walk.gains, least)
            trial = np.sort(np.concatenate([leave[removed:], enter[:added]]))
            after, omega = self._likelihood(problem, points, state.scale, pool[trial])
            if after <= value:  # no move, or one whose gain was rounding
                break
            outside = np.sort(np.concatenate([enter[added:], leave[:removed]]))
            inside, value = trial, after
        new = int((inside >= held).sum())
        lost = held - (len(inside) - new)
        return replace(
            state,
            positions=pool[inside],
            candidates=pool[outside],
            added=state.added + new,
            removed=state.removed + lost,
            selected=state.selected or new + lost > 0,
        )

    def _likelihood(
        self, problem: Problem, points: NDArray[np.bool_], scale: float, x: NDArray[np.float64]
    ) -> tuple[float, NDArray[np.complex128]]:
        """Return the log-likelihood of the points (Eq. 6) and the structure factor."""
        omega = problem.factor.forward(x)
        counts = problem.shard.counts[points]
        return poisson_log_likelihood(counts, omega[points], scale, problem.comm), omega


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

    In single precision and relative to the start: the differences between cells
    matter, and they are small beside the likelihood itself.

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
        self._field = omega.astype(np.complex64)
        self._start = _square(self._field)
        self._counts = np.where(points, problem.shard.counts, 0).astype(np.float32)
        self._weight = np.where(points, scale**2, 0).astype(np.float32)
        self._inverse = 1 / np.maximum(self._start, np.float32(1e-12))
        self._leave, self._enter = leave, enter
        self._here: Cell = (0, 0)
        self._wave = lru_cache(maxsize=8)(self._compute_wave)
        self.photons_per_atom = scale**2 * problem.comm.sum(float(points.sum()))

    def gains(self, here: Cell, cells: Sequence[Cell]) -> list[float]:
        """Return the log-likelihood of cells next to `here`, less that of the start."""
        for axis in (0, 1):
            step = here[axis] - self._here[axis]
            if step:
                self._field = self._moved(self._field, axis, self._here[axis], step)
        self._here = here
        rows: dict[int, NDArray[np.complex64]] = {}
        out = np.empty(len(cells))
        for n, (i, j) in enumerate(cells):
            if i not in rows:
                rows[i] = self._moved(self._field, 0, here[0], i - here[0])
            out[n] = self._likelihood(self._moved(rows[i], 1, here[1], j - here[1]))
        return self._problem.comm.allreduce(out).tolist()

    def _moved(
        self, field: NDArray[np.complex64], axis: int, index: int, step: int
    ) -> NDArray[np.complex64]:
        """Return the field one cell on (step 1) or back (-1) along an axis."""
        if step == 0:
            return field
        wave = self._wave(axis, index if step > 0 else index - 1)
        # Removing forwards and un-adding backwards subtract a wave, the others add one.
        return field - wave if (axis == 0) == (step > 0) else field + wave

    def _compute_wave(self, axis: int, index: int) -> NDArray[np.complex64]:
        return plane_wave(self._problem, (self._leave, self._enter)[axis][index])

    def _likelihood(self, field: NDArray[np.complex64]) -> float:
        square = _square(field)
        log = np.log(np.maximum(square * self._inverse, np.float32(1e-30)))
        log *= self._counts
        square -= self._start
        square *= self._weight
        log -= square
        return float(log.sum(dtype=np.float64))


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
        a, b, c = (
            np.exp(-1j * (step @ x) * np.arange(count)).astype(np.complex64)
            for step, count in zip(patch.step, patch.shape, strict=True)
        )
        a = a * np.complex64(np.exp(-1j * (patch.origin @ x)))
        parts.append(((a[:, None] * b)[:, :, None] * c).ravel())
    return np.concatenate(parts)


def _square(field: NDArray[np.complex64]) -> NDArray[np.float32]:
    return field.real**2 + field.imag**2
