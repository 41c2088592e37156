"""Which reflections three peaks are, and where the atoms of the cell are then."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from prammol.core.errors import DataError
from prammol.phasing.indexing import indexed
from prammol.potentials.potential import Potential
from prammol.structure.lattices import LATTICES, structure_factors

TURN = Rotation.from_rotvec([0.7, -1.1, 0.4]).as_matrix()
MAGNESIUM = Potential("Mg", "lj/cut 8", "1 1 0.1 2.8", 24.3, "hcp", 3.2)
SILICON = Potential("Si", "lj/cut 8", "1 1 0.1 2.1", 28.1, "diamond", 5.43)


def crystal(potential, strain, reach=9.0):
    """Atoms of a strained, turned crystal around 0, by the definition of its cell."""
    lattice, edge = LATTICES[potential.structure], potential.lattice_constant
    steps = np.indices((13, 13, 13)).reshape(3, -1).T - 6
    fractions = (steps[:, None] + np.array(lattice.sites)).reshape(-1, 3)
    cell = edge * (1 + strain) * np.array(lattice.cell) @ TURN.T
    x = fractions @ cell
    return x[np.linalg.norm(x, axis=1) < reach], 2 * np.pi * np.linalg.inv(cell).T


@pytest.mark.parametrize(
    ("potential", "hkl", "index"),
    [
        (MAGNESIUM, [(1, 0, 1), (0, 1, -1), (-1, 1, -1)], 1),
        (MAGNESIUM, [(1, 0, 0), (0, 1, 0), (0, 0, 2)], 2),
        (MAGNESIUM, [(1, 0, 1), (-1, 1, 1), (0, -1, 1)], 3),
        (SILICON, [(-1, 1, 1), (1, -1, 1), (1, 1, -1)], 1),
        (SILICON, [(1, 1, 1), (2, 2, 0), (2, -2, 0)], 2),
    ],
)
@pytest.mark.parametrize("strain", [0.0, 0.02])
def test_the_atoms_of_the_cells_are_the_crystal_s(potential, hkl, index, strain):
    """Up to a shift and an inversion, whatever its orientation."""
    wanted, unit = crystal(potential, strain)
    cell = indexed(np.array(hkl) @ unit, potential)[0]
    assert cell.lattice.index == index
    steps = np.indices((13, 13, 13)).reshape(3, -1).T - 6
    atoms = cell.atoms(steps @ cell.lattice.cell)
    inner = wanted[np.argsort(np.linalg.norm(wanted, axis=1), kind="stable")][:30]
    tree = cKDTree(atoms)
    kinds = [s * inner - s * site for s in (1, -1) for site in inner[:4]]
    assert min(tree.query(x)[0].max() for x in kinds) < 1e-6


def test_points_of_the_lattice_correct_the_peaks():
    """Peaks known to a step of a coarse grid; points of a bent lattice."""
    _, unit = crystal(MAGNESIUM, 0.0)
    hkl = np.array(MAGNESIUM.lattice.peaks)
    rng = np.random.default_rng(2)
    peaks = hkl @ unit * (1 + rng.uniform(-0.03, 0.03, (3, 1)))
    cell = indexed(peaks, MAGNESIUM)[0]
    true = indexed(hkl @ unit, MAGNESIUM)[0]
    steps = np.indices((9, 9, 9)).reshape(3, -1).T - 4
    points = steps @ true.lattice.cell + rng.normal(0, 0.05, (len(steps), 3)) + [0.3, 0.2, 5.0]
    np.testing.assert_allclose(cell.indices, true.indices)
    assert np.abs(cell.lattice.cell - true.lattice.cell).max() > 0.05
    fitted = cell.fitted(points)
    np.testing.assert_allclose(fitted.lattice.cell, true.lattice.cell, atol=0.005)
    np.testing.assert_allclose(fitted.motif, true.motif, atol=0.005)


@pytest.mark.parametrize("potential", [MAGNESIUM, SILICON])
def test_the_peaks_that_are_measured_by_default_scatter(potential):
    peaks = np.array(potential.lattice.peaks)
    x, unit = crystal(potential, 0.0)
    q = peaks @ unit
    assert abs(round(np.linalg.det(peaks @ potential.lattice.primitive.T))) == 1
    # One cell, summed atom by atom.
    sites = np.array(potential.lattice.sites) @ np.linalg.inv(unit).T * 2 * np.pi
    direct = np.exp(-1j * q @ sites.T).sum(axis=1)
    found = structure_factors(potential.lattice, peaks, np.ones(len(sites)))
    np.testing.assert_allclose(found, direct, atol=1e-9)
    assert (np.abs(found) > 0.9).all()
    assert len(x)


def test_extinct_peaks_and_those_of_other_crystals_are_refused():
    unit = 2 * np.pi / 5.43
    with pytest.raises(DataError, match=r"of which \((-?2 0 0|0 -?2 0|0 0 -?2)\) is extinct"):
        indexed(2 * unit * np.eye(3), SILICON)
    with pytest.raises(DataError, match="no three reflections of diamond Si"):
        indexed(1.2 * unit * np.eye(3), SILICON)
