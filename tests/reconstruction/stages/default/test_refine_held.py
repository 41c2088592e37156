"""A crystal on a substrate: atoms that are held are found, the others at rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from small_crystal import fcc_ball, make_problem, simulate
from states import judged_state

from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import aluminium
from prammol.reconstruction.diagnosis import found_besides
from prammol.reconstruction.refinement.curvature import curvature_of_data, curvature_of_energy
from prammol.reconstruction.refinement.external_forces import (
    Loaded,
    balancing,
    held_atoms,
    on_one_side,
)
from prammol.reconstruction.refinement.restrained_fit import restrained_fit
from prammol.reconstruction.stages.default.refine_held import RefineHeld


@pytest.fixture(scope="module")
def clamped():
    """Positions, which atoms are clamped, the problem, and a state that the counts pulled."""
    x = fcc_ball(8.0)
    low = x[:, 2] < x[:, 2].min() + 2.5
    centre = x[low].mean(axis=0)
    x[low] = centre + (x[low] - centre) * [1.015, 1.015, 1.0]
    cluster = Cluster(aluminium())
    x, _, _ = cluster.relax(x, free=~low, force_tolerance=1e-5)
    problem = make_problem(simulate(x, 16), x=x, cluster=True)
    y, _, _ = cluster.relax(x, force_tolerance=1e-3)
    rng = np.random.default_rng(1)
    unit = curvature_of_data(problem, 1.9) / curvature_of_energy(cluster, y, rng)
    misfit = PoissonMisfit(problem.shard, problem.factor)
    pulled = restrained_fit(misfit, cluster, y, 0.1 * unit, 60)
    state = judged_state(problem, pulled, 1.9)
    cluster.close()
    yield x, low, problem, replace(state, model=replace(state.model, stiffness=0.1 * unit))
    problem.cluster.close()


def errors(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distances of the atoms, crystals laid on each other [Å]."""
    a, b = x - x.mean(axis=0), y - y.mean(axis=0)
    turn, _ = Rotation.align_vectors(a, b)
    return np.linalg.norm(turn.apply(b) - a, axis=1)


def test_held_atoms_are_found_and_the_others_lie_where_the_potential_has_them(clamped):
    x, low, problem, state = clamped
    found = RefineHeld()(problem, state)
    assert found.verdict.explained
    before, after = errors(x, state.positions), errors(x, found.positions)
    assert after[~low].mean() < 0.6 * before[~low].mean()
    _, forces = problem.cluster.energy_forces(found.positions)
    held = held_atoms(forces)
    assert held.sum() > 0.7 * low.sum()
    assert not (held & ~low).any()
    (cause,) = found_besides(problem, found.model)
    assert cause.effect == "held atoms"
    assert cause.where.startswith(f"{held.sum()} around")


def test_a_missing_atom_is_put_in_first(clamped):
    x, _, problem, state = clamped
    away = int(np.argmax(x[:, 2]))
    y = np.delete(state.positions, away, axis=0)
    damaged = replace(judged_state(problem, y, 1.9), model=replace(state.model, positions=y))
    found = RefineHeld()(problem, damaged)
    assert len(found.positions) == len(x)
    assert found.status.added == 1
    assert found.verdict.explained


def test_atoms_at_rest_stay_where_they_are(clamped):
    _, _, problem, state = clamped
    at_rest = replace(state, model=replace(state.model, stiffness=np.inf))
    assert RefineHeld()(problem, at_rest) is at_rest


def test_external_forces_are_the_slope_of_their_energy():
    class Springs:
        def energy_forces(self, x):
            return 1.5 * float(np.sum(x**2)), -3.0 * x

    rng = np.random.default_rng(2)
    x, shift, external = rng.normal(size=(3, 4, 3))
    loaded = Loaded(Springs(), external)
    _, forces = loaded.energy_forces(x)
    ends = [loaded.energy_forces(x + s * 1e-5 * shift)[0] for s in (-1, 1)]
    assert -np.sum(forces * shift) == pytest.approx((ends[1] - ends[0]) / 2e-5)


def test_what_stands_out_all_around_is_not_held():
    x = fcc_ball(8.0)
    outer = np.linalg.norm(x - x.mean(axis=0), axis=1) > 7.5
    low = x[:, 2] < x[:, 2].min() + 2.5
    assert 0 < outer.mean() < 0.3
    assert not on_one_side(x, outer, 0.3)
    assert on_one_side(x, low, 0.3)
    assert not on_one_side(x, low, 0.01)
    assert not on_one_side(x, np.zeros(len(x), dtype=bool), 0.3)


def test_balancing_forces_act_on_held_atoms_alone_and_push_nowhere():
    forces = np.random.default_rng(3).normal(size=(20, 3))
    forces[[3, 8]] *= 30.0
    held = held_atoms(forces)
    np.testing.assert_array_equal(np.flatnonzero(held), [3, 8])
    out = balancing(forces, held)
    assert not out[~held].any()
    np.testing.assert_allclose(out.sum(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(out[3] - out[8], forces[8] - forces[3])
