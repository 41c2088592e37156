"""Annealing of crystals whose single atoms are hardly seen."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import fcc_ball, make_problem, relaxed_ball, simulate
from states import altered, state_of

from prammol.diffraction.support import support_from_truth
from prammol.evaluation.metrics import evaluate
from prammol.reconstruction.stages.default.anneal import Anneal
from prammol.reconstruction.stages.default.complete_atoms import CompleteAtoms
from prammol.reconstruction.stages.default.relax_and_align import RelaxAndAlign
from prammol.structure.atoms import Atoms

RADIUS = 12.0

POINTS = 24
HARDLY_SEEN = (12.7 / POINTS**3 / 3) ** 0.5  # C: so much is one atom worth


@pytest.fixture
def ball():
    return relaxed_ball(RADIUS)


def problem_of(x, seed, scale=HARDLY_SEEN):
    support = support_from_truth(Atoms(x, "Al"))
    return make_problem(simulate(x, points=POINTS, scale=scale, seed=seed), support, cluster=True)


def lopsided():
    """A layer too few on one side, one too many on the other: each atom of it has bonds."""
    larger = fcc_ball(RADIUS + 3.0)
    height = larger @ np.ones(3) / 3**0.5
    inside = np.linalg.norm(larger, axis=1) < RADIUS
    return larger[(inside & (height < RADIUS - 2.5)) | (~inside & (height < 2.5 - RADIUS))]


def wrong(state, x):
    found = evaluate(Atoms(state.positions, "Al"), Atoms(x, "Al"))
    return found.n_missing + found.n_extra


def run(problem, stage, iterations):
    state = RelaxAndAlign()(problem, state_of(lopsided(), HARDLY_SEEN))
    for k in range(iterations):
        state = RelaxAndAlign()(
            problem, stage(problem, altered(state, selected=False, iteration=k))
        )
    return state


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))]
)
def test_annealing_repairs_a_surface_where_flips_are_stuck(ball, seed, monkeypatch):
    problem = problem_of(ball, seed)
    monkeypatch.setattr("prammol.reconstruction.occupancy.low_signal._LOW_SIGNAL_GAIN", 0.0)
    stuck = wrong(run(problem, CompleteAtoms(), 2), ball)
    assert stuck > 50
    # This crystal is next to the bound; it shall stay below it whatever is found on the way.
    monkeypatch.setattr("prammol.reconstruction.occupancy.low_signal._LOW_SIGNAL_GAIN", 16.0)
    assert wrong(run(problem, Anneal(passes=12, sweeps=20), 12), ball) < stuck / 5


def test_only_crystals_of_low_signal_are_annealed_and_only_for_some_iterations(ball):
    """One atom of many photons is worth hundreds."""
    state = state_of(lopsided(), 1.0)
    assert Anneal()(problem_of(ball, 1, scale=1.9), state) is state
    problem = problem_of(ball, 1)
    stage = Anneal(passes=2, more=1, sweeps=5, counted=5)
    late = altered(state, iteration=3)
    assert stage(problem, late) is late
    once, again = stage(problem, state), stage(problem, state)
    assert once.status.selected
    assert np.array_equal(once.positions, again.positions)
    other = stage(problem, altered(state, iteration=1))
    assert once.positions.shape != other.positions.shape or not np.array_equal(
        once.positions, other.positions
    )


def test_the_bond_energy_is_learnt_hot_and_used_cold(ball):
    """Hot passes take their own."""
    problem = problem_of(ball, 1)
    stage = Anneal(passes=1, more=1, sweeps=10, counted=5)
    few, many = (state_of(lopsided(), HARDLY_SEEN, bond_energy=bond) for bond in (0.5, 3.0))
    hot = [stage(problem, state) for state in (few, many)]
    assert np.array_equal(hot[0].positions, hot[1].positions)
    assert few.model.bond_energy < hot[0].model.bond_energy <= 2 * few.model.bond_energy
    cold = [stage(problem, altered(state, iteration=1)) for state in (few, many)]
    assert cold[0].positions.shape != cold[1].positions.shape


def test_sites_taken_more_often_than_not_are_wrong_less_often_than_one_sample(ball):
    """Of a crystal whose atoms are worth 4; one sweep is a sample."""
    found = {1: 0, 30: 0}
    for seed in (1, 2, 3):
        problem = problem_of(ball, seed, scale=HARDLY_SEEN / 3**0.5)
        for counted in found:
            stage = Anneal(passes=0, more=1, sweeps=5, counted=counted)
            state = stage(problem, state_of(ball, HARDLY_SEEN / 3**0.5))
            found[counted] += wrong(state, ball)
    assert found[30] < 0.8 * found[1]


def test_flips_leave_a_crystal_of_low_signal_alone(ball):
    state = state_of(lopsided(), HARDLY_SEEN)
    assert CompleteAtoms()(problem_of(ball, 1), state) is state


def test_what_was_annealed_is_left_alone_until_it_is_refined(ball):
    state = state_of(lopsided(), HARDLY_SEEN, selected=True)
    assert CompleteAtoms()(problem_of(ball, 1), state) is state


def test_a_hot_pass_that_raised_the_misfit_is_taken_back(ball):
    """From the truth, whose surface melts and freezes too fast; the first pass counts anyway."""
    scale = HARDLY_SEEN / 3**0.5  # of the truth an atom would be worth more than the bound else
    problem = problem_of(ball, 1, scale)
    stage = Anneal(passes=2, more=1, hot=50.0, sweeps=3, counted=1, considered=1)
    first, second, last = (
        stage(problem, state_of(ball, scale, iteration=k, bond_energy=2.0)) for k in range(3)
    )
    assert wrong(first, ball) > 10
    assert np.array_equal(second.positions, ball)
    assert second.status.selected
    assert second.model.bond_energy != 2.0
    assert not np.array_equal(last.positions, ball)
