"""Candidates for new atoms: circumcentres, forces, random places, and which are kept."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from small_crystal import fcc_ball, make_problem, relaxed_ball
from states import altered, state_of

from prammol.diffraction.support import Support, support_from_truth
from prammol.reconstruction.stages.paper.generate_candidates import (
    Candidates,
    GenerateCandidates,
    along_forces,
    circumcentres,
    filtered,
    near_support,
    random_near,
)
from prammol.reconstruction.state import State
from prammol.structure.atoms import Atoms

NEIGHBOURS = 4.05 / 2**0.5


def proposed(stage, problem, state):
    """Where a stage would put new atoms."""
    return stage(problem, state).given(Candidates).positions


def test_circumcentres_are_the_centres_of_empty_spheres(rng):
    x = rng.random((60, 3)) * 10
    centres = circumcentres(x, 0.0, 4.0)
    distances = np.sort(np.linalg.norm(centres[:, None] - x, axis=2), axis=1)
    assert len(centres) > 50
    np.testing.assert_allclose(distances[:, 3], distances[:, 0], rtol=1e-6)
    assert (distances[:, 0] <= 4.0).all()


def test_circumcentres_find_a_vacancy():
    x = fcc_ball(9.0)
    hole = int(np.argmin(np.linalg.norm(x, axis=1)))
    found = circumcentres(np.delete(x, hole, axis=0), 0.75 * NEIGHBOURS, 1.2 * NEIGHBOURS)
    assert np.linalg.norm(found - x[hole], axis=1).min() < 0.05


def test_atoms_in_a_plane_have_no_circumcentres():
    plane = np.array([(i, j, 0.0) for i, j in itertools.product(range(4), repeat=2)])
    assert circumcentres(plane, 0, 10).shape == (0, 3)
    assert circumcentres(plane[:2], 0, 10).shape == (0, 3)


def test_candidates_along_strong_forces():
    x = np.array([[0.0, 0, 0], [5.0, 0, 0], [9.0, 0, 0]])
    forces = np.array([[0, 3.0, 4.0], [0.01, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(along_forces(x, forces, 0.1, 2.5), [[0, 1.5, 2.0]])


def test_random_positions_are_near_the_object(rng):
    x = np.array([[0.0, 0, 0], [100.0, 0, 0]])
    new = random_near(x, 400, 2.0, 3.0, rng)
    distance = np.linalg.norm(new[:, None] - x, axis=2).min(axis=1)
    assert distance.min() >= 2.0
    assert distance.max() <= 3.0
    # Uniform in volume: half of it lies beyond the radius whose cube is the mean of the cubes.
    assert 0.4 < (distance > ((2.0**3 + 3.0**3) / 2) ** (1 / 3)).mean() < 0.6
    assert abs(np.mean(new[:, 0] > 50) - 0.5) < 0.1


def test_candidates_inside_the_support_and_apart_are_kept():
    support = Support((0, 0, 0), np.eye(3) * 4, np.ones((3, 1, 1), dtype=bool))
    atoms = np.array([[0.0, 0, 0]])
    candidates = np.array(
        [[1.0, 0, 0], [2.5, 0, 0], [3.5, 0, 0], [9.0, 0, 0], [30.0, 0, 0], [np.nan, 0, 0]]
    )
    kept = filtered(candidates, atoms, 2.0, support)
    np.testing.assert_array_equal(kept, candidates[[1, 3]])


def test_slack_widens_the_support_by_a_distance(rng):
    support = Support((0, 0, 0), np.eye(3) * 4, np.ones((1, 1, 1), dtype=bool))
    x = rng.uniform(-8, 8, size=(3000, 3))
    outside = np.linalg.norm(np.maximum(np.abs(x) - 2, 0), axis=1)  # to the cube's surface
    near = near_support(x, support, 1.5)
    assert near[outside < 1.0].all()  # up to the angle between two of the 26 directions
    assert not near[outside > 1.5].any()
    np.testing.assert_array_equal(near_support(x, support, 0.0), support.contains(x))


def test_a_shifted_object_gets_atoms_outside_the_support(data):
    x = relaxed_ball(8.5)
    shift = np.array([1.6, 0, 0])
    support = support_from_truth(Atoms(x, "Al"), 2.5)
    problem = make_problem(data, support, cluster=True)
    outside = np.flatnonzero(~support.contains(x + shift))
    missing = outside[np.argmin(np.linalg.norm(x[outside], axis=1))]
    state = state_of(np.delete(x, missing, axis=0) + shift, 1.9)
    gaps = [
        np.linalg.norm(
            proposed(GenerateCandidates(slack=s, slack_after=0), problem, state)
            - x[missing]
            - shift,
            axis=1,
        )
        for s in (0.0, 1.0)
    ]
    assert (gaps[0] > 1.0).all()
    assert gaps[1].min() < 0.2
    # Not before the object has stopped changing.
    stage = GenerateCandidates(slack=1.0, slack_after=3)
    early, late = (proposed(stage, problem, altered(state, iteration=i)) for i in (2, 3))
    assert near_support(early, support, 0.0).all()
    assert not near_support(late, support, 0.0).all()


def test_a_far_object_gets_atoms_where_the_support_is_moved_to(data):
    """A random start crystallises anywhere in the support, and beyond it on one side."""
    x = relaxed_ball(8.5)
    shift = np.array([0.0, -6.0, 0.0])
    support = support_from_truth(Atoms(x, "Al"), 2.5)
    problem = make_problem(data, support, cluster=True)
    outside = np.flatnonzero(~near_support(x + shift, support, NEIGHBOURS))
    missing = outside[np.argmin(np.linalg.norm(x[outside], axis=1))]
    object_ = np.delete(x, missing, axis=0) + shift
    new = proposed(GenerateCandidates(slack_after=0), problem, state_of(object_, 1.9))
    assert np.linalg.norm(new - x[missing] - shift, axis=1).min() < 0.2
    early = proposed(GenerateCandidates(slack_after=1), problem, state_of(object_, 1.9))
    assert support.contains(early).all()


def test_candidates_may_be_where_the_support_is_and_where_it_is_moved_to():
    support = Support((0, 0, 0), np.eye(3) * 4, np.ones((1, 1, 1), dtype=bool))
    candidates = np.array([[0, 0, 0], [10, 0, 0], [13, 0, 0], [15, 0, 0], [-10, 0, 0]], dtype=float)
    far = np.full((1, 3), 50.0)
    moved = np.array([10.0, 0, 0])
    for drift, kept in ((None, [0]), (np.zeros(3), [0]), (moved, [0, 1, 2])):
        found = filtered(candidates, far, 1.0, support, slack=1.5, drift=drift)
        np.testing.assert_array_equal(found, candidates[kept])


@pytest.mark.parametrize("where", ["bulk", "surface"])
def test_the_missing_atom_is_proposed(data, where):
    x = relaxed_ball(8.5)
    order = np.argsort(np.linalg.norm(x, axis=1))
    hole = order[0] if where == "bulk" else order[-40]
    rest = np.delete(x, hole, axis=0)
    problem = make_problem(data, support_from_truth(Atoms(x, "Al")), cluster=True)
    after = GenerateCandidates(slack=0.0)(problem, state_of(rest, 1.9))
    new = after.given(Candidates).positions
    assert np.linalg.norm(new - x[hole], axis=1).min() < 0.2
    distances = np.linalg.norm(new[:, None] - np.concatenate([rest, new]), axis=2)
    distances[np.arange(len(new)), len(rest) + np.arange(len(new))] = np.inf
    assert distances.min() > 0.75 * NEIGHBOURS - 1e-9
    assert problem.support.contains(new).all()
    np.testing.assert_array_equal(after.positions, rest)


def test_without_an_object_nothing_is_proposed(data):
    problem = make_problem(data, cluster=True)
    assert len(proposed(GenerateCandidates(), problem, State.empty())) == 0
