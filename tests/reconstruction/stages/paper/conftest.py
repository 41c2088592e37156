"""Counts of a small ball, and of positions of which some hold an atom."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from candidates import NARROW, WIDE, dozen
from small_crystal import make_problem, relaxed_ball, simulate

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
    sites, counted = dozen(rng)
    return sites, make_problem(counted, request.param)


@pytest.fixture
def asked(monkeypatch):
    """Of how many points each question of a walk is, in order."""
    numbers = []
    gains = GridLikelihood.gains
    monkeypatch.setattr(
        GridLikelihood, "gains", lambda w, *a: numbers.append(len(w._counts)) or gains(w, *a)
    )
    return numbers
