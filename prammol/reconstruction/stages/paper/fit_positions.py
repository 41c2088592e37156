"""Maximum likelihood positions on a small, fresh part of the data (paper Eqs. 5 and 6)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.dataset import Diffraction, Shard
from prammol.likelihood.poisson import amplitude_scale, expected_counts, residual_weights
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.bfgs import bfgs
from prammol.reconstruction.setting_kinds import Checked, SmallerPart, Whole
from prammol.reconstruction.state import State
from prammol.reconstruction.subsampling import coarser, places_in

# derived: the others are to choose models
_MOST = 0.5  # of the points of a coarser grid, the others are to choose models


@dataclass(frozen=True)
class TrainingPoints:
    """What positions were just fitted to: not to be used to choose a model.

    Attributes
    ----------
    mask : (m,) bool ndarray
        True for this rank's points that were used.
    """

    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class FitPositions(Checked):
    """Fit all coordinates to a random small part of the points, then C to all (Algorithm 1, 2-5).

    Where patches have points to spare (:mod:`prammol.reconstruction.subsampling`), the random
    points are of one coarser grid, another in each iteration: as many points, by smaller
    transforms.

    Attributes
    ----------
    fraction : float
        Part of the valid points to fit to; the rest is kept for model selection.
    iterations : int
        Most iterations of the optimiser.
    """

    fraction: SmallerPart = 0.005  # derived: the paper's
    iterations: Whole = 10  # derived: the paper's

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state with fitted positions, C by Eq. 9, and the points used."""
        rng = problem.rng("split", state.status.iteration)
        asked, fraction = self._asked(problem, rng)
        drawn = training_points(problem.data, asked.shard, fraction, rng)
        objective = NegativeLogLikelihood(asked, drawn, state.model.scale)
        x = bfgs(objective, state.positions.ravel(), self.iterations).reshape(-1, 3)
        # The same bits on all ranks, also if the ranks are different machines.
        x = problem.comm.bcast(x)
        valid = problem.shard.valid
        omega = problem.factor.forward(x)
        scale = amplitude_scale(problem.shard.signal[valid], omega[valid], problem.comm)
        training = np.zeros(problem.shard.size, dtype=bool)
        training[places_in(problem.shard, asked.shard)] = drawn
        model = replace(state.model, positions=x, scale=scale)
        return replace(state, model=model).handing(TrainingPoints(training))

    def _asked(self, problem: Problem, rng: np.random.Generator) -> tuple[Problem, float]:
        """Return the points to draw from, and which part of all is to be drawn to get enough."""
        fewer = coarser(problem, rng)
        if fewer is problem:
            return problem, self.fraction
        valid = np.array([p.shard.valid.sum() for p in (problem, fewer)], dtype=float)
        every, left = problem.comm.allreduce(valid)
        fraction = float(self.fraction * every / max(left, 1.0))
        return (fewer, fraction) if fraction < _MOST else (problem, self.fraction)


def training_points(
    data: Diffraction, shard: Shard, fraction: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Draw points to fit to, the same for any number of ranks.

    From all points; told are those of the shard.

    Parameters
    ----------
    data : Diffraction
        All points: which are valid is known to every rank.
    shard : Shard
        This rank's points, or some of them.
    fraction : float
        Part of the valid points to draw, between 0 and 1; at least one is.
    rng : numpy.random.Generator
        In the same state on all ranks.

    Returns
    -------
    (m,) bool ndarray
        True for this rank's points that were drawn.
    """
    valid = np.flatnonzero(np.concatenate([np.ravel(v) for v in data.valid]))
    drawn = rng.choice(valid, max(1, round(fraction * len(valid))), replace=False)
    chosen = np.zeros(shard.total_points, dtype=bool)
    chosen[drawn] = True
    return chosen[shard.global_index]


class NegativeLogLikelihood:
    """-l (paper Eq. 6) of some points and its gradient, with C held.

    The Fourier transforms run over the whole patches, with weight 0 outside the
    chosen points: faster than a direct sum over the 0.5 %.

    Parameters
    ----------
    problem : Problem
    points : (m,) bool ndarray
        This rank's points that count.
    scale : float
        C.
    """

    def __init__(self, problem: Problem, points: NDArray[np.bool_], scale: float) -> None:
        self._problem = problem
        self._points = np.flatnonzero(points & problem.shard.valid)
        self._counts = problem.shard.counts[self._points]
        self._background = problem.shard.background_at(self._points)
        self._scale = scale

    def __call__(self, flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the value and the gradient, (3 n,), at coordinates (3 n,) [Å]."""
        x = flat.reshape(-1, 3)
        factor = self._problem.factor
        omega = factor.forward(x)[self._points]
        lam = expected_counts(omega, self._scale, self._background)
        field = np.zeros(factor.size, dtype=complex)
        field[self._points] = residual_weights(self._counts, omega, self._scale, self._background)
        gradient = -2 * factor.adjoint_moments(field, x).imag
        value = float(np.sum(lam - self._counts * np.log(lam)))
        total = self._problem.comm.allreduce(np.append(gradient.ravel(), value))
        return float(total[-1]), total[:-1]
