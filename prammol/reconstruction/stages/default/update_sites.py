"""Sample sets of atoms near an earlier state, at low signal."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.earlier_state import EarlierState
from prammol.reconstruction.occupancy.bond_energy import learnt_bond
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites
from prammol.reconstruction.occupancy.change_rates import ChangeRates, rates_of
from prammol.reconstruction.occupancy.gibbs_sampling import swept
from prammol.reconstruction.occupancy.low_signal import is_low_gain
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.rotation_strain import align_strained
from prammol.reconstruction.setting_kinds import Accuracy, Checked, Count, Positive
from prammol.reconstruction.state import State
from prammol.structure.hollow_sites import hollow_sites
from prammol.structure.separation import apart

# chosen: as complete_atoms; not varied
_SAME = 0.15  # candidates closer than this are one [neighbour distances]
_HALF_AN_ATOM = 0.5  # derived: none is wrong, rounded


@dataclass(frozen=True)
class UpdateSites(Checked):
    """Let the counts decide which atoms left and came since an earlier state.

    Where :class:`~prammol.reconstruction.stages.default.anneal.Anneal` would begin hot and forget
    what is known, sets are sampled at temperature 1 from the start: with the misfit, the prior of
    bonds and that of the earlier state, whose rates are learnt from the samples
    (:mod:`prammol.reconstruction.occupancy.change_rates`). The sites taken more often than not are
    kept and relaxed. Where an atom more or less lets its neighbours slip, their sites are gone once
    they are relaxed: the earlier state's own sites, and two layers of vacant ones, stay candidates.
    So are the hollows that are no sites of the lattice: small groups at an edge slip there
    (:mod:`prammol.structure.hollow_sites`).

    Does nothing without an earlier state, or where single atoms are seen.

    Attributes
    ----------
    passes : int
        Iterations in which it is done: after the first only if the counts contradict the object.
    fewest, most : int
        How often sets are sampled and relaxed in one: until that no longer lowers the misfit. The
        set with the least is kept.
    sweeps : int
        Expansions of the misfit before samples count.
    counted : int
        Expansions that tell how often a site is taken.
    considered : int
        How often a flip of each site is considered with each expansion.
    force_tolerance : float
        Relaxation stops when the norm of all forces is below this [eV/Å].
    epsilon : float
        Accuracy of the Fourier transforms.
    """

    passes: Count = 3  # chosen: a limit that hardly binds; not varied
    fewest: Count = 3  # chosen: time, a dissolving crystal of 1300 atoms at 1e15; not varied
    most: Count = 8  # chosen: as fewest; not varied
    sweeps: Count = 5  # chosen: as fewest; not varied
    counted: Count = 8  # chosen: as fewest; not varied
    considered: Count = 4  # chosen: as fewest; not varied
    force_tolerance: Positive = 1e-3  # chosen: as fewest; not varied
    epsilon: Accuracy = 1e-5  # derived: single precision

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state after some rounds."""
        earlier, iteration = problem.earlier, state.status.iteration
        done = iteration >= (1 if state.verdict.explained else self.passes)
        if earlier is None or (iteration > 0 and done):
            return state
        factor = problem.factor.with_accuracy(self.epsilon)
        exact = PoissonMisfit(problem.shard, factor)
        first, x, bond = state.positions, state.positions, state.model.bond_energy
        omega = factor.forward(x)
        one = exact.cost_of_one_atom(omega, exact.scale(omega))
        if not is_low_gain(one):
            return state
        lattice = replace(earlier, positions=_two_layers(problem, earlier.positions), vacant=None)
        rng = problem.rng("update", iteration)
        rates = ChangeRates()
        best, least = x, np.inf
        for number in range(1, self.most + 1):
            sites = self._sites(problem, exact, x, lattice, bond)
            laid = earlier.laid_on(x, sites.distance)
            presence = laid.presence(sites.positions, sites.distance)
            sites, taken, last, rates = self._sampled(sites, presence, rates, rng)
            bond = learnt_bond(sites, last, bond, rng, self.considered)
            here = sites.positions[taken]
            y, _, _ = problem.cluster.relax(here, force_tolerance=self.force_tolerance)
            x, value = align_strained(exact, y, here)
            falls = value < least - _HALF_AN_ATOM * one
            if value < least:
                best, least = x, value
            if number >= self.fewest and not falls:
                break
        x = best
        gap = cKDTree(x).query(first)[0]
        removed = int((gap > 0.5 * problem.potential.neighbour_distance).sum())
        added = len(x) - len(first) + removed
        state = replace(state, model=replace(state.model, bond_energy=bond))
        return state.changed(x, added, removed)

    def _sampled(
        self,
        sites: CandidateSites,
        presence: NDArray[np.float64],
        rates: ChangeRates,
        rng: np.random.Generator,
    ) -> tuple[CandidateSites, NDArray[np.bool_], NDArray[np.bool_], ChangeRates]:
        """Return sites with their prior, the set taken mostly, the last one, the rates learnt."""
        last, often = sites.taken, np.zeros(len(sites.taken))
        for k in range(self.sweeps + self.counted):
            sites = sites.with_odds(rates.log_odds(presence))
            near = sites.expand(last)
            last = swept(sites, last, near, rng, self.considered)
            if k < self.sweeps:
                rates = rates_of(presence, last, near.free)
            else:
                often += last
        return sites, often > 0.5 * self.counted, last, rates

    @staticmethod
    def _sites(
        problem: Problem,
        misfit: PoissonMisfit,
        x: NDArray[np.float64],
        lattice: EarlierState,
        bond: float,
    ) -> CandidateSites:
        """Return atoms, two layers of vacant sites, and the sites of the earlier state."""
        distance = problem.potential.neighbour_distance
        beside = _two_layers(problem, x)
        others = lattice.laid_on(x, distance).positions
        far = cKDTree(beside).query(others)[0] > _SAME * distance
        lattice_sites = np.concatenate([beside, others[far]])
        hollows = hollow_sites(x, problem.potential.bond_reach, distance)
        hollows, _ = problem.cluster.relax_adatoms(x, hollows)
        far = cKDTree(lattice_sites).query(hollows)[0] > _SAME * distance
        hollows = hollows[far]
        hollows = hollows[apart(hollows, _SAME * distance)]
        candidates = np.concatenate([lattice_sites[len(x) :], hollows])
        return CandidateSites.around(misfit, problem.potential, x, candidates, bond)


def _two_layers(problem: Problem, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return atoms, (n, 3) [Å], and two layers of vacant sites around them behind them."""
    one = np.concatenate([x, problem.potential.vacant_sites(x)])
    return np.concatenate([one, problem.potential.vacant_sites(one)])
