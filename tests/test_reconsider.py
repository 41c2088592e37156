"""Doubtful atoms: moves against enumeration, their cost against relaxing every atom."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from small_crystal import fcc_ball, make_problem, simulate

from prammol.diffraction.support import support_from_truth
from prammol.evaluation.metrics import evaluate
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import aluminium
from prammol.reconstruction.occupancy.bond_prior import BondPrior
from prammol.reconstruction.occupancy.relaxed_moves import (
    cheapest_moves,
    relaxed_costs,
    with_neighbours_relaxed,
)
from prammol.reconstruction.occupancy.site_selection import Sites
from prammol.reconstruction.problem import State
from prammol.reconstruction.stages.default.acceptance import Acceptance
from prammol.reconstruction.stages.default.complete_atoms import CompleteAtoms
from prammol.reconstruction.stages.default.reconsider_atoms import ReconsiderAtoms
from prammol.reconstruction.stages.default.relax_and_align import RelaxAndAlign, judged
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


def state_of(problem, x, scale=SCALE):
    return judged(problem, State(x, scale), problem.factor.forward(x), 5.0)


def around(problem, x):
    """Misfit, sites, which are taken, and how sets of them are compared."""
    potential = problem.cluster.potential
    distance, reach = potential.neighbour_distance, potential.bond_reach
    sites = np.concatenate([x, vacant_sites(x, reach, distance)])
    taken = np.arange(len(sites)) < len(x)
    misfit = PoissonMisfit(problem.shard, problem.factor)
    every = Sites(misfit, problem.factor, problem.comm, sites, taken, distance, reach)
    return misfit, sites, taken, every


def wrong(x, truth):
    found = evaluate(Atoms(x, "Al"), Atoms(truth, "Al"))
    return found.n_missing, found.n_extra


@pytest.mark.parametrize("seed", [11, 12])
def test_a_vacancy_that_only_its_relaxed_surroundings_show_is_found(balls, seed):
    """At fixed positions the data don't pay for it, neighbours given way they do."""
    full, truth = balls
    problem = problem_of(truth, seed)
    state = state_of(problem, full)
    _, _, taken, every = around(problem, full)
    assert np.array_equal(every.choose(taken).taken, taken)
    assert not CompleteAtoms()(problem, state).selected
    found = ReconsiderAtoms()(problem, state)
    assert found.selected
    assert (found.added, found.removed) == (0, 1)
    assert wrong(found.positions, truth) == (0, 0)


def test_the_best_set_of_lattice_sites_is_tried_without_minima_of_the_difference_map(balls):
    """With them it collapses when it is relaxed."""
    full, truth = balls
    problem = problem_of(truth, 10)
    state = state_of(problem, full)
    assert not CompleteAtoms()(problem, state).selected
    stage = ReconsiderAtoms(moves=0)
    assert wrong(stage(problem, state).positions, truth) == (0, 0)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_truth_is_left_alone(balls, seed):
    _, truth = balls
    problem = problem_of(truth, seed, scale=0.03)
    state = ReconsiderAtoms()(problem, state_of(problem, truth, 0.03))
    assert not state.selected
    assert wrong(state.positions, truth) == (0, 0)


def test_nothing_is_done_where_something_else_is_wrong(balls):
    full, truth = balls
    problem = problem_of(truth, 11)
    state = state_of(problem, full)
    for other in (replace(state, selected=True), replace(state, explained=False)):
        assert ReconsiderAtoms()(problem, other) is other
    faint = problem_of(truth, 11, scale=0.01)
    state = state_of(faint, full, 0.01)
    assert state.explained
    assert ReconsiderAtoms()(faint, state) is state


def test_the_cost_of_a_move_alone_is_that_of_relaxing_every_atom(balls):
    full, truth = balls
    problem = problem_of(truth, 2, scale=0.03)
    misfit, sites, taken, _ = around(problem, full)
    far = int(np.argmax(np.linalg.norm(sites, axis=1)))
    fixed = misfit(np.delete(full, MIDDLE, axis=0)).value - misfit(full).value
    for move in ([MIDDLE], [far], [far, MIDDLE]):
        keep = taken.copy()
        keep[move] = ~keep[move]
        y, _, _ = problem.cluster.relax(sites[keep], force_tolerance=1e-5)
        cost = misfit(y).value - misfit(full).value
        if move == [MIDDLE]:
            assert cost < 1.5 * fixed < 0
        found = relaxed_costs(problem, misfit, problem.factor, sites, taken, [np.array(move)], 1e-5)
        assert found == pytest.approx([cost], abs=0.02)


def test_moves_far_apart_are_relaxed_together_as_if_alone(balls, monkeypatch):
    full, truth = balls
    problem = problem_of(truth, 2, scale=0.03)
    misfit, sites, taken, _ = around(problem, full)
    height = full @ np.ones(3)
    moves = [np.array([int(np.argmin(height))]), np.array([int(np.argmax(height))])]
    relaxations = []
    relax = problem.cluster.relax
    monkeypatch.setattr(
        problem.cluster, "relax", lambda *a, **k: relaxations.append(1) or relax(*a, **k)
    )

    def costs(which):
        return relaxed_costs(problem, misfit, problem.factor, sites, taken, which, 1e-5)

    together = costs(moves)
    assert len(relaxations) == 2  # the object, and both moves
    alone = [costs([move])[0] for move in moves]
    assert together == pytest.approx(np.array(alone), rel=0.02)


def test_the_cheapest_moves_are_those_of_enumeration(balls):
    full, truth = balls
    problem = problem_of(truth, 1)
    _, sites, taken, every = around(problem, full)
    near, distance = every.expand(taken), problem.cluster.potential.neighbour_distance
    bonds = every.bonds_of(taken, near)
    free = near.free

    def cost(expansion, flips):
        change = np.zeros(len(free))
        change[flips] = np.where(taken[free[flips]], -1.0, 1.0)
        return expansion.slope @ change + 0.5 * change @ (expansion.every @ change)

    pairs = [
        list(p)
        for p in combinations(range(len(free)), 2)
        if np.linalg.norm(sites[free[p[0]]] - sites[free[p[1]]]) < 1.5 * distance
    ]
    moves = cheapest_moves(sites, taken, near, bonds, distance, 5, np.inf)
    assert len(moves.sites) == 10
    place = np.full(len(sites), -1)
    place[free] = np.arange(len(free))
    for part, flips in ((slice(0, 5), [[k] for k in range(len(free))]), (slice(5, 10), pairs)):
        best = np.sort([cost(near, f) for f in flips])[:5]
        found = moves.sites[part]
        assert [cost(near, place[f]) for f in found] == pytest.approx(best, rel=1e-9)
        assert moves.prior[part] == pytest.approx([cost(bonds, place[f]) for f in found])
    third = cost(near, place[moves.sites[2]])
    few = cheapest_moves(sites, taken, near, bonds, distance, 5, third)
    assert [len(f) for f in few.sites] == [1, 1]


def test_a_vacancy_inside_costs_no_more_than_one_in_as_many_as_there_are_atoms(balls):
    """By the bonds of its surface alone it would be worth twice that."""
    full, truth = balls
    problem = problem_of(truth, 1)
    _, sites, taken, every = around(problem, full)
    bonds = every.without_data(taken, np.arange(len(sites)) == MIDDLE)
    k = int(np.flatnonzero(bonds.free == MIDDLE)[0])
    prior = bonds.prior
    assert prior.strength * (12 - prior.half) > 1.5 * np.log(len(full))
    assert bonds.slope[k] == pytest.approx(-np.log(len(full)))
    without = np.delete(full, MIDDLE, axis=0)
    judge = Acceptance(
        problem, every._misfit, problem.factor, prior, State(full, SCALE), sites, 0.0, 1.0, (1, 1)
    )
    assert judge._bonds(without) - judge._bonds(full) == pytest.approx(np.log(len(full)), abs=0.01)
    vacant = taken & (np.arange(len(sites)) != MIDDLE)
    cost = every._energy(vacant, prior) - every._energy(taken, prior)
    assert cost == pytest.approx(np.log(len(full)), abs=0.01)


@pytest.mark.parametrize(("one", "gain"), [(15.0, 1.0), (500.0, 5.0)])
def test_what_relaxes_to_the_same_place_is_no_gain(balls, one, gain):
    full, truth = balls
    problem = problem_of(truth, 1)
    misfit, sites, taken, every = around(problem, full)
    prior, value = every.expand(taken).prior, misfit(full).value
    state = State(full, SCALE)
    judge = Acceptance(
        problem, misfit, problem.factor, prior, state, sites, value, one, (1e-3, 1e-4)
    )
    assert judge.gain == gain
    assert judge.better(full, judge.gain) is None
    assert judge.better(full, -judge.gain) is not None


@pytest.mark.parametrize(("added", "tight"), [(11, False), (1, True)])
def test_what_leaves_less_than_half_is_not_relaxed_tightly(balls, monkeypatch, added, tight):
    """Of the eleven atoms that are missing the proposal adds all or one."""
    _, truth = balls
    problem = problem_of(truth, 1, scale=1.9)
    inside = np.flatnonzero(np.linalg.norm(truth, axis=1) < 8.0)
    gone = np.isin(np.arange(len(truth)), inside[3::12])
    state = RelaxAndAlign()(problem, State(truth[~gone], 1.9))
    start = state.positions
    x = np.concatenate([start, truth[gone]])
    misfit = PoissonMisfit(problem.shard, problem.factor)
    value = misfit(start).value
    judge = Acceptance(
        problem, misfit, problem.factor, BondPrior(0.0, 6.0), state, x, value, 1.0, (1e-2, 1e-4)
    )
    seen = []
    relax = Cluster.relax
    monkeypatch.setattr(
        Cluster, "relax", lambda c, y, force_tolerance: seen.append(force_tolerance)
        or relax(c, y, force_tolerance=force_tolerance)
    )  # fmt: skip
    assert gone.sum() == 11
    keep = np.arange(len(x)) < len(start) + added
    found = judge.best([keep])
    assert (found.added, found.removed) == (added, 0)
    assert seen == ([1e-2, 1e-4] if tight else [1e-2])


@pytest.mark.parametrize("seed", [2, 9, 10])
def test_what_is_said_of_an_atom_is_what_the_data_say_with_its_surroundings_relaxed(balls, seed):
    """An atom in the place of a vacancy."""
    full, truth = balls
    problem = problem_of(truth, seed)
    misfit, sites, taken, every = around(problem, full)
    keep = taken & (np.arange(len(sites)) != MIDDLE)
    y, _, _ = problem.cluster.relax(sites[keep], force_tolerance=1e-4)
    cost = misfit(y).value - misfit(full).value + np.log(len(full))
    assert cost < -1.0
    near = every.expand(taken)
    bonds = every.bonds_of(taken, near)
    relaxed = with_neighbours_relaxed(problem, misfit, sites, taken, near, bonds)
    k = int(np.flatnonzero(near.free == MIDDLE)[0])
    half = 0.5 * near.every.diagonal()[k]
    fixed, given_way = (half - e.slope[k] - cost for e in (near, relaxed))
    assert fixed > 3.0
    assert abs(given_way) < 0.6 * fixed
    doubt = doubt_of(problem, state_of(problem, full), misfit)
    assert doubt.occupied[MIDDLE] < 0.5


def test_where_no_atom_is_in_doubt_nothing_is_relaxed(balls, monkeypatch):
    _, truth = balls
    problem = problem_of(truth, 1, scale=0.3)
    misfit, sites, taken, every = around(problem, truth)
    near = every.expand(taken)
    monkeypatch.setattr(problem.cluster, "relax", None)
    same = with_neighbours_relaxed(problem, misfit, sites, taken, near, near)
    assert np.array_equal(same.slope, near.slope)


def test_surface_sites_cost_what_their_bonds_are_worth():
    prior = BondPrior(2.0, 6.0)
    assert prior.overcharged(np.array([3, 7, 8]), 100) == 0.0
    assert prior.overcharged(np.array([12, 11, 8]), 100) == pytest.approx(22 - 2 * np.log(100))
