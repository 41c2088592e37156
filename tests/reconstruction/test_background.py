"""Reconstructions of counts with a background, declared and not declared."""

from __future__ import annotations

import numpy as np
import pytest

from prammol.diffraction.bragg_patch import BraggPatch, cubic_patch, paper_patches
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.diffraction.support import support_from_truth
from prammol.evaluation.metrics import evaluate
from prammol.reconstruction.loop import reconstruct
from prammol.simulation.counts import simulate
from prammol.simulation.samples import make_crystal

SCALE = 1.3

SHEARED = BraggPatch(
    [-0.5, 1.5, 1.4],
    [[0.03, 0.002, -0.001], [0.012, 0.028, 0.003], [-0.004, 0.015, 0.031]],
    (9, 6, 7),
)


@pytest.fixture
def data(rng):
    """A few atoms, weak against a background that varies over each patch; some points masked."""
    patches = [cubic_patch((-1, 1, 1), 0.6, 8, 4.05), SHEARED]
    x = rng.uniform(-6, 6, (12, 3))
    background = [rng.uniform(0, 20, p.shape) for p in patches]
    counts, valid = [], []
    for p, b in zip(patches, background, strict=True):
        omega = direct_structure_factor(p.q(), x).reshape(p.shape)
        counts.append(rng.poisson(SCALE**2 * np.abs(omega) ** 2 + b).astype(float))
        valid.append(rng.random(p.shape) > 0.1)
    return x, Diffraction(patches, counts, valid, background=background)


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
    data = Diffraction(patches, counts, valid, data.meta, background=background)
    result = reconstruct(data, support_from_truth(crystal, 5.0), seed=1)
    metrics = evaluate(result.atoms, crystal, with_resolution=False)
    assert (metrics.n_missing, metrics.n_extra) == (0, 0)
    assert metrics.max_error_pm < 0.5
    assert result.converged
    assert result.scale == pytest.approx(data.meta["scale"], rel=1e-3)


def test_a_background_that_is_not_declared_is_not_called_converged(crystal):
    data = simulate(crystal, 1e19, 1, paper_patches(24), background=5.0)
    undeclared = Diffraction(data.patches, data.counts, meta=data.meta)
    support = support_from_truth(crystal, 5.0)
    result = reconstruct(undeclared, support, seed=1, settings={"max_iterations": 1})
    assert not result.converged
    assert result.history[-1]["excess"] > 50
