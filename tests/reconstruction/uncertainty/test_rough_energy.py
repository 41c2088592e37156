"""Minima side by side: what two relaxations of one crystal differ by is within the error."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from small_crystal import fcc_ball, relaxed_ball

from prammol.potentials.choose import choose_potential
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import aluminium
from prammol.reconstruction.model import Model
from prammol.reconstruction.uncertainty.rough_energy import roughness, spread_of_minima


def problem_of(cluster):
    return SimpleNamespace(
        cluster=cluster,
        potential=cluster.potential,
        rng=lambda name, iteration: np.random.default_rng(5),
    )


@pytest.fixture(scope="module")
def platinum():
    """A cluster whose potential has tables of few digits, and a ball at rest."""
    cluster = Cluster(choose_potential("Pt", "Pt_u3.eam", structure="fcc", lattice_constant=3.92))
    x, _, _ = cluster.relax(fcc_ball(8.0, 3.92))
    yield cluster, x
    cluster.close()


def test_other_ways_to_rest_end_within_the_error(platinum):
    cluster, x = platinum
    sigma = spread_of_minima(problem_of(cluster), Model(x, 1.0), 1)
    errors = []
    for seed in range(3):
        kicks = np.random.default_rng(seed).normal(scale=0.05, size=x.shape)
        y, _, _ = cluster.relax(x + kicks, force_tolerance=1e-7)
        turn, _ = Rotation.align_vectors(x - x.mean(axis=0), y - y.mean(axis=0))
        errors.append(turn.apply(y - y.mean(axis=0)) - (x - x.mean(axis=0)))
    assert np.abs(errors).max() > 5e-4  # Å: what a curvature doesn't tell
    ratio = np.abs(errors) / sigma
    assert np.sqrt(np.mean(ratio**2)) < 2
    assert ratio.max() < 8


def test_a_smooth_energy_has_one_minimum(platinum):
    x = relaxed_ball(8.0)
    cluster = Cluster(aluminium())
    assert not spread_of_minima(problem_of(cluster), Model(x, 1.0), 1).any()
    rng = np.random.default_rng(2)
    assert roughness(cluster, x, rng) < 0.2 * roughness(*platinum, rng)
    cluster.close()


def test_atoms_that_data_moved_are_elsewhere(platinum):
    cluster, x = platinum
    assert not spread_of_minima(problem_of(cluster), Model(x, 1.0, stiffness=1.0), 1).any()
