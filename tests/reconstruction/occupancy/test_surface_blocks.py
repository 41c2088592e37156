"""Blocks at the surface: bonds, positions and undoing against plain counts over distances."""

import numpy as np
import pytest
from scipy.spatial import cKDTree
from small_crystal import fcc_ball, relaxed_ball

from prammol.potentials.potential import aluminium
from prammol.reconstruction.occupancy.polyhedron import bounding, nearest, within
from prammol.reconstruction.occupancy.surface_blocks import SurfaceBlocks, SurfaceLattice

LATTICE = aluminium().lattice
REACH = 1.2 * 4.05 / 2**0.5


def bonds(lattice, taken):
    return len(cKDTree(lattice.fitted.place(lattice.sites[taken])).query_pairs(REACH))


@pytest.fixture(scope="module")
def lattice():
    return SurfaceLattice.of_atoms(relaxed_ball(), LATTICE)


def test_atoms_stay_where_they_are(lattice):
    x = relaxed_ball()
    found = lattice.atoms(lattice.taken)
    assert len(found) == len(x)
    assert cKDTree(found).query(x)[0].max() < 1e-9


def test_sites_around_are_those_of_the_lattice(lattice):
    """As many as points of fcc within the reach of five steps; each bond once in both rows."""
    x = fcc_ball(6.0)
    lattice = SurfaceLattice.of_atoms(x, LATTICE, room=1)
    wide = fcc_ball(14.0)
    gap = cKDTree(x).query(wide)[0]
    assert len(lattice.sites) == (gap < REACH).sum()
    known = lattice.neighbours < len(lattice.sites)
    assert known.sum() == 2 * bonds(lattice, np.ones(len(lattice.sites), dtype=bool))


def test_bonds_lost_are_counted_over_distances(lattice):
    blocks, rng = SurfaceBlocks(lattice, lattice.taken), np.random.default_rng(1)
    kinds = set()
    for _ in range(40):
        drawn = blocks.proposed(rng)
        if drawn is None:
            continue
        block, how = drawn
        before, n = bonds(lattice, blocks.taken), blocks.taken.sum()
        lost = blocks.bonds_lost(block)
        kinds.add(bool(blocks.taken[block[0]]))
        blocks.flip(block)
        change = int(blocks.taken.sum()) - int(n)
        assert lost == before - bonds(lattice, blocks.taken) + 6 * change
        if rng.random() < 0.5 and np.array_equal(blocks.block(how), block):
            blocks.flip(block)
            assert bonds(lattice, blocks.taken) == before
    assert kinds == {True, False}


def test_a_hanging_atom_is_seen(lattice):
    blocks = SurfaceBlocks(lattice, lattice.taken)
    number = blocks.taken[np.minimum(lattice.neighbours, len(lattice.sites) - 1)]
    number &= lattice.neighbours < len(lattice.sites)
    lonely = np.flatnonzero(~lattice.taken & (number.sum(axis=1) == 1))[:1]
    blocks.flip(lonely)
    assert blocks.hangs(lonely)


def test_a_polyhedron_is_found_again_though_atoms_are_missing():
    """A cuboctahedron cut by planes, without some of its surface."""
    x = fcc_ball(16.0)
    a = 4.05
    inside = (np.abs(x).sum(axis=1) < 2.6 * a) & (np.abs(x).max(axis=1) < 1.9 * a)
    lattice = SurfaceLattice.of_atoms(x[inside], LATTICE)
    true = lattice.taken
    assert (within(lattice.layers, bounding(lattice.layers, true)) == true).all()
    rng, rough = np.random.default_rng(2), true.copy()
    edge = np.flatnonzero(true & (lattice.neighbours >= true.sum()).any(axis=1))
    rough[rng.choice(edge, len(edge) // 8, replace=False)] = False
    found = within(lattice.layers, nearest(lattice.layers, rough))
    assert (found ^ true).sum() < 0.5 * (rough ^ true).sum()
