"""Move the lattice against the shape again, once the atoms inside are where they belong."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.likelihood.model_error import misfit_with_model_error
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites
from prammol.reconstruction.occupancy.low_signal import is_low_signal
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.rotation_strain import align_strained
from prammol.reconstruction.setting_kinds import Accuracy, Checked, Count, NonNegative, Positive
from prammol.reconstruction.state import State
from prammol.reconstruction.subsampling import coarser
from prammol.structure.fitted_lattice import fit_lattice

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MoveShape(Checked):
    """Try the same shape moved by parts of a lattice vector, where the loop gets no further.

    Where the lattice lies against the shape is chosen at the start, among undisturbed sites. Beside
    a fault they aren't where the atoms are, and the wrong choice may have the least misfit. Does
    nothing unless the last two iterations left most of the misfit, or where few atoms are wrong.

    Attributes
    ----------
    steps : int
        Shifts along each primitive vector.
    width : float
        Of the Gaussian that makes a shape of atoms [neighbour distances].
    finalists : int
        How many of all are relaxed.
    rounds : int
        How often these are improved by flips and relaxed.
    least : float
        Nothing is done when fewer atoms are wrong.
    force_tolerance : float
        Relaxation stops when the norm of all forces is below this [eV/Å].
    epsilon : float
        Accuracy of the Fourier transforms.
    """

    steps: Count = 4  # chosen: as of phase_patches; see there
    width: Positive = 0.6  # chosen: a stacking fault in 1300 atoms; not varied
    finalists: Count = 3  # chosen: as width; not varied
    rounds: Count = 3  # chosen: as width; not varied
    least: NonNegative = 10.0  # chosen: as `many` of complete_atoms; see there
    force_tolerance: Positive = 1e-2  # chosen: as of complete_atoms; see there
    epsilon: Accuracy = 1e-5  # derived: single precision

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the best of the moved shapes, if it is better than the object."""
        x, potential = state.positions, problem.potential
        # At first an energy that is wrong for the crystal passes for a wrong shape.
        if not state.status.slow or state.verdict.wrong < self.least or potential.has_basis:
            return state
        fitted = fit_lattice(x, potential.lattice)
        few = coarser(problem)
        factor = few.factor.with_accuracy(self.epsilon)
        omega = factor.forward(x)
        if fitted is None or is_low_signal(few.shard, factor, omega):
            return state
        misfit = misfit_with_model_error(few.shard, factor, omega, len(x))
        value = align_strained(misfit, x, x)[1]
        sites = x
        for _ in range(2):
            sites = np.concatenate([sites, potential.vacant_sites(sites)])
        cell = potential.lattice.primitive @ fitted.axes * fitted.constant
        parts = np.arange(self.steps) / self.steps - 0.5
        candidates = CandidateSites.around(misfit, potential, x, sites[len(x) :])
        trials = []
        for shift in np.array(list(product(parts, repeat=3))) @ cell:
            dense = _density(x, sites + shift, self.width * potential.neighbour_distance)
            taken = np.zeros(len(sites), dtype=bool)
            taken[np.argsort(-dense, kind="stable")[: len(x)]] = True
            found = candidates.choose(taken)
            trials.append((found.value, found.taken))
        trials.sort(key=lambda trial: trial[0])
        best = None
        for _, taken in trials[: self.finalists]:
            y, after = self._improved(few, misfit, sites[taken])
            if after < value:
                value, best = after, y
        if best is None:
            return state
        near = cKDTree(x).query(best)[0] > 0.5 * potential.neighbour_distance
        added = int(near.sum())
        return state.changed(best, added, len(x) - len(best) + added)

    def _improved(self, problem: Problem, misfit: PoissonMisfit, x: Floats) -> tuple[Floats, float]:
        """Return atoms that were relaxed and flipped in turn, and their misfit."""
        best, least = x, np.inf
        for number in range(self.rounds):
            if number:
                sites = CandidateSites.beside(problem, misfit, best)
                x = sites.positions[sites.choose(sites.taken).taken]
            y, _, _ = problem.cluster.relax(x, force_tolerance=self.force_tolerance)
            y, value = align_strained(misfit, y, x)
            if value >= least:
                break
            best, least = y, value
        return best, least


def _density(x: Floats, at: Floats, width: float) -> Floats:
    """Return the density of atoms blurred by a Gaussian, at positions, (n,)."""
    near = cKDTree(x).sparse_distance_matrix(cKDTree(at), 4 * width, output_type="coo_matrix")
    weights = np.exp(-0.5 * (near.data / width) ** 2)
    return np.asarray(np.bincount(near.col, weights, len(at)), dtype=float)
