"""Error bars of positions: against dense matrices and repeated noise."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import make_problem, relaxed_ball, simulate

from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.calibration import GeometryUncertainty
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.diffuse_scattering import DiffuseScattering
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.likelihood.fisher_information import Fisher
from prammol.likelihood.model_error import misfit_with_model_error
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.model import Model
from prammol.reconstruction.refinement.curvature import hessian_times
from prammol.reconstruction.refinement.restrained_fit import restrained_fit
from prammol.reconstruction.refinement.rotation_strain import align_strained
from prammol.reconstruction.uncertainty.per_atom import error_bars
from prammol.reconstruction.uncertainty.positions import position_uncertainty

SCALE = 1.9

SMALL = 5.5  # Å, some forty atoms


def test_the_hessian_is_that_of_the_forces():
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


@pytest.fixture(scope="module")
def dense():
    """A small problem, its Fisher information, and the matrices of information and energy."""
    x = relaxed_ball(SMALL)
    problem = make_problem(simulate(x, points=12), x=x, cluster=True)
    fisher = Fisher(problem.shard, problem.factor, x, SCALE)
    unit = np.eye(x.size).reshape(-1, *x.shape)
    known = np.array([fisher.times(e).ravel() for e in unit])
    hessian = np.array([hessian_times(problem.cluster, x, e).ravel() for e in unit])
    yield problem, fisher, known, hessian
    problem.cluster.close()


@pytest.mark.parametrize("stiffness", [3.0, 10_000.0])
def test_the_posterior_is_the_inverse_of_information_plus_energy(dense, stiffness):
    """Against the dense inverse, averaged over atoms with equally many neighbours."""
    x = relaxed_ball(SMALL)
    problem, fisher, known, hessian = dense
    model = Model(x, SCALE, stiffness=stiffness)
    found = position_uncertainty(problem, model, 0, probes=40)
    precision = known + stiffness * hessian
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
            bars, _ = error_bars(problem, Model(found, scale), 0)
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
    known = GeometryUncertainty.none()
    return Diffraction(patches, counts, meta={"element": "Al", "scale": SCALE}, geometry=known)


@pytest.mark.parametrize("stiffness", [pytest.param(3000.0, marks=pytest.mark.slow), 30_000.0])
def test_error_bars_of_moved_atoms_hold_when_the_model_leaves_something_unexplained(stiffness):
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


@pytest.mark.parametrize("stiffness", [300_000.0, np.inf])
def test_error_bars_hold_where_the_energy_is_wrong_for_all_atoms_alike(stiffness):
    """The crystal is expanded towards its surface, as no minimum of the energy is."""
    x = relaxed_ball(8.5)
    centre = x.mean(axis=0)
    radius = np.linalg.norm(x - centre, axis=1, keepdims=True)
    true = x + 0.03 * (x - centre) * radius / radius.max() ** 2
    problem = make_problem(simulate(true, points=16, scale=SCALE), x=x, cluster=True)
    try:
        found = x
        if np.isfinite(stiffness):
            misfit = PoissonMisfit(problem.shard, problem.factor)
            found = restrained_fit(misfit, problem.cluster, x, stiffness, 150)
        omega = problem.factor.forward(found)
        misfit = misfit_with_model_error(problem.shard, problem.factor, omega, len(x))
        model = Model(found, misfit.scale(omega), stiffness=stiffness)
        sigma = position_uncertainty(problem, model, 0, misfit).posterior
    finally:
        problem.cluster.close()
    error = found - found.mean(axis=0) - (true - true.mean(axis=0))
    assert np.sqrt(np.mean(error**2)) > 0.004  # Å: far beyond what the photons leave
    ratio = np.sqrt(np.mean((error / sigma) ** 2))
    assert 0.4 < ratio < 1.6


def test_error_bars_hold_where_the_error_of_diffuse_scattering_hides_that_atoms_are_off():
    """A crystal off the minimum of its energy, explained as the bright diffuse part may be off."""
    x = relaxed_ball(8.5)
    centre = x.mean(axis=0)
    radius = np.linalg.norm(x - centre, axis=1, keepdims=True)
    true = x + 0.02 * (x - centre) * radius / radius.max() ** 2
    still = simulate(true, points=16, scale=SCALE)
    rng = np.random.default_rng(4)
    power = [
        SCALE**2 * np.abs(direct_structure_factor(p.q(), true).reshape(p.shape)) ** 2
        for p in still.patches
    ]
    photons = np.full(sum(p.size for p in power), 300.0)
    parts = np.split(photons, np.cumsum([p.size for p in power])[:-1])
    counts = [
        rng.poisson(p + d.reshape(p.shape)).astype(float) for p, d in zip(power, parts, strict=True)
    ]
    expected = np.concatenate([p.ravel() for p in power]) + photons
    trust = expected / (expected + (0.15 * photons) ** 2)
    diffuse = DiffuseScattering(
        photons, trust, 0.0, np.zeros(2), 0.15, np.zeros((2, len(photons))), x
    )
    warm = Diffraction(still.patches, counts, meta=still.meta, geometry=GeometryUncertainty.none())
    problem = make_problem(warm, x=x, cluster=True).with_diffuse(diffuse)
    try:
        omega = problem.factor.forward(x)
        misfit = misfit_with_model_error(problem.shard, problem.factor, omega, len(x))
        assert misfit.floor == 0.0
        model = Model(x, misfit.scale(omega), diffuse=diffuse)
        sigma = position_uncertainty(problem, model, 0, misfit).posterior
    finally:
        problem.cluster.close()
    error = x - x.mean(axis=0) - (true - true.mean(axis=0))
    ratio = np.sqrt(np.mean((error / sigma) ** 2))
    assert 0.3 < ratio < 1.6
