"""Waves of single atoms, against the direct sum."""

from __future__ import annotations

import numpy as np
import pytest
from candidates import NARROW, WIDE, dozen
from small_crystal import make_problem

from prammol.diffraction.plane_waves import PlaneWaves
from prammol.diffraction.structure_factor import direct_structure_factor


@pytest.fixture(params=[WIDE, NARROW], ids=["wide", "narrow"])
def few(rng, request):
    """A dozen positions well apart, eight of them atoms, and a problem with their counts."""
    sites, counted = dozen(rng)
    return sites, make_problem(counted, request.param)


def test_a_plane_wave_is_the_structure_factor_of_one_atom(few):
    sites, problem = few
    some = np.flatnonzero(np.random.default_rng(4).random(problem.factor.size) < 0.1)
    patches = problem.factor.patches
    for x in sites[:3]:
        exact = direct_structure_factor(problem.factor.q, x[None])
        np.testing.assert_allclose(PlaneWaves(patches)(x), exact, atol=2e-5)
        np.testing.assert_allclose(PlaneWaves(patches, some)(x), exact[some], atol=2e-5)
