"""Lattices: neighbours, shells and generating peaks agree with their sites."""

from __future__ import annotations

import numpy as np
import pytest

from prammol.structure.lattices import LATTICES


@pytest.mark.parametrize(
    ("name", "first", "bound", "of_a_cell"),
    [("fcc", 12, 12, 1), ("bcc", 8, 14, 1), ("hcp", 12, 12, 2), ("diamond", 4, 16, 2)],
)
def test_lattices_agree_with_their_sites(name, first, bound, of_a_cell):
    lattice = LATTICES[name]
    cells = np.indices((5, 5, 5)).reshape(3, -1).T - 2
    site = np.array(lattice.sites)
    r = np.linalg.norm(((cells[:, None] + site - site[0]) @ lattice.vectors).reshape(-1, 3), axis=1)
    r = np.sort(r[r > 1e-9]) / lattice.neighbour
    assert r[0] == pytest.approx(1)
    assert (r < lattice.first_shell).sum() == lattice.coordination == first
    assert (r < lattice.shells).sum() == bound
    # A triple generates the reciprocal lattice if its cell is the primitive one.
    cell = abs(np.linalg.det(np.linalg.inv(np.array(lattice.peaks))))
    assert cell == pytest.approx(of_a_cell / len(lattice.sites))
