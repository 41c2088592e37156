"""Doubtful atoms: moves against enumeration, their cost against relaxing every atom."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from small_crystal import fcc_ball, make_problem, simulate
from states import altered, judged_state, state_of

from prammol.diffraction.support import support_from_truth
from prammol.evaluation.metrics import evaluate
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import aluminium
from prammol.reconstruction.occupancy.bond_prior import BondPrior
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites
from prammol.reconstruction.occupancy.relaxed_moves import (
    cheapest_moves,
    relaxed_costs,
    with_neighbours_relaxed,
)
from prammol.reconstruction.stages.default.acceptance import Acceptance
from prammol.reconstruction.stages.default.complete_atoms import CompleteAtoms
from prammol.reconstruction.stages.default.reconsider_atoms import ReconsiderAtoms
from prammol.reconstruction.stages.default.relax_and_align import RelaxAndAlign
from prammol.reconstruction.uncertainty.per_atom import doubt_of
from prammol.structure.atoms import Atoms
from prammol.structure.vacant_sites import vacant_sites

SCALE = 0.0135  # C: one atom is worth 15, next to what is called faint
MIDDLE = int(np.argmin(np.linalg.norm(fcc_ball(12.0), axis=1)))


@pytest.fixture(scope="module")
def balls():
    """A ball, and the same with a vacancy in its middle, both at rest."""
    cluster = Cluster(aluminium())
    full, _, _ = cluster.relax(fcc_ball(12.0))
    truth, _, _ = cluster.relax(np.delete(fcc_ball(12.0), MIDDLE, axis=0))
    cluster.close()
    return full, truth


def problem_of(truth, seed, scale=SCALE):
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
    state = judged_state(problem, full, SCALE)
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
    state = judged_state(problem, full, SCALE)
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
    state = judged_state(problem, full, SCALE)
    for other in (altered(state, selected=True), altered(state, explained=False)):
        assert ReconsiderAtoms()(problem, other) is other
    faint = problem_of(truth, 11, scale=0.01)
    state = judged_state(faint, full, 0.01)
    assert state.verdict.explained
    assert ReconsiderAtoms()(faint, state) is state


def test_the_cost_of_a_move_alone_is_that_of_relaxing_every_atom(balls):
    full, truth = balls
    problem = problem_of(truth, 2, scale=0.03)
    misfit, sites = around(problem, full)
    far = int(np.argmax(np.linalg.norm(sites.positions, axis=1)))
    fixed = misfit(np.delete(full, MIDDLE, axis=0)).value - misfit(full).value
    for move in ([MIDDLE], [far], [far, MIDDLE]):
        keep = sites.taken.copy()
        keep[move] = ~keep[move]
        y, _, _ = problem.cluster.relax(sites.positions[keep], force_tolerance=1e-5)
        cost = misfit(y).value - misfit(full).value
        if move == [MIDDLE]:
            assert cost < 1.5 * fixed < 0
        found = relaxed_costs(problem, problem.factor, sites, [np.array(move)], 1e-5)
        assert found == pytest.approx([cost], abs=0.02)


def test_moves_far_apart_are_relaxed_together_as_if_alone(balls, monkeypatch):
    full, truth = balls
    problem = problem_of(truth, 2, scale=0.03)
    _, sites = around(problem, full)
    height = full @ np.ones(3)
    moves = [np.array([int(np.argmin(height))]), np.array([int(np.argmax(height))])]
    relaxations = []
    relax = problem.cluster.relax
    monkeypatch.setattr(
        problem.cluster, "relax", lambda *a, **k: relaxations.append(1) or relax(*a, **k)
    )

    def costs(which):
        return relaxed_costs(problem, problem.factor, sites, which, 1e-5)

    together = costs(moves)
    assert len(relaxations) == 2  # the object, and both moves
    alone = [costs([move])[0] for move in moves]
    assert together == pytest.approx(np.array(alone), rel=0.02)


def test_the_cheapest_moves_are_those_of_enumeration(balls):
    full, truth = balls
    problem = problem_of(truth, 1)
    _, sites = around(problem, full)
    taken, positions = sites.taken, sites.positions
    near = sites.expand(taken)
    bonds = sites.bonds_of(taken, near)
    free = near.free

    def cost(expansion, flips):
        change = np.zeros(len(free))
        change[flips] = np.where(taken[free[flips]], -1.0, 1.0)
        return expansion.slope @ change + 0.5 * change @ (expansion.every @ change)

    pairs = [
        list(p)
        for p in combinations(range(len(free)), 2)
        if np.linalg.norm(positions[free[p[0]]] - positions[free[p[1]]]) < 1.5 * sites.distance
    ]
    moves = cheapest_moves(sites, near, bonds, 5, np.inf)
    assert len(moves.sites) == 10
    place = np.full(len(positions), -1)
    place[free] = np.arange(len(free))
    for part, flips in ((slice(0, 5), [[k] for k in range(len(free))]), (slice(5, 10), pairs)):
        best = np.sort([cost(near, f) for f in flips])[:5]
        found = moves.sites[part]
        assert [cost(near, place[f]) for f in found] == pytest.approx(best, rel=1e-9)
        assert moves.prior[part] == pytest.approx([cost(bonds, place[f]) for f in found])
    third = cost(near, place[moves.sites[2]])
    few = cheapest_moves(sites, near, bonds, 5, third)
    assert [len(f) for f in few.sites] == [1, 1]


def test_a_vacancy_inside_costs_no_more_than_one_in_as_many_as_there_are_atoms(balls):
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
    acceptance = Acceptance(problem, sites, prior, state_of(full, SCALE), 0.0, 1.0, (1, 1))
    assert acceptance._bonds(without) - acceptance._bonds(full) == pytest.approx(
        np.log(len(full)), abs=0.01
    )
    cost = sites._energy(taken & ~middle, prior) - sites._energy(taken, prior)
    assert cost == pytest.approx(np.log(len(full)), abs=0.01)


@pytest.mark.parametrize(("one", "gain"), [(15.0, 1.0), (500.0, 5.0)])
def test_what_relaxes_to_the_same_place_is_no_gain(balls, one, gain):
    full, truth = balls
    problem = problem_of(truth, 1)
    misfit, sites = around(problem, full)
    prior, value = sites.expand(sites.taken).prior, misfit(full).value
    state = state_of(full, SCALE)
    acceptance = Acceptance(problem, sites, prior, state, value, one, (1e-3, 1e-4))
    assert acceptance.gain == gain
    assert acceptance.better(full, acceptance.gain) is None
    assert acceptance.better(full, -acceptance.gain) is not None


@pytest.mark.parametrize(("added", "tight"), [(11, False), (1, True)])
def test_what_leaves_less_than_half_is_not_relaxed_tightly(balls, monkeypatch, added, tight):
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


@pytest.mark.parametrize("seed", [2, 9, 10])
def test_what_is_said_of_an_atom_is_what_the_data_say_with_its_surroundings_relaxed(balls, seed):
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
    doubt = doubt_of(problem, judged_state(problem, full, SCALE).model, 0, misfit)
    assert doubt.occupied[MIDDLE] < 0.5


def test_where_no_atom_is_in_doubt_nothing_is_relaxed(balls, monkeypatch):
    _, truth = balls
    problem = problem_of(truth, 1, scale=0.3)
    _, sites = around(problem, truth)
    near = sites.expand(sites.taken)
    monkeypatch.setattr(problem.cluster, "relax", None)
    same = with_neighbours_relaxed(problem, sites, near, near)
    assert np.array_equal(same.slope, near.slope)


def test_surface_sites_cost_what_their_bonds_are_worth():
    prior = BondPrior(2.0, 6.0)
    assert prior.overcharged(np.array([3, 7, 8]), 100) == 0.0
    assert prior.overcharged(np.array([12, 11, 8]), 100) == pytest.approx(22 - 2 * np.log(100))
