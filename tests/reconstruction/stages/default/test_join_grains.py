"""Twins joined at the start; a shape moved against its lattice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_crystal import fcc_ball
from twins import twinned

import prammol
from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import paper_patches
from prammol.potentials.lammps import Cluster
from prammol.reconstruction.loop import make_problem
from prammol.reconstruction.stages.default.choose_sites import ChooseSites
from prammol.reconstruction.stages.default.join_grains import JoinGrains
from prammol.reconstruction.stages.default.move_shape import MoveShape
from prammol.reconstruction.stages.default.phase_patches import PhasePatches
from prammol.reconstruction.stages.default.relax_and_align import RelaxAndAlign
from prammol.reconstruction.state import LoopStatus, State


def wrong(x, truth):
    found = prammol.evaluate(prammol.Atoms(x, "Al"), prammol.Atoms(truth, "Al"))
    return found.n_missing + found.n_extra


@pytest.fixture
def problem_of():
    made = []

    def make(truth, points):
        atoms = prammol.Atoms(truth, "Al")
        data = prammol.simulate(atoms, 1e18, 1, paper_patches(points))
        support = prammol.support_from_truth(atoms, resolution=5.0)
        made.append(make_problem(data, support, prammol.aluminium(), 0, Communicator()))
        return made[-1]

    yield make
    for problem in made:
        problem.cluster.close()


@pytest.mark.parametrize("plane", [pytest.param((1, -1, 1), marks=pytest.mark.slow), (1, 1, 1)])
def test_the_twin_is_joined_to_the_first_grain(problem_of, plane):
    truth = twinned(plane, radius=14.0)
    problem = problem_of(truth, 32)
    state = ChooseSites()(problem, PhasePatches()(problem, State.empty()))
    joined = JoinGrains()(problem, state)
    before, after = wrong(state.positions, truth), wrong(joined.positions, truth)
    assert before > 0.35 * len(truth)
    assert after < 0.7 * before


def test_without_a_twin_nothing_is_joined(problem_of):
    problem = problem_of(fcc_ball(10.0), 24)
    state = ChooseSites()(problem, PhasePatches()(problem, State.empty()))
    assert JoinGrains()(problem, state) is state


def test_a_shape_that_was_moved_is_moved_back(problem_of):
    cluster = Cluster(prammol.aluminium())
    x = fcc_ball(15.0)
    truth, _, _ = cluster.relax(x[np.linalg.norm(x - [0.5, 0.0, 0.0], axis=1) < 11.5])
    moved, _, _ = cluster.relax(x[np.linalg.norm(x - [-0.7, 1.0, 0.6], axis=1) < 11.5])
    cluster.close()
    problem = problem_of(truth, 32)
    state = RelaxAndAlign()(problem, State.of(moved, 1.0))
    assert MoveShape()(problem, state) is state  # the others go first
    state = replace(state, status=LoopStatus(0, 3, slow=True))
    better = MoveShape()(problem, state)
    assert wrong(moved, truth) > 30
    assert wrong(better.positions, truth) < 0.5 * wrong(moved, truth)
    nearly = replace(state, verdict=replace(state.verdict, wrong=9.0))
    assert MoveShape()(problem, nearly) is nearly
