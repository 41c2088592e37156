"""Refine the object: energy minimum, orientation, scale; and does it explain the data?"""

from __future__ import annotations

from dataclasses import dataclass, replace

from prammol.likelihood import poisson_scale
from prammol.misfit import AmplitudeMisfit
from prammol.rigid import align_rotation
from prammol.state import Problem, State


@dataclass(frozen=True)
class Refine:
    """Relax all atoms tightly, turn the object as the data want, take the Poisson scale.

    The positions are those of the minimum of the energy nearest to where the data put the
    atoms: the potential is trusted within a basin, the data choose the basin.

    Attributes
    ----------
    force_tolerance : float
        Relaxation stops when the norm of all forces is below this [eV/Å].
    significance : float
        The object explains the data when the misfit exceeds what pure noise gives by
        less than this many standard deviations; then the reconstruction is converged.
    """

    force_tolerance: float = 1e-6
    significance: float = 5.0

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state with refined positions and scale."""
        shard = problem.shard
        x, _, _ = problem.cluster.relax(state.positions, force_tolerance=self.force_tolerance)
        misfit = AmplitudeMisfit(shard, problem.factor)
        x, _ = align_rotation(misfit, problem.factor, problem.comm, x)
        omega = problem.factor.forward(x)
        seen = shard.valid
        background = shard.background_at(seen)
        scale = poisson_scale(shard.counts[seen], omega[seen], problem.comm, background)
        excess, wrong = misfit.excess(omega, scale)
        return replace(
            state,
            positions=x,
            scale=scale,
            excess=excess,
            wrong=wrong,
            converged=excess < self.significance,
        )
