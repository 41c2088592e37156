"""Surface atoms and classes of equally many neighbours."""

from __future__ import annotations

import numpy as np
from small_crystal import relaxed_ball

from prammol.structure.surface import neighbour_classes, on_surface


def test_surface_atoms_have_fewer_neighbours():
    x = relaxed_ball(8.5)
    count = ((np.linalg.norm(x[:, None] - x[None], axis=2) < 1.22 * 2.864).sum(axis=1)) - 1
    assert np.array_equal(on_surface(x, 1.22 * 2.864), count < np.median(count))


def test_neighbour_classes_go_from_the_bulk_outwards():
    x = relaxed_ball(10.0)
    classes = neighbour_classes(x, 1.22 * 2.864, fewest=5)
    distance = np.linalg.norm(x[:, None] - x[None], axis=2)
    count = (distance < 1.22 * 2.864).sum(axis=1)
    assert (classes[count >= np.median(count)] == 0).all()
    order = np.argsort(-count)
    assert (np.diff(classes[order]) >= 0).all()
    assert (np.bincount(classes) >= 5).all()
    assert classes.max() >= 2
