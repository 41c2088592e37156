"""Proposed sets of atoms: relaxed, compared with the object at hand, the better one kept."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.occupancy.binary_quadratic import LEAST_GAIN
from prammol.reconstruction.occupancy.bond_prior import BondPrior
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.rotation_strain import align_strained
from prammol.reconstruction.state import State
from prammol.structure.separation import TOO_CLOSE

# Of what was wrong.
# chosen: vacancy crystal, speed; same atoms from 0.05 to 0.2 (600 atoms at 1e18)
_LITTLE_LEFT = 0.1
# derived: far beyond noise; without it a prior that is worth more than the counts makes 8777 atoms
# at 300 K collapse to 6
_CONTRADICTED = 2.0  # times the misfit beyond noise of the object at hand
_NOISE = 5.0  # derived: five standard deviations
_HALF_LEFT = 0.5  # chosen: vacancy crystal, speed; same atoms from 0.25 to 1 (600 atoms at 1e18)


class Acceptance:
    """Compares sets of sites with the object at hand by misfit and prior of bonds.

    Parameters
    ----------
    problem : Problem
    sites : CandidateSites
        The atoms of the object first, then candidates.
    prior : BondPrior
    state : State
        The object.
    value : float
        Misfit of the object.
    one : float
        What one missing atom is worth.
    tolerances : (float, float)
        The norm of all forces at which relaxation stops [eV/Å], at first and for what has
        passed the first test: off the minimum the data may still be fitted a little better,
        again and again.

    Attributes
    ----------
    gain : float
        Smallest gain that counts.
    """

    def __init__(
        self,
        problem: Problem,
        sites: CandidateSites,
        prior: BondPrior,
        state: State,
        value: float,
        one: float,
        tolerances: tuple[float, float],
    ) -> None:
        self._problem, self._misfit = problem, sites.misfit
        self._prior, self._state, self._sites = prior, state, sites
        self._reach = problem.potential.bond_reach
        self._close = TOO_CLOSE * sites.distance
        self._tried = {sites.taken.tobytes()}
        self._loose, self._tight = tolerances
        beyond = max(self._beyond_noise(sites.positions[sites.taken])[0], 0.0)
        self._most = max(_CONTRADICTED * beyond, beyond + _NOISE)
        self._value = value + self._bonds(sites.positions[sites.taken])
        # Swapping an atom for a site that relaxes to the same place gains next to nothing.
        self.gain = max(0.01 * one, LEAST_GAIN)

    def first(self, proposals: Iterable[NDArray[np.bool_]]) -> State | None:
        """Return the state of the first proposal that is better, (n,) bool each, or None."""
        for keep in proposals:
            if self._is_new(keep):
                y = self.better(self._sites.positions[keep], self.gain)
                if y is not None:
                    return self._changed(keep, y)
        return None

    def best(self, proposals: Iterable[NDArray[np.bool_]]) -> State | None:
        """Return the state of the best of all proposals, or None if it isn't better.

        The one that costs least before it is relaxed comes first; when hardly anything of what
        was wrong is left after it, the others aren't relaxed. Nor is the best relaxed tightly when
        less than half is left: no trifle is taken for a gain then.
        """
        new = [keep for keep in proposals if self._is_new(keep)]
        costs = [
            self._misfit(x).value + self._bonds(x) for x in (self._sites.positions[k] for k in new)
        ]
        order = np.argsort(costs, kind="stable")
        ends = []
        for k in order:
            y, value = self._relaxed(self._sites.positions[new[k]], self._loose)
            excess, left = self._beyond_noise(y)
            if excess > self._most:
                continue
            ends.append((value, y, new[k], left))
            if left < _LITTLE_LEFT * self._state.verdict.wrong:
                break
        if not ends:
            return None
        value, y, keep, left = min(ends, key=lambda end: end[0])
        if value > self._value - self.gain:
            return None
        if left < _HALF_LEFT * self._state.verdict.wrong:
            return self._changed(keep, y)
        y, value = self._relaxed(y, self._tight)
        return None if value > self._value - self.gain else self._changed(keep, y)

    def better(self, x: NDArray[np.float64], gain: float) -> NDArray[np.float64] | None:
        """Return relaxed positions if they are better by some gain, loosely and tightly, or None.

        Parameters
        ----------
        x : (n, 3) ndarray
            Atoms [Å].
        gain : float
        """
        for tolerance in (self._loose, self._tight):
            x, value = self._relaxed(x, tolerance)
            if value > self._value - gain:
                return None
        return None if self._beyond_noise(x)[0] > self._most else x

    def _is_new(self, keep: NDArray[np.bool_]) -> bool:
        key = keep.tobytes()
        if key in self._tried or not keep.any():
            return False
        self._tried.add(key)
        return True

    def _changed(self, keep: NDArray[np.bool_], x: NDArray[np.float64]) -> State:
        return self._state.changed(x, *self._sites.changes(keep))

    def _relaxed(
        self, x: NDArray[np.float64], force_tolerance: float
    ) -> tuple[NDArray[np.float64], float]:
        """Relax all atoms, turn and strain them as the data want; also return what they cost."""
        y, _, _ = self._problem.cluster.relax(x, force_tolerance=force_tolerance)
        y, value = align_strained(self._misfit, y, x)
        return y, value + self._bonds(y)

    def _bonds(self, x: NDArray[np.float64]) -> float:
        """Return minus the logarithm of the prior of bonds, up to a constant."""
        tree = cKDTree(x)
        sites = self._sites.positions
        vacant = sites[tree.query(sites)[0] > self._close]
        number = tree.query_ball_point(vacant, self._reach, return_length=True)
        return self._prior.energy(x, self._reach) - self._prior.overcharged(number, len(x))

    def _beyond_noise(self, x: NDArray[np.float64]) -> tuple[float, float]:
        """Return by how much the data contradict an object: standard deviations, missing atoms."""
        factor = self._misfit.factor
        exact = PoissonMisfit(self._problem.shard, factor)
        omega = factor.forward(x)
        excess, atoms, *_ = exact.excess(omega, exact.scale(omega))
        return excess, atoms
