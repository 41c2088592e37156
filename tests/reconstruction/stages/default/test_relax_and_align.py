"""Relaxation by the energy, single atoms moved, and what the data say afterwards."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree
from small_crystal import fcc_ball, make_problem, relaxed_ball, simulate
from states import state_of

from prammol.potentials.lammps import Cluster
from prammol.reconstruction.stages.default.relax_and_align import RelaxAndAlign
from prammol.simulation.counts import simulate as simulate_crystal
from prammol.simulation.samples import make_crystal


@pytest.mark.parametrize("moves", [0, 1, 2, 3])
def test_misplaced_atoms_are_moved_as_often_as_allowed(moves, monkeypatch):
    """Three atoms are off, of which one is told at a time; what is loose enough stays there."""
    truth = relaxed_ball(8.5)
    problem = make_problem(simulate(truth, points=24, scale=0.1), x=truth, cluster=True)
    shifts = [np.zeros_like(truth) for _ in range(3)]
    for j, shift in enumerate(shifts):
        shift[40 * j] = [0.2, 0.0, 0.0]
    left = list(shifts)

    def told(*_):
        return left.pop() if left else np.zeros_like(truth)

    monkeypatch.setattr("prammol.reconstruction.stages.default.relax_and_align.misplaced", told)
    stage = RelaxAndAlign(force_tolerance=1e9, moves=moves)
    stage(problem, state_of(truth - np.sum(shifts, axis=0), 0.1))
    assert len(left) == 3 - moves


@pytest.fixture
def tolerances(monkeypatch):
    """What objects were relaxed to."""
    seen = []
    relax = Cluster.relax

    def spied(cluster, x, force_tolerance):
        seen.append(force_tolerance)
        return relax(cluster, x, force_tolerance=force_tolerance)

    relaxed_ball(8.5)  # not spied
    monkeypatch.setattr(Cluster, "relax", spied)
    return seen


def test_atoms_are_relaxed_tightly_once_none_is_missing(tolerances):
    truth = relaxed_ball(8.5)
    problem = make_problem(simulate(truth, points=24), x=truth, cluster=True)
    rough = RelaxAndAlign()(problem, state_of(truth[5:] + 0.01, 1.9))
    assert tolerances == [1e-4]
    assert rough.verdict.wrong > 1
    assert not rough.verdict.explained
    tight = RelaxAndAlign(moves=0)(problem, state_of(truth + 0.01, 1.9))
    assert tolerances == [1e-4, 1e-4, 1e-6]
    assert tight.verdict.converged
    _, forces = problem.cluster.energy_forces(tight.positions)
    assert np.linalg.norm(forces) < 2e-6
    tolerances.clear()
    poor = RelaxAndAlign()(problem, state_of(truth[25:], 1.9))
    assert poor.verdict.wrong > 10
    assert tolerances == [1e-2]
    tolerances.clear()
    stopped = state_of(truth[25:], 1.9, iteration=3)  # nothing was selected: as good as it gets
    RelaxAndAlign()(problem, stopped)
    assert tolerances == [1e-4]
    # Only loose atoms off: nearly right once they are relaxed.
    tolerances.clear()
    shaken = truth + np.random.default_rng(1).normal(0, 0.1, truth.shape)
    right = RelaxAndAlign()(problem, state_of(shaken, 1.9))
    assert right.verdict.converged
    assert tolerances == [1e-2, 1e-4, 1e-6]
    problem.cluster.close()


def test_atoms_are_relaxed_tightly_after_the_last_move(tolerances, monkeypatch):
    truth = relaxed_ball(8.5)
    problem = make_problem(simulate(truth, points=24), x=truth, cluster=True)
    shift = np.zeros_like(truth)
    shift[3] = [0.1, 0.0, 0.0]
    told = [shift, np.zeros_like(truth)]
    monkeypatch.setattr(
        "prammol.reconstruction.stages.default.relax_and_align.misplaced", lambda *_: told.pop(0)
    )
    monkeypatch.setattr(
        "prammol.reconstruction.stages.default.relax_and_align.LEAST_GAIN", -1e9
    )  # any move is a gain
    RelaxAndAlign()(problem, state_of(truth, 1.9))
    assert not told
    assert tolerances == [1e-4, 1e-6]
    problem.cluster.close()


@pytest.mark.parametrize("flux", [5e17, pytest.param(1e20, marks=pytest.mark.slow)])
def test_a_surface_atom_in_the_wrong_hollow_is_moved(flux):
    """Both hollows are minima of the energy, a quarter of an ångström apart."""
    crystal = make_crystal("vacancy")
    truth = crystal.positions
    data = simulate_crystal(crystal, flux=flux, seed=1)
    problem = make_problem(data, x=truth, cluster=True)
    gap, j = cKDTree(truth).query([21.771, -9.694, -13.742])
    assert gap < 0.01
    x = truth.copy()
    x[j] += [0.094, -0.062, 0.223]
    scale = data.meta["scale"]
    left = RelaxAndAlign(moves=0)(problem, state_of(x, scale))
    found = RelaxAndAlign()(problem, state_of(x, scale))
    problem.cluster.close()
    # The misfit of all points doesn't tell, or says that it isn't a whole atom.
    assert left.verdict.explained == (flux < 1e18)
    assert left.verdict.wrong < 0.5
    assert 0.2 < np.linalg.norm(left.positions - truth, axis=1).max() < 0.3
    assert np.linalg.norm(found.positions - truth, axis=1).max() < 0.005
    assert found.verdict.converged
    assert found.verdict.excess < left.verdict.excess


@pytest.fixture
def ball_counts():
    return simulate(fcc_ball(6.0), points=8)


def test_atoms_that_are_not_at_rest_are_not_explained(ball_counts):
    """Not the minimiser tells, but the data: atoms that aren't at rest don't explain them."""
    from prammol.reconstruction.stages.default.relax_and_align import RelaxAndAlign

    x = relaxed_ball()
    measured = simulate(x, points=16)
    problem = make_problem(measured, x=x, cluster=True)
    off = x + np.random.default_rng(1).normal(0, 0.3, x.shape)
    relax = problem.cluster.relax
    problem.cluster.relax = lambda y, **options: relax(y, **options, max_iterations=2)
    state = RelaxAndAlign()(problem, state_of(off, 1.9))
    problem.cluster.close()
    assert not state.verdict.explained
    assert not state.verdict.converged
