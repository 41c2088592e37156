"""Sample sets of atoms of a faint crystal at falling temperature."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prammol.alignment import align_strained
from prammol.confidence import exchanges, heat_bath
from prammol.faint import BOND, hardly_seen
from prammol.flips import Sites
from prammol.lattice_sites import vacant_sites
from prammol.misfit import PoissonMisfit, honest_misfit
from prammol.scattering import StructureFactor
from prammol.state import Problem, State


@dataclass(frozen=True)
class Anneal:
    """Leave the local optima of a crystal whose single atoms are hardly seen.

    Simulated annealing (Kirkpatrick et al., Science 220, 671 (1983)) of the occupancies of the
    surface and of two layers of vacant sites around it, one pass per iteration. The misfit is
    expanded anew at each temperature, which here divides misfit and prior of bonds together;
    at 1 sets come as often as they are likely. At the end of a pass the set is improved by
    flips and relaxed. Does nothing to a crystal that isn't faint (:mod:`prammol.faint`).

    Attributes
    ----------
    passes : int
        Iterations in which this is done.
    sweeps : int
        Temperatures of one pass.
    hot : float
        The first temperature.
    cold : float
        The lowest temperature, to which it falls evenly.
    held : float
        Where one missing atom is worth less, the first temperature is 1: the data can't hold a
        hotter surface, which melts and comes back thicker.
    considered : int
        How often a flip of each site is considered at each temperature.
    floor : float
        Relative error allowed to the model's amplitude, see :class:`~prammol.misfit.PoissonMisfit`.
    flips : int
        Passes of flips at the end.
    force_tolerance : float
        Relaxation stops when the norm of all forces is below this [eV/Å].
    epsilon : float
        Accuracy of the Fourier transforms.
    """

    passes: int = 5
    sweeps: int = 40
    hot: float = 5.0
    cold: float = 0.5
    held: float = 0.2
    considered: int = 5
    floor: float = 0.05
    flips: int = 6
    force_tolerance: float = 1e-2
    epsilon: float = 1e-5

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state after one pass."""
        if state.iteration >= self.passes:
            return state
        factor = StructureFactor(problem.shard.patches, self.epsilon, problem.factor.threads)
        x = state.positions
        omega = factor.forward(x)
        exact = PoissonMisfit(problem.shard, factor)
        scale = exact.scale(omega)
        worth = exact.cost_of_one(omega, scale)
        if not hardly_seen(worth):
            return state
        hot = self.hot if worth > self.held else 1.0
        misfit = PoissonMisfit(
            problem.shard, factor, floor=self.floor, incoherent=scale**2 * len(x)
        )
        potential = problem.cluster.potential
        distance, reach = potential.neighbour_distance, potential.bond_reach
        positions = x
        for _ in range(2):
            vacant = vacant_sites(positions, reach, distance)
            positions = np.concatenate([positions, vacant])
        was = np.arange(len(positions)) < len(x)
        sites = Sites(misfit, factor, problem.comm, positions, was, distance, reach, BOND)
        rng = problem.rng("anneal", state.iteration)
        taken = sites.choose(self._sampled(sites, was, hot, distance, rng), self.flips).taken
        y, _, _ = problem.cluster.relax(positions[taken], force_tolerance=self.force_tolerance)
        honest = honest_misfit(problem.shard, factor, factor.forward(y), len(y))
        y, _ = align_strained(honest, factor, y, positions[taken])
        added, removed = int((taken & ~was).sum()), int((was & ~taken).sum())
        return replace(state, positions=y, added=added, removed=removed, selected=True)

    def _sampled(
        self,
        sites: Sites,
        taken: NDArray[np.bool_],
        hot: float,
        distance: float,
        rng: np.random.Generator,
    ) -> NDArray[np.bool_]:
        """Return the last of the sampled sets."""
        for k in range(self.sweeps):
            temperature = max(hot * (1.0 - k / self.sweeps), self.cold)
            near = sites.expand(taken)
            if len(near.free) == 0:
                break
            pairs = exchanges(sites.positions[near.free], distance)
            slope, curvature = near.slope / temperature, (near.every / temperature).tocsr()
            found = heat_bath(taken[near.free], slope, curvature, pairs, rng, self.considered)
            taken = taken.copy()
            taken[near.free] = found
        return taken
