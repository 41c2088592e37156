"""Which element a place has, against the lattice it is made from."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from prammol.core.errors import InputError
from prammol.structure.atoms import Atoms
from prammol.structure.labels import Labels
from prammol.structure.lattices import LATTICES

EDGE = 3.6


def crystal(name, cells=4):
    """Sites, members of the motif, and elements of some primitive cells."""
    lattice = LATTICES[name]
    cell, motif = EDGE * lattice.primitive @ lattice.vectors, EDGE * lattice.motif @ lattice.vectors
    steps = np.indices((cells,) * 3).reshape(3, -1).T @ cell
    members = np.repeat(np.arange(len(motif)), len(steps))
    x = (motif[:, None] + steps).reshape(-1, 3)
    return x, members, Labels(x, members, lattice.motif_kinds, cell, motif)


def bent(x):
    """A smooth map that moves the far corner by more than a cell."""
    return x + 0.004 * np.stack([x[:, 1] ** 2, x[:, 0] * x[:, 2], x[:, 0] ** 2], axis=1)


@pytest.mark.parametrize("name", ["B2", "L12", "zincblende"])
def test_elements_go_on_beyond_the_sites_that_are_known(name):
    x, members, labels = crystal(name, 6)
    kinds = LATTICES[name].motif_kinds[members]
    inner = np.linalg.norm(x - x.mean(axis=0), axis=1) < 7.5
    y = bent(x)
    known = Labels(y[inner], members[inner], labels.kinds, labels.cell, labels.motif)
    rng = np.random.default_rng(1)
    near = cKDTree(y[inner]).query(y)[0] < 4.0  # within the next cell
    assert (near & ~inner).sum() > 50
    assert len(np.unique(kinds)) == 2
    found = known.kinds_of(y[near] + rng.normal(0, 0.1, (near.sum(), 3)))
    np.testing.assert_array_equal(found, kinds[near])


def test_single_atoms_may_have_another_element():
    x, members, labels = crystal("L12", 4)
    kinds = LATTICES["L12"].motif_kinds[members]
    other = kinds.copy()
    other[[3, 77]] = 1 - other[[3, 77]]
    told = labels.with_kinds(x, other)
    near = x + np.random.default_rng(2).normal(0, 0.1, x.shape)
    np.testing.assert_array_equal(told.kinds_of(near), other)
    np.testing.assert_array_equal(told.perfect.kinds_of(near), kinds)
    np.testing.assert_array_equal(told.with_kinds(x, kinds).kinds_of(x), kinds)
    assert len(told.odd) == 2


def test_atoms_alone_tell_the_nearest_element():
    x = np.array([[0.0, 0, 0], [3, 0, 0], [6, 0, 0]])
    labels = Labels.of_atoms(x, np.array([1, 0, 1]))
    places = np.array([[1.4, 0, 0], [1.6, 0, 0], [40, 0, 0]])
    assert labels.kinds_of(places).tolist() == [1, 0, 1]
    nowhere = Labels.of_atoms(np.empty((0, 3)), np.empty(0, dtype=int))
    assert nowhere.kinds_of(places).tolist() == [0, 0, 0]


@pytest.mark.parametrize(("name", "unlike"), [("B2", 8), ("L12", 12), ("zincblende", 4)])
def test_neighbours_of_the_rarer_element_are_of_the_other(name, unlike):
    lattice = LATTICES[name]
    steps = np.indices((3, 3, 3)).reshape(3, -1).T - 1
    x = (steps[:, None] + np.array(lattice.sites)).reshape(-1, 3) @ lattice.vectors
    kinds = np.tile(lattice.kind_of_site, len(steps))
    near = np.linalg.norm(x - lattice.basis[0], axis=1)
    around = (near > 0) & (near < 1.01 * lattice.neighbour)
    assert around.sum() == unlike == lattice.coordination
    assert (kinds[around] != lattice.kind_of_site[0]).all()


def test_elements_of_atoms_are_counted_by_atomic_number():
    x = np.arange(9.0).reshape(3, 3)
    atoms = Atoms.of_elements(x, np.array(["Ni", "Al", "Ni"]))
    assert (atoms.element, atoms.elements) == ("Al", ("Al", "Ni"))
    assert atoms.kinds.tolist() == [1, 0, 1]
    assert Atoms(x, "Ni").elements == ("Ni",)
    assert Atoms(x, "Ni").symbols.tolist() == ["Ni"] * 3
    with pytest.raises(InputError, match="the lightest element of the atoms is Al, not Ni"):
        Atoms(x, "Ni", {"element": np.array(["Ni", "Al", "Ni"])})
    with pytest.raises(InputError, match="'Xq' isn't a chemical symbol"):
        Atoms.of_elements(x, np.array(["Ni", "Xq", "Ni"]))
