"""Positions kept a distance apart, and groups of changes far from each other."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import pdist

from prammol.phasing.fourier_synthesis import merge
from prammol.structure.separation import apart, groups_apart


def test_of_close_positions_the_first_is_kept(rng):
    x = rng.random((80, 3)) * 4
    keep = apart(x, 0.8)
    distances = np.linalg.norm(x[:, None] - x, axis=2)
    for j in range(len(x)):  # kept if and only if no kept one before it is close
        assert keep[j] == (not (keep[:j] & (distances[j, :j] < 0.8)).any())


def test_close_sites_are_merged_and_the_heavier_kept():
    x = np.array([[0, 0, 0], [0.4, 0, 0], [0.8, 0, 0], [5, 0, 0]], dtype=float)
    assert np.allclose(sorted(merge(x, 0.5)[:, 0]), [0.4, 5.0])
    keep = apart(x, 0.5, np.array([1.0, 3.0, 2.0, 0.0]))
    assert keep.tolist() == [False, True, False, True]


def test_groups_are_apart_and_complete(rng):
    x = rng.uniform(-20, 20, (200, 3))
    groups = groups_apart(x, 9.0)
    assert sorted(np.concatenate(groups).tolist()) == list(range(200))
    assert len(groups) < 100
    for g in groups:
        if len(g) > 1:
            assert pdist(x[g]).min() > 9.0
