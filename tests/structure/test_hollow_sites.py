"""Hollows of {111} facets: sites of the lattice and of a stacking fault."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree
from small_crystal import fcc_ball

from prammol.structure.hollow_sites import hollow_sites
from prammol.structure.vacant_sites import vacant_sites

A = 4.05
D = A / np.sqrt(2)


def test_each_touches_three_atoms_and_half_are_no_sites_of_the_lattice():
    # A cut along one {111} plane: above its flat middle the two kinds of hollow alternate.
    x = fcc_ball(14.0)
    height = x.sum(axis=1) / np.sqrt(3)
    x = x[height < 0.5]
    found = hollow_sites(x, 1.2 * D, D)
    flat = found[(found @ np.ones(3) / np.sqrt(3) > 0.6) & (np.linalg.norm(found, axis=1) < 9.0)]
    gap = np.sort(cKDTree(x).query(flat, k=3)[0], axis=1)
    assert np.allclose(gap, D)
    sites = vacant_sites(x, 1.2 * D, D)
    on = cKDTree(sites).query(flat)[0] < 1e-6
    assert 0.4 < on.mean() < 0.6
    # Those of a stacking fault are farther from any site, by the third of a height of a triangle.
    assert np.allclose(cKDTree(sites).query(flat[~on])[0], D / np.sqrt(3))


def test_an_object_without_triangles_has_none():
    assert hollow_sites(np.array([[0.0, 0, 0], [D, 0, 0]]), 1.2 * D, D).shape == (0, 3)
