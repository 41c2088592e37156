"""Sites where the waves of the patches are in phase, against the atoms."""

from __future__ import annotations

import numpy as np
import pytest
from phased import NEIGHBOUR

from prammol.core.parallel import Communicator
from prammol.diffraction.support import support_from_truth
from prammol.phasing.fourier_synthesis import Waves, synthesise
from prammol.structure.atoms import Atoms


def test_waves_are_the_sum_over_the_patch(exact, rng):
    x = rng.normal(0, 5, (7, 3))
    got = Waves(exact, Communicator())(x)
    for column, p in zip(got.T, exact, strict=True):
        want = np.exp(1j * x @ p.patch.q().T) @ p.field.ravel()
        assert column == pytest.approx(want, rel=1e-4, abs=1e-4 * np.abs(want).max())


def test_sites_are_the_atoms_and_their_continuation(crystal, exact):
    support = support_from_truth(Atoms(crystal, "Al"))
    rng = np.random.default_rng(2)
    waves = Waves(exact, Communicator())
    sites = synthesise(waves, support, NEIGHBOUR, rng) + exact[0].centre
    gap = np.linalg.norm(crystal[:, None] - sites[None], axis=2).min(axis=1)
    # A few of the outermost have too little amplitude; the difference map finds those.
    assert (gap < 0.3).mean() > 0.97
    assert np.median(gap) < 0.05
    assert len(crystal) < len(sites) < 3 * len(crystal)
    apart_from = np.linalg.norm(sites[:, None] - sites[None], axis=2) + 9 * np.eye(len(sites))
    assert apart_from.min() > 0.6 * NEIGHBOUR
