"""Moves of single atoms and pairs: against enumeration and against relaxing every atom."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from vacancy_ball import MIDDLE, around, problem_of

from prammol.reconstruction.occupancy.relaxed_moves import (
    cheapest_moves,
    relaxed_costs,
    with_neighbours_relaxed,
)


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


def test_where_no_atom_is_in_doubt_nothing_is_relaxed(balls, monkeypatch):
    _, truth = balls
    problem = problem_of(truth, 1, scale=0.3)
    _, sites = around(problem, truth)
    near = sites.expand(sites.taken)
    monkeypatch.setattr(problem.cluster, "relax", None)
    same = with_neighbours_relaxed(problem, sites, near, near)
    assert np.array_equal(same.slope, near.slope)
