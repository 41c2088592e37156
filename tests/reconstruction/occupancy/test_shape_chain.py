"""A chain of shapes: its sums against those of the atoms it ends with."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree
from small_crystal import Rank, relaxed_ball, simulate

from prammol.diffraction.dataset import local_shard
from prammol.diffraction.structure_factor import StructureFactor, direct_structure_factor
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.potentials.potential import aluminium
from prammol.reconstruction.occupancy.polyhedron import bounding, likeliest, within
from prammol.reconstruction.occupancy.shape_chain import ShapeChain
from prammol.reconstruction.occupancy.surface_blocks import SurfaceBlocks, SurfaceLattice
from prammol.reconstruction.occupancy.terraces import rows

LATTICE = aluminium().lattice
REACH = 1.2 * 4.05 / 2**0.5


def bonds(lattice, taken):
    return len(cKDTree(lattice.fitted.place(lattice.sites[taken])).query_pairs(REACH))


@pytest.fixture(scope="module")
def lattice():
    return SurfaceLattice.of_atoms(relaxed_ball(), LATTICE)


@pytest.fixture(scope="module")
def misfit():
    shard = local_shard(simulate(relaxed_ball(), points=8, scale=1.0), Rank(0, 1))
    return PoissonMisfit(shard, StructureFactor(shard.patches, 1e-9))


def value_of(misfit, x):
    return misfit.field(direct_structure_factor(misfit.factor.q, x))[0]


def test_misfit_and_bonds_are_those_of_its_atoms(lattice, misfit):
    chain = ShapeChain(lattice, misfit, 0.3, np.random.default_rng(1), 3e4)
    assert chain.sample(2000) > 3
    taken = chain.taken
    assert (taken ^ lattice.taken).any()
    assert chain.value == pytest.approx(value_of(misfit, lattice.atoms(taken)), rel=1e-6)
    more = int(taken.sum()) - int(lattice.taken.sum())
    assert chain.lost == bonds(lattice, lattice.taken) - bonds(lattice, taken) + 6 * more


def test_from_the_truth_nothing_is_likelier(lattice, misfit):
    chain = ShapeChain(lattice, misfit, 2.0, np.random.default_rng(1))
    chain.sample(300)
    assert chain.value + 2.0 * chain.lost < chain.first_value + 12


def test_a_terrace_too_many_is_taken_away(lattice, misfit):
    """The best of all changes is the one that makes the truth of it."""
    true = ShapeChain(lattice, misfit, 2.0, np.random.default_rng(1))
    _, other = true.likely_terraces(1)[0]
    wrong = replace(lattice, taken=other)
    chain = ShapeChain(wrong, misfit, 2.0, np.random.default_rng(1))
    best = chain.likely_terraces(3)
    assert any((taken == lattice.taken).all() for _, taken in best)


def test_rows_are_straight_and_at_edges(lattice):
    """Each is the longest line of neighbours of its kind, by positions alone."""
    blocks = SurfaceBlocks(lattice, lattice.taken)
    x = lattice.fitted.place(lattice.sites)
    number = cKDTree(x[lattice.taken]).query_ball_point(x, REACH, return_length=True)
    number = np.where(lattice.taken, number - 1, number)
    edge = np.where(lattice.taken, number <= 7, number >= 5)
    found = list(rows(blocks))
    longer = [row for row in found if len(row) > 1]
    assert len(longer) > 10
    assert {int(row[0]) for row in found if len(row) == 1} == set(np.flatnonzero(edge))
    tree = cKDTree(x)
    for row in longer:
        steps = np.diff(x[row], axis=0)
        assert np.allclose(steps, steps[0], atol=1e-6)
        assert len(set(lattice.taken[row])) == 1
        for end in (x[row[0]] - steps[0], x[row[-1]] + steps[0]):
            gap, site = tree.query(end)
            same = gap < 0.1 and lattice.taken[site] == lattice.taken[row[0]]
            assert not (same and edge[site])


def test_a_row_too_few_is_put_back(lattice, misfit):
    """The first of all changes at these positions is the one that makes the truth of it."""
    edges = [r for r in rows(SurfaceBlocks(lattice, lattice.taken)) if lattice.taken[r[0]]]
    lost = max(edges, key=len)
    taken = lattice.taken.copy()
    taken[lost] = False
    chain = ShapeChain(replace(lattice, taken=taken), misfit, 2.0, np.random.default_rng(1))
    assert chain.changed(chain.likely_rows()[0]) is not None
    assert (chain.taken == lattice.taken).all()


def test_a_layer_too_many_is_taken_away_from_a_polyhedron(lattice, misfit):
    inside = within(lattice.layers, bounding(lattice.layers, lattice.taken))
    x = lattice.atoms(inside)
    shard = local_shard(simulate(x, points=8, scale=1.0), Rank(0, 1))
    exact = PoissonMisfit(shard, StructureFactor(shard.patches, 1e-9))
    heights = bounding(lattice.layers, inside)
    heights[0] += 1
    found, value = likeliest(lattice, exact, heights, pairs=False)
    assert (within(lattice.layers, found) == inside).all()
    assert value == pytest.approx(value_of(exact, x), rel=1e-6)
