"""Reconsider doubtful atoms where nothing contradicts the object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prammol.likelihood.model_error import misfit_with_model_error
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites
from prammol.reconstruction.occupancy.gibbs_sampling import sample_near
from prammol.reconstruction.occupancy.low_signal import is_low_signal
from prammol.reconstruction.occupancy.relaxed_moves import Moves, cheapest_moves, relaxed_costs
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.rotation_strain import align_strained
from prammol.reconstruction.setting_kinds import Accuracy, Checked, NonNegative, Positive, Whole
from prammol.reconstruction.stages.default.acceptance import Acceptance
from prammol.reconstruction.state import State


@dataclass(frozen=True)
class ReconsiderAtoms(Checked):
    """Put in or take out the atoms that are in doubt, their neighbours relaxed.

    With fewer than some 3e17 photons/um^2 for 5000 atoms the data don't contradict an object of
    which a few atoms are wrong, though they prefer another. When the stages before found nothing,
    sets of the atoms and the vacant sites of the lattice alone are tried: with minima of the
    difference map among them the best set at fixed positions may collapse when it is relaxed.
    First the best set, and that of all sites that are taken in most samples; then single flips and
    pairs, each with its surroundings relaxed
    (:mod:`prammol.reconstruction.occupancy.relaxed_moves`). What gains in misfit and prior of
    bonds once all atoms are relaxed is kept.

    Does nothing at low signal, where the best set would follow the noise.

    Attributes
    ----------
    moves : int
        How many single flips, and how many pairs, are relaxed at most.
    within : float
        Relaxed are those that cost less than this part of an atom at fixed positions, since
        relaxation gains up to 0.6. At 1e17 photons/um^2 there is none.
    tried : int
        How many of them, the best first, are tried with all atoms relaxed.
    nearly : float
        If they cost less than this part of an atom with the atoms around them relaxed.
    force_tolerance, final_tolerance : float
        As for :class:`~prammol.reconstruction.stages.default.complete_atoms.CompleteAtoms`
        [eV/Å].
    epsilon : float
        Accuracy of the Fourier transforms.
    """

    moves: Whole = 48  # chosen: 700 atoms at 1.5e16; same atoms from 24 to 96
    # chosen: vacancy crystal, where relaxing gains up to 0.6 of an atom; same atoms from 0.4 to 1.6
    # (700 atoms at 1.5e16)
    within: NonNegative = 0.8
    tried: Whole = 8  # chosen: 700 atoms at 1.5e16; same atoms from 4 to 16
    nearly: NonNegative = 0.25  # chosen: 700 atoms at 1.5e16; same atoms from 0.125 to 0.5
    # chosen: vacancy crystal, 1.6e15; at 0.03 and 0.1 costs are off by up to 110
    force_tolerance: Positive = 1e-2
    # chosen: as complete_atoms.final_tolerance; spread not recorded
    final_tolerance: Positive = 1e-4
    epsilon: Accuracy = 1e-5  # derived: single precision

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state after one round; ``selected`` tells whether it changed."""
        if state.status.selected or not state.verdict.explained:
            return state
        factor = problem.factor.with_accuracy(self.epsilon)
        x = state.positions
        omega = factor.forward(x)
        if is_low_signal(problem.shard, factor, omega):
            return state
        misfit = misfit_with_model_error(problem.shard, factor, omega, len(x))
        x, value = align_strained(misfit, x, x)
        sites = CandidateSites.beside(problem, misfit, x)
        was = sites.taken
        choice = sites.choose(was)
        one = misfit.cost_of_one_atom(omega, state.model.scale)
        tolerances = (self.force_tolerance, self.final_tolerance)
        state = state.moved(x)
        acceptance = Acceptance(problem, sites, choice.prior, state, value, one, tolerances)
        near = sites.expand(was)
        rng = problem.rng("sample sets", state.status.iteration)
        likely = sample_near(sites, was, near, rng) > 0.5
        found = acceptance.first([choice.taken, likely])
        if found is None:
            bonds = sites.bonds_of(was, near)
            moves = cheapest_moves(sites, near, bonds, self.moves, self.within * one)
            relaxed = relaxed_costs(problem, factor, sites, moves.sites, self.force_tolerance)
            found = acceptance.first(
                self._sets(was, moves, moves.prior + relaxed, acceptance.gain, self.nearly * one)
            )
        return state if found is None else found

    def _sets(
        self,
        was: NDArray[np.bool_],
        moves: Moves,
        costs: NDArray[np.float64],
        gain: float,
        most: float,
    ) -> Iterator[NDArray[np.bool_]]:
        """Yield the set with all moves that gain, then those with one move, the best first."""
        order = np.argsort(costs, kind="stable")
        every = was.copy()
        for k in order[: np.count_nonzero(costs < -gain)]:
            move = moves.sites[k]
            if np.array_equal(every[move], was[move]):
                every[move] = ~was[move]
        yield every
        for k in order[: min(self.tried, np.count_nonzero(costs < most))]:
            one = was.copy()
            one[moves.sites[k]] = ~was[moves.sites[k]]
            yield one
