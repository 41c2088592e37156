"""Which proposed sets are better, and how tightly they are relaxed."""

from __future__ import annotations

import numpy as np
import pytest
from states import state_of
from vacancy_ball import LOW_SIGNAL, MIDDLE, around, problem_of

from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.potentials.lammps import Cluster
from prammol.reconstruction.occupancy.bond_prior import BondPrior
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites
from prammol.reconstruction.stages.default.acceptance import Acceptance
from prammol.reconstruction.stages.default.relax_and_align import RelaxAndAlign


def test_a_vacancy_inside_costs_at_most_the_logarithm_of_the_number_of_atoms(balls):
    """By the bonds of its surface alone it would be worth twice that."""
    full, truth = balls
    problem = problem_of(truth, 1)
    _, sites = around(problem, full)
    taken, middle = sites.taken, np.arange(len(sites.taken)) == MIDDLE
    bonds = sites.without_data(taken, middle)
    k = int(np.flatnonzero(bonds.free == MIDDLE)[0])
    prior = bonds.prior
    assert prior.strength * (12 - prior.half) > 1.5 * np.log(len(full))
    assert bonds.slope[k] == pytest.approx(-np.log(len(full)))
    without = np.delete(full, MIDDLE, axis=0)
    acceptance = Acceptance(problem, sites, prior, state_of(full, LOW_SIGNAL), 0.0, 1.0, (1, 1))
    assert acceptance._bonds(without) - acceptance._bonds(full) == pytest.approx(
        np.log(len(full)), abs=0.01
    )
    cost = sites.energy(taken & ~middle, prior) - sites.energy(taken, prior)
    assert cost == pytest.approx(np.log(len(full)), abs=0.01)


@pytest.mark.parametrize(("one", "gain"), [(15.0, 1.0), (500.0, 5.0)])
def test_atoms_that_relax_to_the_same_place_are_no_gain(balls, one, gain):
    full, truth = balls
    problem = problem_of(truth, 1)
    misfit, sites = around(problem, full)
    prior, value = sites.expand(sites.taken).prior, misfit(full).value
    state = state_of(full, LOW_SIGNAL)
    acceptance = Acceptance(problem, sites, prior, state, value, one, (1e-3, 1e-4))
    assert acceptance.gain == gain
    assert acceptance.better(full, acceptance.gain) is None
    assert acceptance.better(full, -acceptance.gain) is not None


@pytest.mark.parametrize(("added", "tight"), [(11, False), (1, True)])
def test_a_proposal_that_leaves_less_than_half_is_not_relaxed_tightly(
    balls, monkeypatch, added, tight
):
    """Of the eleven atoms that are missing the proposal adds all or one."""
    _, truth = balls
    problem = problem_of(truth, 1, scale=1.9)
    inside = np.flatnonzero(np.linalg.norm(truth, axis=1) < 8.0)
    gone = np.isin(np.arange(len(truth)), inside[3::12])
    state = RelaxAndAlign()(problem, state_of(truth[~gone], 1.9))
    start = state.positions
    misfit = PoissonMisfit(problem.shard, problem.factor)
    sites = CandidateSites.around(misfit, problem.potential, start, truth[gone])
    value = misfit(start).value
    prior = BondPrior(0.0, 6.0)
    acceptance = Acceptance(problem, sites, prior, state, value, 1.0, (1e-2, 1e-4))
    seen = []
    relax = Cluster.relax
    monkeypatch.setattr(
        Cluster, "relax", lambda c, y, force_tolerance: seen.append(force_tolerance)
        or relax(c, y, force_tolerance=force_tolerance)
    )  # fmt: skip
    assert gone.sum() == 11
    keep = np.arange(len(truth)) < len(start) + added
    found = acceptance.best([keep])
    assert (found.status.added, found.status.removed) == (added, 0)
    assert seen == ([1e-2, 1e-4] if tight else [1e-2])


def test_no_prior_makes_up_for_counts_that_contradict_an_object_twice_as_much(balls):
    """As one that charges each atom more than all counts are worth."""

    class Dear(BondPrior):
        def energy(self, x, reach):
            return 1e9 * len(x)

        def overcharged(self, number, atoms):
            return 0.0

    _, truth = balls
    problem = problem_of(truth, 1, scale=1.9)
    state = RelaxAndAlign()(problem, state_of(truth[:-3], 1.9))
    start = state.positions
    misfit = PoissonMisfit(problem.shard, problem.factor)
    sites = CandidateSites.around(misfit, problem.potential, start, truth[-3:])
    value = misfit(start).value
    few = np.arange(len(truth)) < len(start) // 2
    all_there = np.ones(len(truth), dtype=bool)
    for prior, better in ((BondPrior(0.0, 6.0), all_there), (Dear(1.0, 6.0), few)):
        acceptance = Acceptance(problem, sites, prior, state, value, 1.0, (1e-2, 1e-4))
        end = acceptance._bonds(sites.positions[better]) + misfit(sites.positions[better]).value
        assert end < acceptance._value
        found = acceptance.best([better]), acceptance.first([better])
        assert (found[0] is None) == (better is few)
        assert found[1] is None
