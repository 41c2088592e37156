"""The data may move atoms off the minimum of the energy, but only if they are right."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree
from small_crystal import make_problem, relaxed_ball, simulate
from states import state_of

from prammol.evaluation.metrics import evaluate
from prammol.potentials.choose import choose_potential
from prammol.potentials.lammps import Cluster
from prammol.reconstruction.stages.default.relax_and_align import RelaxAndAlign
from prammol.reconstruction.stages.default.restrained_refinement import RestrainedRefinement
from prammol.structure.surface import neighbour_classes


def refined(truth, x, **arguments):
    """State after refining and settling the atoms x against the counts of others."""
    problem = make_problem(simulate(truth, points=24, **arguments), cluster=True)
    before = RelaxAndAlign()(problem, state_of(x, 1.9))
    after = RestrainedRefinement()(problem, before)
    problem.cluster.close()
    return before, after


def test_with_the_right_potential_a_cold_crystal_stays_at_the_minimum():
    x = relaxed_ball(8.5)
    before, after = refined(x, x)
    assert np.array_equal(before.positions, after.positions)
    assert len(after.model.displacements) == 0
    assert after.verdict.converged


def test_atoms_off_the_minimum_are_found():
    x = relaxed_ball(8.5)
    truth = (
        x + 0.03 * np.sin(x[:, [1, 2, 0]] / 3.0) + np.random.default_rng(1).normal(0, 0.02, x.shape)
    )
    before, after = refined(truth, x)

    assert not before.verdict.converged
    assert off(after.positions, truth).mean() < 0.4 * off(before.positions, truth).mean()
    assert after.verdict.excess < 0.02 * before.verdict.excess


@pytest.fixture(scope="module")
def other_potential():
    """The ball at rest in another potential of aluminium, lattice constant 0.8 % larger."""
    cluster = Cluster(choose_potential(file="Al_zhou.eam.alloy"))
    x, _, _ = cluster.relax(relaxed_ball(8.5))
    cluster.close()
    return x


def off(x, truth):
    """Distances from the truth but for a translation [Å]."""
    d = x - truth
    return np.linalg.norm(d - d.mean(axis=0), axis=1)


def test_the_error_of_a_potential_is_not_taken_for_thermal_motion(other_potential):
    before, after = refined(other_potential, relaxed_ball(8.5))
    assert not before.verdict.explained
    assert len(after.model.displacements) == 0
    assert off(after.positions, other_potential).mean() < 0.01
    assert (
        off(after.positions, other_potential).max()
        < 0.1 * off(before.positions, other_potential).max()
    )


def test_an_atom_where_the_energy_has_no_minimum_is_found(other_potential):
    truth = other_potential.copy()
    j = int(np.argmax(truth @ [1.0, 0.2, 0.1]))
    truth[j] += [0.3, 1.2, 1.6]
    before, after = refined(truth, relaxed_ball(8.5))
    assert cKDTree(before.positions).query(truth[j])[0] > 0.6
    assert len(after.positions) == len(truth)
    metrics = evaluate(after.positions, truth, with_resolution=False)
    assert (metrics.n_missing, metrics.n_extra) == (0, 0)
    assert metrics.max_error_pm < 5.0
    assert len(after.model.displacements) == 0


@pytest.mark.parametrize("seed", [1, 2])
def test_thermal_motion_lowers_the_misfit_and_the_surface_moves_more(seed):
    x = relaxed_ball(10.0)
    classes = neighbour_classes(x, 1.22 * 2.864)
    u = 0.01 + 0.01 * classes
    before, after = refined(x, x, displacements=u, seed=seed)
    assert after.verdict.excess < 0.02 * before.verdict.excess
    found = [after.model.displacements[classes == k].mean() for k in range(classes.max() + 1)]
    assert np.diff(found) == pytest.approx(0.01, abs=2e-3)


def test_occupancies_of_atoms_that_hop_are_found():
    """A warm surface that hops must neither move the others away nor pass for thermal motion."""
    x = relaxed_ball(10.0)
    classes = neighbour_classes(x, 1.22 * 2.864)
    u = 0.01 + 0.005 * classes
    present = np.ones(len(x))
    hopping = np.flatnonzero(classes == classes.max())[::7]
    present[hopping] = 0.6
    shift = 0.01 * np.sin(x[:, [1, 2, 0]] / 4.0)
    _, after = refined(x + shift, x, displacements=u, occupancies=present)
    assert after.model.occupancies[hopping].mean() == pytest.approx(0.6, abs=0.06)
    others = np.delete(after.model.occupancies, hopping)
    assert others.mean() > 0.97
    assert off(after.positions, x + shift).mean() < 0.005
