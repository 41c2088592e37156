"""Voronoi cells, against the definition and counted neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import ConvexHull, cKDTree

from prammol.structure import voronoi
from prammol.structure.voronoi import aspect_ratio, voronoi_grain

A = 4.05


def lattice_coordinates(x):
    """Positions in half lattice constants from the first atom."""
    return (x - x[0]) / (A / 2)


@pytest.mark.parametrize("structure", ["fcc", "bcc"])
def test_grain_is_all_the_lattice_points_of_a_convex_cell(structure):
    x = voronoi_grain(structure, A, 700, seed=4)
    assert x.shape == (700, 3)
    steps = np.rint(lattice_coordinates(x)).astype(int)
    np.testing.assert_allclose(lattice_coordinates(x), steps, atol=1e-9)
    if structure == "fcc":
        assert (steps.sum(axis=1) % 2 == 0).all()
    else:
        assert ((steps % 2).max(axis=1) == (steps % 2).min(axis=1)).all()
    # every lattice point in the convex hull is there
    low, high = steps.min(axis=0), steps.max(axis=0)
    block = np.indices(high - low + 1).reshape(3, -1).T + low
    odd = block % 2
    keep = block.sum(axis=1) % 2 == 0 if structure == "fcc" else odd.max(axis=1) == odd.min(axis=1)
    planes = ConvexHull(steps).equations
    assert (block[keep] @ planes[:, :3].T + planes[:, 3] < 1e-6).all(axis=1).sum() == 700
    # cut by few large faces, not a ball
    assert 1 <= aspect_ratio(x) <= 1.25


def test_the_cell_is_where_the_first_node_is_the_nearest(rng):
    nodes = rng.random((8, 3))
    faces = voronoi._cell_faces(nodes)
    p = rng.uniform(-0.5, 0.5, (4000, 3))
    _, nearest = cKDTree(nodes, boxsize=1.0).query((nodes[0] + p) % 1.0)
    # p lies in the period around node 0, so that node is its nearest image
    assert np.array_equal((p @ faces.T < 1).all(axis=1), nearest == 0)
    assert 100 < (nearest == 0).sum() < 1500
