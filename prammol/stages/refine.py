"""Refine the object: energy minimum, orientation, strain, scale; and does it explain the data?"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prammol.alignment import align_strained
from prammol.likelihood import poisson_scale
from prammol.misfit import PoissonMisfit
from prammol.state import Problem, State

_HALF_AN_ATOM = 0.5


@dataclass(frozen=True)
class Refine:
    """Relax all atoms tightly, turn and strain it as the data want, take the Poisson scale.

    The positions are those of the minimum of the energy nearest to where the data put the
    atoms: the potential is trusted within a basin, the data choose the basin.

    Attributes
    ----------
    force_tolerance : float
        Relaxation stops when the norm of all forces is below this [eV/Å].
    significance : float
        The object explains the data when the misfit exceeds what pure noise gives by
        less than this many standard deviations. If so many are worth less than half an atom,
        the reconstruction is converged; with fewer photons it goes on until nothing changes.
    """

    force_tolerance: float = 1e-6
    significance: float = 5.0

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state with refined positions and scale."""
        x, _, _ = problem.cluster.relax(state.positions, force_tolerance=self.force_tolerance)
        misfit = PoissonMisfit(problem.shard, problem.factor)
        x, _ = align_strained(misfit, problem.factor, x, state.positions)
        omega = problem.factor.forward(x)
        return judged(problem, replace(state, positions=x), omega, self.significance)


def judged(
    problem: Problem, state: State, omega: NDArray[np.complex128], significance: float
) -> State:
    """Return the state with the Poisson scale, and whether it explains the data.

    Parameters
    ----------
    problem : Problem
    state : State
    omega : (m,) complex ndarray
        Its structure factor on this rank's points.
    significance : float
        See :class:`Refine`.
    """
    shard, valid = problem.shard, problem.shard.valid
    background = shard.background_at(valid)
    scale = poisson_scale(shard.counts[valid], omega[valid], problem.comm, background)
    excess, wrong, sigma = PoissonMisfit(shard, problem.factor).excess(omega, scale)
    explained = excess < significance
    return replace(
        state,
        scale=scale,
        excess=excess,
        wrong=wrong,
        explained=explained,
        converged=explained and significance * sigma < _HALF_AN_ATOM,
    )
