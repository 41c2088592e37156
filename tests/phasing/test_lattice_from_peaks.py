"""Peaks that leave the lattice open: counted, named, and decided by the potential."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from prammol.core.errors import DataError
from prammol.phasing.lattice_from_peaks import (
    _bases,
    choose_sublattice,
    explain,
    independent_patches,
    on_sublattice,
    sublattices,
)
from prammol.potentials.potential import Potential, aluminium
from prammol.structure.lattices import LATTICES

TUNGSTEN = Potential("W", "lj/cut 8", "1 1 1 2.5", 183.84, "bcc", 3.165)

TURN = Rotation.from_rotvec([0.7, -1.1, 0.4]).as_matrix()


def peaks_of(edge, hkl):
    return 2 * np.pi / edge * np.array(hkl, dtype=float)


def lattice_points(structure, edge, turn, reach):
    """Points of a turned lattice around 0, by their cubic cells."""
    cells = np.indices((9, 9, 9)).reshape(3, -1).T - 4
    x = edge * (cells[:, None] + LATTICES[structure].basis).reshape(-1, 3) @ turn.T
    return x[np.linalg.norm(x, axis=1) < reach]


@pytest.mark.parametrize(("index", "number"), [(1, 1), (2, 7), (3, 13), (4, 35)])
def test_all_sublattices_of_an_index_are_found_once(index, number):
    # Sublattices of index n in three dimensions: OEIS A001001
    steps = np.indices((9, 9, 9)).reshape(3, -1).T - 4
    bases = list(_bases(index))
    sets = set()
    for basis in bases:
        way = steps @ np.linalg.inv(basis)
        sets.add((np.abs(way - np.rint(way)).max(axis=1) < 1e-6).tobytes())
    assert len(bases) == len(sets) == number
    assert all(round(np.linalg.det(b)) == index for b in bases)


@pytest.mark.parametrize(
    ("potential", "hkl", "index"),
    [
        (aluminium(), [(-1, 1, 1), (1, -1, 1), (1, 1, -1)], 1),
        (aluminium(), [(2, 0, 0), (0, 2, 0), (1, 1, 1)], 1),
        (aluminium(), [(2, 0, 0), (0, 2, 0), (0, 0, 2)], 2),
        (aluminium(), [(1, 1, 1), (2, 2, 0), (2, -2, 0)], 2),
        (aluminium(), [(2, 2, 0), (2, 0, 2), (0, 2, 2)], 4),
        (TUNGSTEN, [(0, 1, 1), (1, 0, 1), (1, 1, 0)], 1),
        (TUNGSTEN, [(1, 1, 0), (1, -1, 0), (0, 0, 2)], 2),
        (TUNGSTEN, [(2, 0, 0), (0, 2, 0), (0, 0, 2)], 4),
    ],
)
@pytest.mark.parametrize("strain", [0.0, 0.03, -0.03])
def test_the_potential_decides_between_lattices(potential, hkl, index, strain):
    """The chosen lattice is the crystal's, whatever its orientation and lattice constant."""
    edge = potential.lattice_constant * (1 + strain)
    peaks = peaks_of(edge, hkl) @ TURN.T
    chosen = choose_sublattice(peaks, potential)
    assert chosen.index == index
    expected = lattice_points(potential.structure, edge, TURN, 3.1 * potential.neighbour_distance)
    steps = np.indices((25, 25, 25)).reshape(3, -1).T - 12
    found = steps @ chosen.cell
    found = found[np.linalg.norm(found, axis=1) < 3.1 * potential.neighbour_distance]
    assert len(found) == len(expected)
    assert cKDTree(expected).query(found)[0].max() < 1e-9
    sentence = explain(peaks, potential)
    if index == 1:
        assert sentence is None
    else:
        assert f"{index} times as many sites as atoms" in sentence
        assert f"the {potential.structure} one of the potential" in sentence
        assert "--set sublattice" in sentence


def test_another_lattice_can_be_asked_for():
    peaks = peaks_of(4.05, [(2, 0, 0), (0, 2, 0), (0, 0, 2)])
    every = sublattices(peaks, aluminium())
    assert [choose_sublattice(peaks, aluminium(), k + 1).basis.tolist() for k in range(7)] == [
        s.basis.tolist() for s in every
    ]
    assert "number 3" in explain(peaks, aluminium(), 3)
    with pytest.raises(DataError, match="is 8, the peaks allow 7"):
        choose_sublattice(peaks, aluminium(), 8)


def test_an_undecided_lattice_is_named():
    # Half of the reciprocal lattice of a bcc crystal, and a potential that knows fcc only.
    peaks = peaks_of(3.165, [(1, 1, 0), (1, -1, 0), (0, 0, 2)])
    fcc = replace(TUNGSTEN, structure="fcc", lattice_constant=3.165 * 2 ** (1 / 3))
    with pytest.raises(DataError, match="none of them is fcc as the potential: measure another"):
        explain(peaks, fcc)
    assert "number 1" in explain(peaks, fcc, 1)


def test_several_atoms_in_a_cell_are_named():
    peaks = peaks_of(4.05, [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
    with pytest.raises(DataError, match=r"room for 4\.0 atoms of Al99\.eam\.alloy"):
        explain(peaks, aluminium())


def test_sites_are_told_apart_in_a_bent_crystal():
    """Simple cubic sites of an fcc crystal with a screw dislocation and 2 % strain."""
    half = 4.05 / 2
    steps = np.indices((13, 13, 13)).reshape(3, -1).T - 6
    x = half * (steps + [0.3, 0.2, 0.1])
    t, e1, e2 = np.array([1, 1, 0]) / 2**0.5, np.array([1, -1, 0]) / 2**0.5, np.array([0, 0, 1])
    from_line = np.hypot(x @ e1, x @ e2)
    keep = (from_line > 5) & (np.linalg.norm(x, axis=1) < 14)
    x, steps = x[keep], steps[keep]
    turns = np.arctan2(x @ e2, x @ e1) / (2 * np.pi)
    bent = 1.02 * x + turns[:, None] * 4.05 / 2**0.5 * t
    peaks = peaks_of(4.05 * 1.02, [(2, 0, 0), (0, 2, 0), (0, 0, 2)])
    ours = on_sublattice(bent, choose_sublattice(peaks, aluminium()))
    even = steps.sum(axis=1) % 2 == 0
    assert 0.4 < even.mean() < 0.6
    assert (ours == even).all() or (ours == ~even).all()


def test_a_triple_that_fixes_the_lattice_is_preferred():
    peaks = peaks_of(4.05, [(2, 0, 0), (0, 2, 0), (0, 0, 2), (1, 1, 1), (3, 3, 3.02)])
    chosen = independent_patches(peaks, [9.0, 9.0, 9.0, 1.0, 9.0])
    assert 3 in chosen
    assert 4 not in chosen
    assert choose_sublattice(peaks[chosen], aluminium()).index == 1


def test_three_independent_patches_are_chosen_brightest_first():
    peaks = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, -1.0]])
    assert sorted(independent_patches(peaks, [1, 5, 3, 3, 9])) == [1, 2, 4]
