"""Counts of a small ball, and of positions of which some hold an atom."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from candidates import NARROW, PEAKS, SCALE, WIDE
from small_crystal import make_problem, relaxed_ball, simulate

from prammol.diffraction.bragg_patch import cubic_patch
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.reconstruction.stages.paper.grid_likelihood import GridLikelihood


@pytest.fixture(scope="module")
def data():
    """Counts of a small ball, a third of the first patch masked."""
    whole = simulate(relaxed_ball(6.0), points=12)
    valid = [np.ones(c.shape, dtype=bool) for c in whole.counts]
    valid[0][:4] = False
    return replace(whole, valid=valid)


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


@pytest.fixture
def asked(monkeypatch):
    """Of how many points each question of a walk is, in order."""
    numbers = []
    gains = GridLikelihood.gains
    monkeypatch.setattr(
        GridLikelihood, "gains", lambda w, *a: numbers.append(len(w._counts)) or gains(w, *a)
    )
    return numbers
