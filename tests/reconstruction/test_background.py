"""Reconstructions of counts with a background, declared and not declared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from states import BRIEF

from prammol.diffraction.bragg_patch import cubic_patch, paper_patches
from prammol.diffraction.support import support_from_truth
from prammol.evaluation.metrics import evaluate
from prammol.reconstruction.loop import reconstruct
from prammol.simulation.counts import simulate
from prammol.simulation.samples import make_crystal


@pytest.fixture(scope="module")
def crystal():
    return make_crystal("bulk", atoms=300, seed=6)


def test_every_atom_in_spite_of_background_gaps_and_patches_of_different_size(crystal):
    """A beam stop, gaps and hot pixels, a background that varies: exact at 1e19."""
    patches = [
        cubic_patch((-1, 1, 1), 0.6, 24, 4.05),
        cubic_patch((1, -1, 1), 0.5, 22, 4.05),
        cubic_patch((1, 1, -1), 0.6, 26, 4.05),
    ]
    background = [3.0 + np.indices(p.shape)[2] / 4.0 for p in patches]
    data = simulate(crystal, 1e19, 1, patches, background=background)
    rng = np.random.default_rng(0)
    valid = [rng.random(c.shape) > 0.02 for c in data.counts]
    valid[0][16:17] = False
    valid[1][10:12, 10:12, 10:12] = False
    counts = [np.where(v, c, 7e7) for c, v in zip(data.counts, valid, strict=True)]
    data = replace(data, counts=counts, valid=valid, background=background)
    result = reconstruct(data, support_from_truth(crystal, 5.0), seed=1)
    metrics = evaluate(result.atoms, crystal, with_resolution=False)
    assert (metrics.n_missing, metrics.n_extra) == (0, 0)
    assert metrics.max_error_pm < 0.5
    assert result.converged
    assert result.scale == pytest.approx(data.meta["scale"], rel=1e-3)


def test_a_flat_background_that_is_not_declared_is_found(crystal):
    data = simulate(crystal, 1e19, 1, paper_patches(24), background=5.0)
    support = support_from_truth(crystal, 5.0)
    result = reconstruct(replace(data, background=()), support, seed=1)
    metrics = evaluate(result.atoms, crystal, with_resolution=False)
    assert (metrics.n_missing, metrics.n_extra) == (0, 0)
    assert metrics.max_error_pm < 0.5
    assert result.converged
    # 13 824 points of some 5 photons more than signal in a part of them
    np.testing.assert_allclose([b.mean() for b in result.calibration.background], 5.0, atol=0.3)


def test_a_background_that_is_neither_flat_nor_smooth_is_not_called_converged(crystal):
    patches = paper_patches(24)
    stripes = [np.where(np.indices(p.shape)[0] % 2, 10.0, 0.0) for p in patches]
    data = simulate(crystal, 1e19, 1, patches, background=stripes)
    support = support_from_truth(crystal, 5.0)
    result = reconstruct(replace(data, background=()), support, seed=1, settings=BRIEF)
    assert not result.converged
    assert result.history[-1]["excess"] > 50
