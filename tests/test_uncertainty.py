"""Fisher information and error bars: against finite differences, dense matrices, repeated noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from small_crystal import make_problem, relaxed_ball, simulate

from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.structure_factor import StructureFactor, direct_structure_factor
from prammol.likelihood.fisher_information import Fisher
from prammol.likelihood.quasi_likelihood import EXTRA, PoissonMisfit
from prammol.reconstruction.model import Model
from prammol.reconstruction.occupancy.bond_prior import BondPrior
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites, Expansion
from prammol.reconstruction.refinement.restrained_fit import restrained_fit
from prammol.reconstruction.refinement.rotation_strain import ROTATIONS, align_strained
from prammol.reconstruction.uncertainty.per_atom import Doubt, error_bars, spread_of_sets
from prammol.reconstruction.uncertainty.positions import hessian_times, position_uncertainty

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


def test_hessian_is_that_of_the_forces():
    """Column by column on a small ball; symmetric, and blind to a translation."""
    x = relaxed_ball(SMALL)
    problem = make_problem(simulate(x, points=12), x=x, cluster=True)
    try:
        columns = []
        for k in range(x.size):
            shift = np.zeros(x.size)
            shift[k] = 2e-4
            _, plus = problem.cluster.energy_forces(x + shift.reshape(-1, 3))
            _, minus = problem.cluster.energy_forces(x - shift.reshape(-1, 3))
            columns.append((minus - plus).ravel() / 4e-4)
        hessian = np.array(columns)
        v = np.random.default_rng(1).normal(size=x.shape)
        expected = (hessian @ v.ravel()).reshape(-1, 3)
        found = hessian_times(problem.cluster, x, v)
        assert found == pytest.approx(expected, abs=5e-3 * np.abs(expected).max())
        flat = hessian_times(problem.cluster, x, np.ones_like(x))
        assert np.abs(flat).max() < 1e-3 * np.abs(expected).max()
    finally:
        problem.cluster.close()


@pytest.mark.parametrize("stiffness", [3.0, 10_000.0])
def test_posterior_is_the_inverse_of_information_plus_energy(stiffness):
    """Against the dense inverse, averaged over atoms with equally many neighbours."""
    x = relaxed_ball(SMALL)
    data = simulate(x, points=12)
    problem = make_problem(data, x=x, cluster=True)
    try:
        model = Model(x, SCALE, stiffness=stiffness)
        found = position_uncertainty(problem, model, 0, probes=100)
        fisher = Fisher(problem.shard, problem.factor, x, SCALE)
        unit = np.eye(x.size).reshape(-1, *x.shape)
        precision = np.array(
            [
                (fisher.times(e) + stiffness * hessian_times(problem.cluster, x, e)).ravel()
                for e in unit
            ]
        )
        precision = 0.5 * (precision + precision.T)
        values, vectors = np.linalg.eigh(precision)
        assert np.sum(values < 1e-6 * values.max()) >= 3  # the translations
        keep = values > 1e-6 * values.max()
        variance = ((vectors[:, keep] ** 2) / values[keep]).sum(axis=1).reshape(-1, 3)
        assert found.posterior.mean() == pytest.approx(np.sqrt(variance).mean(), rel=0.15)
        alone = np.linalg.inv(fisher.blocks())
        expected = np.trace(alone, axis1=1, axis2=2) / 3
        assert found.of_data**2 == pytest.approx(expected, rel=1e-4)
        if stiffness > 1000:
            assert found.posterior.mean() < found.of_data.mean()
    finally:
        problem.cluster.close()


def test_error_bars_hold_over_repeated_noise():
    """An object that only turns: errors over standard deviations are a unit Gaussian."""
    x = relaxed_ball(8.5)
    ratios = []
    for seed in range(20):
        data = simulate(x, points=16, scale=0.3, seed=seed)
        problem = make_problem(data, x=x, cluster=True)
        try:
            misfit = PoissonMisfit(problem.shard, problem.factor)
            found, _ = align_strained(misfit, x, x)
            scale = misfit.scale(problem.factor.forward(found))
            bars = error_bars(problem, Model(found, scale), 0)
        finally:
            problem.cluster.close()
        error = found - found.mean(axis=0) - (x - x.mean(axis=0))
        ratios.append(error / bars["position_sigma"])
        assert (bars["occupancy_confidence"] > 0.99).all()
    # 20 times three angles: the mean square is 1 within 0.18
    assert np.mean(np.square(ratios)) == pytest.approx(1.0, abs=0.5)
    inside = np.mean(np.abs(ratios) < 1.0)
    assert 0.55 < inside < 0.8
    assert np.mean(np.abs(ratios) < 1.96) > 0.87


def with_unknown_waves(x, seed, size=0.7, points=16):
    """Counts of atoms and of a wave that is random and the same within each speckle."""
    rng = np.random.default_rng(seed)
    patches = paper_patches(points)
    counts = []
    for patch in patches:
        wave = rng.normal(0.0, size, (2, *[points // 2] * 3)).repeat(2, 1).repeat(2, 2).repeat(2, 3)
        omega = direct_structure_factor(patch.q(), x).reshape(patch.shape) + wave[0] + 1j * wave[1]
        counts.append(rng.poisson(SCALE**2 * np.abs(omega) ** 2).astype(float))
    return Diffraction(patches, counts, meta={"element": "Al", "scale": SCALE})


@pytest.mark.parametrize("stiffness", [3000.0, 30_000.0])
def test_bars_of_moved_atoms_hold_when_the_model_leaves_something_unexplained(stiffness):
    """Positions scatter as the bars say, with errors larger than those of counting."""
    x = relaxed_ball(8.5)
    ratios, sigmas = [], []
    for seed in range(8):
        problem = make_problem(with_unknown_waves(x, seed), x=x, cluster=True)
        try:
            misfit = PoissonMisfit(problem.shard, problem.factor)
            found = restrained_fit(misfit, problem.cluster, x, stiffness, 150)
            scale = misfit.scale(problem.factor.forward(found))
            model = Model(found, scale, stiffness=stiffness)
            sigmas.append(position_uncertainty(problem, model, 0, probes=3).posterior)
        finally:
            problem.cluster.close()
        error = found - found.mean(axis=0) - (x - x.mean(axis=0))
        ratios.append(error / sigmas[-1])
    problem = make_problem(simulate(x, points=16, scale=SCALE), x=x, cluster=True)
    of_photons = position_uncertainty(problem, Model(x, SCALE, stiffness=stiffness), 0).posterior
    problem.cluster.close()
    assert 0.7 < np.sqrt(np.mean(np.square(ratios))) < 1.4
    assert np.mean(sigmas) > 2 * np.mean(of_photons)


def test_an_atom_of_which_the_data_say_nothing_is_not_sure():
    """With hardly any photons corner atoms are a matter of the prior; with many they are sure."""
    x = relaxed_ball(8.5)
    lowest = []
    for scale in (0.02, 1.9):
        problem = make_problem(simulate(x, points=16, scale=scale), x=x, cluster=True)
        try:
            lowest.append(error_bars(problem, Model(x, scale), 0)["occupancy_confidence"].min())
        finally:
            problem.cluster.close()
    assert lowest[0] < 0.9
    assert lowest[1] > 0.999


def test_direct_sum_is_the_structure_factor():
    """The reference of this file, against the one the other tests use."""
    x = relaxed_ball(SMALL)
    data = simulate(x, points=12)
    _, signal = jacobian(data, x, np.zeros(len(x)), np.ones(len(x)))
    q = np.concatenate([p.q() for p in data.patches])
    expected = np.abs(SCALE * direct_structure_factor(q, x)) ** 2
    assert signal == pytest.approx(expected, rel=1e-9, abs=1e-9 * expected.max())


@pytest.fixture
def doubtful():
    """A ball of which one atom of the surface is there with even odds; everything else is sure."""
    x = relaxed_ball(8.5)
    problem = make_problem(simulate(x, points=12), x=x, cluster=True)
    outermost = int(np.argmax(np.linalg.norm(x - x.mean(axis=0), axis=1)))
    near = Expansion(
        free=np.array([outermost]),
        slope=np.zeros(1),
        curvature=csr_matrix((1, 1)),
        close=csr_matrix((1, 1)),
        prior=BondPrior(0.0, 0.0),
        value=0.0,
    )
    occupied = np.ones(len(x))
    occupied[outermost] = 0.5
    misfit = PoissonMisfit(problem.shard, problem.factor)
    sites = CandidateSites(misfit, problem.potential, x, np.ones(len(x), dtype=bool))
    yield problem, x, Doubt(sites, near, occupied)
    problem.cluster.close()


def test_atoms_beside_a_doubtful_one_are_as_unsure_as_its_absence_moves_them(doubtful):
    problem, x, doubt = doubtful
    found = spread_of_sets(problem, Model(x, SCALE), 0, doubt, draws=80)
    without = np.flatnonzero(doubt.occupied == 1.0)
    relaxed, _, _ = problem.cluster.relax(x[without], force_tolerance=1e-4)
    shift = relaxed - x[without]
    moved = np.mean((shift - shift.mean(axis=0)) ** 2)
    assert moved > 1e-6  # Å^2
    assert np.mean(found[without] ** 2) == pytest.approx(0.5 * moved, rel=0.35)


def test_where_no_atom_is_in_doubt_or_the_data_moved_them_none_adds_to_the_bars(doubtful):
    problem, x, doubt = doubtful
    sure = replace(doubt, occupied=np.where(doubt.occupied == 0.5, 0.9, 1.0))
    assert not spread_of_sets(problem, Model(x, SCALE), 0, sure).any()
    assert not spread_of_sets(problem, Model(x, SCALE, stiffness=10.0), 0, doubt).any()
