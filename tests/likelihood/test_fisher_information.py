"""Fisher information, against the derivatives of direct sums."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_crystal import make_problem, relaxed_ball, simulate

from prammol.diffraction.structure_factor import StructureFactor, direct_structure_factor
from prammol.likelihood.extra_photons import EXTRA
from prammol.likelihood.fisher_information import Fisher
from prammol.reconstruction.refinement.rotation_strain import ROTATIONS

SCALE = 1.9

SMALL = 5.5  # Å, some forty atoms


def jacobian(data, x, motion, present, step=1e-4):
    """Derivatives of lambda by all coordinates, (m, 3 n), by differences of direct sums."""
    q = np.concatenate([p.q() for p in data.patches])
    square = np.sum(q**2, axis=1)

    def image(y, u, w):
        return w * np.exp(-0.5 * square * u) * np.exp(-1j * q @ y)

    omega = sum(image(y, u, w) for y, u, w in zip(x, motion, present, strict=True))
    columns = []
    for y, u, w in zip(x, motion, present, strict=True):
        for a in range(3):
            shift = step * np.eye(3)[a]
            change = image(y + shift, u, w) - image(y - shift, u, w)
            up, down = np.abs(omega + 0.5 * change) ** 2, np.abs(omega - 0.5 * change) ** 2
            columns.append(SCALE**2 * (up - down) / (2 * step))
    return np.array(columns).T, SCALE**2 * np.abs(omega) ** 2


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("hopping", [False, True])
@pytest.mark.parametrize("background", [None, 0.7])
def test_fisher_information_is_that_of_the_derivatives(moving, hopping, background):
    x = relaxed_ball(SMALL)
    data = simulate(x, points=12)
    problem = make_problem(data, x=x)
    shard = problem.shard
    if background is not None:
        shard = replace(shard, background=np.full(shard.counts.shape, background))
    rng = np.random.default_rng(3)
    motion = np.where(np.arange(len(x)) % 3, 0.004, 0.006) if moving else np.zeros(len(x))
    weight = shard.valid * rng.random(shard.counts.shape)
    present = rng.uniform(0.3, 1.0, len(x)) if hopping else None
    fisher = Fisher(shard, StructureFactor(shard.patches, 1e-9), x, SCALE, motion, weight, present)
    slope, signal = jacobian(data, x, motion, np.ones(len(x)) if present is None else present)
    noise = signal + (background or 0.0) + EXTRA
    known = (slope * (weight / noise)[:, None]).T @ slope
    blocks = np.array([known[3 * j : 3 * j + 3, 3 * j : 3 * j + 3] for j in range(len(x))])
    close = 3e-3 if moving else 1e-5  # moving atoms are expanded around G
    assert fisher.blocks() == pytest.approx(blocks, rel=close, abs=close * blocks.max())
    close = 1e-2 if moving else 1e-5  # for products all but the mean motion are weights there
    along = slope.T @ (weight / noise * signal)
    full = known - np.outer(along, along) / np.sum(weight / noise * signal**2)
    v = rng.normal(size=x.shape)
    expected = (full @ v.ravel()).reshape(-1, 3)
    assert fisher.times(v) == pytest.approx(expected, abs=close * np.abs(expected).max())
    turns = np.array([((x - x.mean(axis=0)) @ g.T).ravel() for g in ROTATIONS])
    covariance = np.linalg.inv(turns @ full @ turns.T)
    found = fisher.of_maps(ROTATIONS)
    assert found == pytest.approx(covariance, abs=close * np.abs(covariance).max())


def test_the_reference_of_this_file_is_the_structure_factor():
    """The reference of this file, against the one the other tests use."""
    x = relaxed_ball(SMALL)
    data = simulate(x, points=12)
    _, signal = jacobian(data, x, np.zeros(len(x)), np.ones(len(x)))
    q = np.concatenate([p.q() for p in data.patches])
    expected = np.abs(SCALE * direct_structure_factor(q, x)) ** 2
    assert signal == pytest.approx(expected, rel=1e-9, abs=1e-9 * expected.max())
