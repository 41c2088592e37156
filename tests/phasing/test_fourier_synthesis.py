"""Sites where the waves of the patches are in phase, against the atoms."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import fcc_ball

from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.diffraction.support import support_from_truth
from prammol.phasing.fourier_synthesis import Waves, synthesise
from prammol.phasing.hio_er import (
    PhasedPatch,
    gaussian_window,
)
from prammol.structure.atoms import Atoms

# In an order in which the matrix isn't symmetric: a transpose must be noticed.
ORDER = ((1, 1, -1), (-1, 1, 1), (1, -1, 1))

PEAKS = 2 * np.pi / 4.05 * np.array(ORDER)

WIDTH = 0.3 * 2 * np.pi / 4.05

NEIGHBOUR = 4.05 / np.sqrt(2)


@pytest.fixture(scope="module")
def crystal():
    """A ball with a bite, so that it isn't its own inverse."""
    x = fcc_ball(13.0)
    x = x[np.linalg.norm(x - [12, 3, 1], axis=1) > 8]
    return x - x.mean(axis=0) + [3.0, -2.0, 1.0]


@pytest.fixture(scope="module")
def exact(crystal):
    """The patches with their true phases, as if phasing were perfect."""
    centre = np.array([3.0, -2.0, 1.0])
    out = []
    for patch, peak in zip(paper_patches(24, peaks=ORDER), PEAKS, strict=True):
        field = direct_structure_factor(patch.q(), crystal - centre).reshape(patch.shape)
        window = gaussian_window(patch, peak, WIDTH)
        field = (field * window).astype(np.complex64)
        out.append(PhasedPatch(patch, peak, field, centre, 0.0, 0.0))
    return out


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
