"""Doubtful atoms put in and taken out with their neighbours relaxed."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import fcc_ball, make_problem, simulate
from states import altered, judged_state

from prammol.diffraction.support import support_from_truth
from prammol.evaluation.metrics import evaluate
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import aluminium
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites
from prammol.reconstruction.stages.default.complete_atoms import CompleteAtoms
from prammol.reconstruction.stages.default.reconsider_atoms import ReconsiderAtoms
from prammol.structure.atoms import Atoms
from prammol.structure.vacant_sites import vacant_sites

LOW_SIGNAL = 0.0135  # C: one atom is worth 15, next to what is called faint

MIDDLE = int(np.argmin(np.linalg.norm(fcc_ball(12.0), axis=1)))


@pytest.fixture(scope="module")
def balls():
    """A ball, and the same with a vacancy in its middle, both at rest."""
    cluster = Cluster(aluminium())
    full, _, _ = cluster.relax(fcc_ball(12.0))
    truth, _, _ = cluster.relax(np.delete(fcc_ball(12.0), MIDDLE, axis=0))
    cluster.close()
    return full, truth


def problem_of(truth, seed, scale=LOW_SIGNAL):
    support = support_from_truth(Atoms(truth, "Al"))
    return make_problem(simulate(truth, points=32, scale=scale, seed=seed), support, cluster=True)


def around(problem, x):
    """Misfit of all points, and the sites of atoms and of the vacant places beside them."""
    potential = problem.potential
    vacant = vacant_sites(x, potential.bond_reach, potential.neighbour_distance)
    misfit = PoissonMisfit(problem.shard, problem.factor)
    return misfit, CandidateSites.around(misfit, potential, x, vacant)


def wrong(x, truth):
    found = evaluate(Atoms(x, "Al"), Atoms(truth, "Al"))
    return found.n_missing, found.n_extra


@pytest.mark.parametrize("seed", [11, 12])
def test_a_vacancy_that_only_its_relaxed_surroundings_show_is_found(balls, seed):
    """At fixed positions the data don't pay for it, neighbours given way they do."""
    full, truth = balls
    problem = problem_of(truth, seed)
    state = judged_state(problem, full, LOW_SIGNAL)
    _, sites = around(problem, full)
    assert np.array_equal(sites.choose(sites.taken).taken, sites.taken)
    assert not CompleteAtoms()(problem, state).status.selected
    found = ReconsiderAtoms()(problem, state)
    assert found.status.selected
    assert (found.status.added, found.status.removed) == (0, 1)
    assert wrong(found.positions, truth) == (0, 0)


def test_the_best_set_of_lattice_sites_is_tried_without_minima_of_the_difference_map(balls):
    """With them it collapses when it is relaxed."""
    full, truth = balls
    problem = problem_of(truth, 10)
    state = judged_state(problem, full, LOW_SIGNAL)
    assert not CompleteAtoms()(problem, state).status.selected
    stage = ReconsiderAtoms(moves=0)
    assert wrong(stage(problem, state).positions, truth) == (0, 0)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_truth_is_left_alone(balls, seed):
    _, truth = balls
    problem = problem_of(truth, seed, scale=0.03)
    state = ReconsiderAtoms()(problem, judged_state(problem, truth, 0.03))
    assert not state.status.selected
    assert wrong(state.positions, truth) == (0, 0)


def test_nothing_is_done_where_something_else_is_wrong(balls):
    full, truth = balls
    problem = problem_of(truth, 11)
    state = judged_state(problem, full, LOW_SIGNAL)
    for other in (altered(state, selected=True), altered(state, explained=False)):
        assert ReconsiderAtoms()(problem, other) is other
    faint = problem_of(truth, 11, scale=0.01)
    state = judged_state(faint, full, 0.01)
    assert state.verdict.explained
    assert ReconsiderAtoms()(faint, state) is state
