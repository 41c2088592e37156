"""Thermal motion, against sums over atoms that really move."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import relaxed_ball

from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.debye_waller import ThermalStructureFactor, thermal_structure_factor
from prammol.diffraction.structure_factor import StructureFactor, direct_structure_factor

LENGTH = 2 * np.pi * np.sqrt(3) / 4.05


@pytest.fixture(scope="module")
def patches():
    return paper_patches(16)


def test_the_mean_over_gaussian_motion_is_the_debye_waller_factor(patches):
    """Averaged over many random displacements; its error falls as one over the root of them."""
    x = relaxed_ball(5.0)
    rng = np.random.default_rng(5)
    u = np.where(np.arange(len(x)) % 2, 0.01, 0.03)
    q = np.concatenate([p.q() for p in patches])[::97]
    number = 4000
    mean = np.zeros(len(q), dtype=complex)
    for _ in range(number):
        mean += direct_structure_factor(q, x + rng.normal(size=x.shape) * np.sqrt(u)[:, None])
    mean /= number
    factor = StructureFactor(patches, 1e-9)
    expected = thermal_structure_factor(factor, x, u)[::97]
    noise = np.sqrt(len(x) * 0.15 / number)
    assert np.abs(mean - expected).max() < 5 * noise
    assert np.abs(mean - factor.forward(x)[::97]).max() > 10 * noise


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("hopping", [True, False])
def test_the_transform_of_moving_atoms_and_its_adjoint(patches, hopping, alike):
    """Against the direct sum of each atom's own factor; the adjoint to rounding."""
    x = relaxed_ball(5.0)
    rng = np.random.default_rng(6)
    u = 0.01 + rng.choice([0.0, 0.004, 0.02], len(x), p=[0.6, 0.2, 0.2]) * (not alike)
    present = rng.uniform(0.2, 1.0, len(x)) if hopping else None
    factor = ThermalStructureFactor(patches, u, LENGTH, 1e-10, occupancies=present)
    square = np.sum(factor.q**2, axis=1)
    weights = np.ones(len(x)) if present is None else present
    exact = sum(
        np.exp(-0.5 * v * square) * direct_structure_factor(factor.q, x[u == v], weights[u == v])
        for v in np.unique(u)
    )
    whole = thermal_structure_factor(StructureFactor(patches, 1e-10), x, u, present)
    assert np.abs(whole - exact).max() < 1e-7 * len(x)
    # second order: half of (q^2 - G^2)^2 (u_j - u)^2 / 4 for each atom
    bound = (u - 0.01) ** 2 @ np.ones(len(x)) * (square - LENGTH**2) ** 2 / 8
    assert (np.abs(factor.forward(x) - exact) <= 1.2 * bound + 1e-6).all()
    v = rng.normal(size=factor.size) + 1j * rng.normal(size=factor.size)
    w = rng.normal(size=len(x))
    left = np.vdot(v, factor.forward(x, w))
    assert left == pytest.approx(np.conj(factor.adjoint(v, x)) @ w, rel=1e-7)
    moments = factor.adjoint_moments(v, x)
    for axis in range(3):
        assert moments[:, axis] == pytest.approx(factor.adjoint(v * factor.q[:, axis], x), rel=1e-6)


def test_atoms_away_part_of_the_time_scatter_with_their_occupancy():
    """The mean over an atom that is there in every third picture is that of its occupancy."""
    x = relaxed_ball(5.0)
    factor = StructureFactor(paper_patches(8), 1e-10)
    present = np.where(np.arange(len(x)) < 4, 1 / 3, 1.0)
    mean = sum(direct_structure_factor(factor.q, x[4 * (k > 0) :]) for k in range(3)) / 3
    expected = thermal_structure_factor(factor, x, np.empty(0), present)
    assert np.abs(expected - mean).max() < 1e-7 * len(x)
