"""Vacant lattice sites beside atoms: of a perfect lattice and of a vacancy."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import fcc_ball, relaxed_ball

from prammol.potentials.potential import aluminium
from prammol.structure.lattices import LATTICES
from prammol.structure.vacant_sites import vacant_sites

ALUMINIUM = aluminium()

DISTANCE, REACH = ALUMINIUM.neighbour_distance, ALUMINIUM.bond_reach


def test_vacant_sites_continue_the_lattice():
    """Of an unrelaxed ball they are lattice points, all that three atoms point to."""
    x, outer = fcc_ball(8.0), fcc_ball(14.0)
    found = vacant_sites(x, REACH, DISTANCE)
    far = np.linalg.norm(outer[:, None] - x[None], axis=2).min(axis=1) > 0.1
    lattice = outer[far]
    gap = np.linalg.norm(found[:, None] - lattice[None], axis=2)
    assert gap.min(axis=1).max() < 1e-6
    assert len(np.unique(gap.argmin(axis=1))) == len(found)
    number = (np.linalg.norm(lattice[:, None] - x[None], axis=2) < REACH).sum(axis=1)
    # Inside the hull every neighbour of a vacant site has another one behind it.
    missed = gap.min(axis=0) > 1e-6
    assert number[missed].max() < 6


@pytest.mark.parametrize("structure", ["hcp", "diamond"])
def test_vacant_sites_of_a_basis_continue_the_structure(structure):
    """A cut crystal with a vacancy: nothing but sites of the structure, and the vacancy."""
    lattice = LATTICES[structure]
    edge = 2.5 / lattice.neighbour
    steps = np.indices((12, 12, 12)).reshape(3, -1).T - 6
    whole = edge * (steps[:, None] + np.array(lattice.sites)).reshape(-1, 3) @ lattice.vectors
    length = np.linalg.norm(whole - [0.7, 0.2, 0.4], axis=1)
    hole = int(np.argmin(length))
    x, rest = whole[(length < 10) & (np.arange(len(whole)) != hole)], whole[length >= 10]
    reach = lattice.shells * 2.5
    found = vacant_sites(x, reach, 2.5, lattice.bonds)
    gap = np.linalg.norm(found[:, None] - np.vstack([whole[hole], rest]), axis=2)
    assert gap.min(axis=1).max() < 1e-6
    assert len(np.unique(gap.argmin(axis=1))) == len(found)
    assert 0 in gap.argmin(axis=1)
    number = (np.linalg.norm(rest[:, None] - x, axis=2) < reach).sum(axis=1)
    assert number[gap.min(axis=0)[1:] > 1e-6].max() < 5


def test_a_vacancy_inside_is_found():
    x = relaxed_ball(10.0)
    inside = int(np.argmin(np.linalg.norm(x, axis=1)))
    found = vacant_sites(np.delete(x, inside, axis=0), REACH, DISTANCE)
    assert np.linalg.norm(found - x[inside], axis=1).min() < 0.1
