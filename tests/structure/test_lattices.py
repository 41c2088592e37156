"""Lattices: neighbours, shells and generating peaks agree with their sites."""

from __future__ import annotations

import numpy as np
import pytest

from prammol.structure.lattices import LATTICES


def test_lattices_agree_with_their_sites():
    for lattice in LATTICES.values():
        cells = np.indices((5, 5, 5)).reshape(3, -1).T - 2
        r = np.linalg.norm((cells[:, None] + lattice.basis).reshape(-1, 3), axis=1)
        r = np.sort(r[r > 0]) / lattice.neighbour
        assert r[0] == pytest.approx(1)
        assert (r < lattice.first_shell).sum() == lattice.coordination
        assert (r < lattice.shells).sum() == {8: 14, 12: 12}[lattice.coordination]
        # A triple generates the reciprocal lattice if its cell holds one atom.
        cell = abs(np.linalg.det(np.linalg.inv(np.array(lattice.peaks))))
        assert cell == pytest.approx(1 / len(lattice.sites))
