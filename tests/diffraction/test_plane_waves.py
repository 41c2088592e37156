"""Waves of single atoms, against the direct sum."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from small_crystal import box, make_problem

from prammol.diffraction.bragg_patch import cubic_patch
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.plane_waves import PlaneWaves
from prammol.diffraction.structure_factor import direct_structure_factor

SCALE = 3.0

PEAKS = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))

WIDE, NARROW = box(45.0), box(9.0)  # points to spare: none, seven of eight


@pytest.fixture(params=[WIDE, NARROW], ids=["wide", "narrow"])
def few(rng, request):
    """A dozen positions well apart, eight of them atoms, and a problem with their counts."""
    sites = np.array(list(product(range(3), range(2), range(2))), dtype=float) * 3.1
    sites += rng.normal(scale=0.2, size=sites.shape)
    rng.shuffle(sites)
    patches = [cubic_patch(p, 0.5, 13, 4.05) for p in PEAKS]
    counts = [
        rng.poisson(np.abs(SCALE * direct_structure_factor(p.q(), sites[:8])) ** 2)
        .reshape(p.shape)
        .astype(float)
        for p in patches
    ]
    return sites, make_problem(Diffraction(patches, counts), request.param)


def test_a_plane_wave_is_the_structure_factor_of_one_atom(few):
    sites, problem = few
    some = np.flatnonzero(np.random.default_rng(4).random(problem.factor.size) < 0.1)
    patches = problem.factor.patches
    for x in sites[:3]:
        exact = direct_structure_factor(problem.factor.q, x[None])
        np.testing.assert_allclose(PlaneWaves(patches)(x), exact, atol=2e-5)
        np.testing.assert_allclose(PlaneWaves(patches, some)(x), exact[some], atol=2e-5)
