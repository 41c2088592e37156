"""Starts from a lattice and from random atoms."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import make_problem, relaxed_ball, simulate

from prammol.core.errors import InputError
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.diffraction.support import Support, support_from_truth
from prammol.reconstruction.stages.paper.initial_lattice import FillAtRandom, FillLattice
from prammol.reconstruction.state import State
from prammol.structure.atoms import Atoms


def test_the_lattice_fills_the_support_and_nothing_else(data):
    support = Support((-15, -15, -15), np.eye(3) * 5, np.ones((6, 6, 6), dtype=bool))
    problem = make_problem(data, support, cluster=True)
    after = FillLattice()(problem, State.empty())
    x = after.positions
    assert support.contains(x).all()
    # Four atoms per cell of 4.0 Å; the surface makes it inexact.
    assert len(x) == pytest.approx(4 * support.volume / 4.0**3, rel=0.05)
    distances = np.linalg.norm(x[:, None] - x, axis=2)
    np.fill_diagonal(distances, np.inf)
    assert distances.min() == pytest.approx(4.0 / 2**0.5)
    assert (np.isclose(distances, distances.min()).sum(axis=1) == 12).any()
    omega = np.abs(direct_structure_factor(problem.factor.q, x))[problem.shard.valid]
    amplitude = np.sqrt(problem.shard.counts[problem.shard.valid])
    assert after.model.scale == pytest.approx(amplitude @ omega / (omega @ omega))


def test_the_lattice_can_be_turned_and_its_place_is_random(data):
    turn = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])
    support = Support((0, 0, 0), np.eye(3) * 5, np.ones((4, 4, 4), dtype=bool))
    stage = FillLattice(lattice_constant=4.1, orientation=tuple(map(tuple, turn)))
    starts = []
    for seed in (1, 1, 2):
        problem = make_problem(data, support, seed=seed, cluster=True)
        starts.append(stage(problem, State.empty()).positions)
    steps = (starts[0] - starts[0][0]) @ turn.T / (4.1 / 2)
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-8)
    assert (np.rint(steps).sum(axis=1) % 2 == 0).all()  # fcc: the sum of the halves is even
    np.testing.assert_array_equal(starts[0], starts[1])
    offset = (starts[0][0] - starts[2][0]) @ turn.T / (4.1 / 2)
    assert np.abs(offset - np.rint(offset)).max() > 1e-3


def test_an_orientation_that_is_no_rotation_is_refused(data):
    problem = make_problem(data, cluster=True)
    stage = FillLattice(orientation=((1, 0, 0), (0, 2, 0), (0, 0, 1)))
    with pytest.raises(InputError, match="rotation"):
        stage(problem, State.empty())


def test_a_random_start_is_in_the_support_and_no_lattice():
    x = relaxed_ball(10.0)
    data = simulate(x, points=16)
    support = support_from_truth(Atoms(x, "Al"), 3.0)
    numbers = set()
    for seed in (1, 2):
        problem = make_problem(data, support, seed, cluster=True)
        found = FillAtRandom()(problem, State.empty())
        again = FillAtRandom()(problem, State.empty())
        problem.cluster.close()
        assert np.array_equal(found.positions, again.positions)
        y = found.positions
        near = np.linalg.norm(y[:, None] - x[None], axis=2).min(axis=1)
        assert near.max() < 6.0
        # A lattice would have most atoms within some tenths of an angstrom.
        assert np.median(near) > 0.4
        gap = np.linalg.norm(y[:, None] - y[None], axis=2) + 10 * np.eye(len(y))
        assert gap.min() > 2.0
        assert found.model.scale > 0
        numbers.add(len(y))
    assert len(numbers) == 2
