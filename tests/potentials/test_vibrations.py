"""Vibrations of a cluster: against the curvature of its energy and elastic constants."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import fcc_ball, relaxed_ball

from prammol.core.errors import SimulationError
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import aluminium
from prammol.potentials.vibrations import force_constants, soft_modes

GPA = 1 / 160.21766  # in eV/Å^3


@pytest.fixture(scope="module")
def cluster():
    cluster = Cluster(aluminium())
    yield cluster
    cluster.close()


def test_modes_are_those_of_the_hessian(cluster):
    x = relaxed_ball(10.5)
    modes = soft_modes(cluster, x, 20)
    assert modes.vectors.shape == (20, len(x), 3)
    flat = modes.vectors.reshape(20, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(20), atol=1e-8)
    # neither a translation nor a rotation
    np.testing.assert_allclose(modes.vectors.sum(axis=1), 0, atol=1e-7)
    np.testing.assert_allclose(
        np.cross(x - x.mean(axis=0), modes.vectors).sum(axis=1), 0, atol=1e-5
    )
    # the energy, not the forces, along some of them
    for k in (0, 7, 19):
        h = 0.01 / np.abs(modes.vectors[k]).max()
        up, down, rest = (
            cluster.energy_forces(x + s * h * modes.vectors[k])[0] for s in (1, -1, 0)
        )
        assert (up + down - 2 * rest) / h**2 == pytest.approx(modes.stiffness[k], rel=0.02)
    # the whole Hessian, another step
    hessian = np.empty((x.size, x.size))
    for i in range(x.size):
        move = np.zeros(x.size)
        move[i] = 1e-3
        move = move.reshape(x.shape)
        up, down = (cluster.energy_forces(x + s * move)[1] for s in (1, -1))
        hessian[i] = (down - up).ravel() / 2e-3
    exact = np.linalg.eigvalsh(0.5 * (hessian + hessian.T))[6:26]
    assert (modes.stiffness > 0.985 * exact).all()
    assert (modes.stiffness < 1.15 * exact).all()
    assert np.median(modes.stiffness / exact) < 1.05


def test_atoms_at_a_maximum_have_no_modes(cluster):
    edge = 0.85 * aluminium().neighbour_distance  # a chain that is pressed together bends
    with pytest.raises(SimulationError, match="aren't at rest"):
        soft_modes(cluster, np.array([[0.0, 0, 0], [3 * edge, 0, 0]]), 1)


def test_long_waves_have_the_elastic_constants_of_the_potential(cluster):
    # Mishin et al., Phys. Rev. B 59, 3393 (1999): 114, 61.6 and 31.6 GPa.
    around = force_constants(cluster, fcc_ball(15.0))
    np.testing.assert_allclose(around.constants.sum(axis=0), 0, atol=1e-9)
    k, cell = 0.05, 4.05**3 / 4
    along = around.curvature(np.array([[k, 0, 0]]))[0] / (k**2 * cell * GPA)
    assert along[0, 0] == pytest.approx(114, rel=0.03)
    assert along[1, 1] == pytest.approx(31.6, rel=0.03)
    diagonal = around.curvature(np.array([[k, k, 0]]) / 2**0.5)[0] / (k**2 * cell * GPA)
    assert diagonal[0, 1] == pytest.approx((61.6 + 31.6) / 2, rel=0.03)
