"""Confidence of single atoms, and what doubtful ones do to the error bars of others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from small_crystal import make_problem, relaxed_ball, simulate
from states import judged_state
from vacancy_ball import LOW_SIGNAL, MIDDLE, around, problem_of

from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.model import Model
from prammol.reconstruction.occupancy.bond_prior import BondPrior
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites, Expansion
from prammol.reconstruction.occupancy.relaxed_moves import (
    with_neighbours_relaxed,
)
from prammol.reconstruction.uncertainty.per_atom import (
    SiteProbabilities,
    error_bars,
    site_probabilities,
    spread_of_sets,
)


@pytest.mark.parametrize("seed", [2, 9, 10])
def test_the_confidence_of_an_atom_is_what_the_data_say_with_its_surroundings_relaxed(balls, seed):
    """An atom in the place of a vacancy."""
    full, truth = balls
    problem = problem_of(truth, seed)
    misfit, sites = around(problem, full)
    y, _, _ = problem.cluster.relax(np.delete(full, MIDDLE, axis=0), force_tolerance=1e-4)
    cost = misfit(y).value - misfit(full).value + np.log(len(full))
    assert cost < -1.0
    near = sites.expand(sites.taken)
    bonds = sites.bonds_of(sites.taken, near)
    relaxed = with_neighbours_relaxed(problem, sites, near, bonds)
    k = int(np.flatnonzero(near.free == MIDDLE)[0])
    half = 0.5 * near.every.diagonal()[k]
    fixed, given_way = (half - e.slope[k] - cost for e in (near, relaxed))
    assert fixed > 3.0
    assert abs(given_way) < 0.6 * fixed
    doubt = site_probabilities(problem, judged_state(problem, full, LOW_SIGNAL).model, 0, misfit)
    assert doubt.occupied[MIDDLE] < 0.5


SCALE = 1.9


def test_an_atom_of_which_the_data_say_nothing_is_not_sure():
    """With hardly any photons corner atoms are a matter of the prior; with many they are sure."""
    x = relaxed_ball(8.5)
    lowest = []
    for scale in (0.02, 1.9):
        problem = make_problem(simulate(x, points=16, scale=scale), x=x, cluster=True)
        try:
            lowest.append(error_bars(problem, Model(x, scale), 0)[0]["occupancy_confidence"].min())
        finally:
            problem.cluster.close()
    assert lowest[0] < 0.9
    assert lowest[1] > 0.999


@pytest.fixture
def doubtful():
    """A ball of which one atom of the surface is there with even odds; everything else is sure."""
    x = relaxed_ball(8.5)
    problem = make_problem(simulate(x, points=12), x=x, cluster=True)
    outermost = int(np.argmax(np.linalg.norm(x - x.mean(axis=0), axis=1)))
    near = Expansion(
        free=np.array([outermost]),
        slope=np.zeros(1),
        curvature=csr_matrix((1, 1)),
        close=csr_matrix((1, 1)),
        prior=BondPrior(0.0, 0.0),
        value=0.0,
    )
    occupied = np.ones(len(x))
    occupied[outermost] = 0.5
    misfit = PoissonMisfit(problem.shard, problem.factor)
    sites = CandidateSites(misfit, problem.potential, x, np.ones(len(x), dtype=bool))
    yield problem, x, SiteProbabilities(sites, near, occupied)
    problem.cluster.close()


def test_atoms_beside_a_doubtful_one_are_as_unsure_as_its_absence_moves_them(doubtful):
    problem, x, doubt = doubtful
    found = spread_of_sets(problem, Model(x, SCALE), 0, doubt, draws=80)
    without = np.flatnonzero(doubt.occupied == 1.0)
    relaxed, _, _ = problem.cluster.relax(x[without], force_tolerance=1e-4)
    shift = relaxed - x[without]
    moved = np.mean((shift - shift.mean(axis=0)) ** 2)
    assert moved > 1e-6  # Å^2
    assert np.mean(found[without] ** 2) == pytest.approx(0.5 * moved, rel=0.35)


def test_sure_atoms_and_atoms_moved_by_the_data_add_nothing_to_the_error_bars(doubtful):
    problem, x, doubt = doubtful
    sure = replace(doubt, occupied=np.where(doubt.occupied == 0.5, 0.9, 1.0))
    assert not spread_of_sets(problem, Model(x, SCALE), 0, sure).any()
    assert not spread_of_sets(problem, Model(x, SCALE, stiffness=10.0), 0, doubt).any()
