"""Misfit and information of counts that a detector has blurred, by finite differences."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from small_crystal import make_problem, relaxed_ball
from sub_points import seen

from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.response import Extent, Response
from prammol.diffraction.structure_factor import StructureFactor, squared
from prammol.likelihood.deviance import deviance
from prammol.likelihood.extra_photons import extra_photons
from prammol.likelihood.fisher_information import Fisher
from prammol.likelihood.poisson import poisson_scale
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.problem import responding
from prammol.reconstruction.refinement.calibration_fit import CalibratedPose
from prammol.reconstruction.refinement.rotation_strain import LINEAR_MAPS, ROTATIONS
from prammol.simulation.counts import simulate
from prammol.structure.atoms import Atoms

POINTS = 14
DARK = 0.4


@cache
def blurred():
    """Some forty atoms, their counts with pixels and blur, and the shard of them."""
    x = relaxed_ball(5.5)
    response = Response.of(3, (2.0, 0.0, 1.0), 0.4)
    patches = paper_patches(POINTS)
    crystal = Atoms(x, "Al")
    data = simulate(
        crystal,
        3e18,
        1,
        patches,
        background=DARK,
        form_factor="constant",
        response=response,
    )
    problem = make_problem(data, x=x)
    shard = responding(problem.shard, data, Extent(x, 2.0))
    return x, replace(problem, shard=shard, factor=StructureFactor(shard.patches, 1e-12))


def misfit_of(problem):
    return PoissonMisfit(problem.shard, problem.factor, floor=0.02, incoherent=5.0)


def test_simulated_counts_are_those_of_the_pixels(rng):
    x, problem = blurred()
    data = problem.data
    patch, scale = data.patches[1], data.meta["scale"]
    points = np.concatenate([[0, patch.size - 1], rng.integers(0, patch.size, 40)])
    mean = scale**2 * seen(patch, x, (2.0, 0.0, 1.0), 0.4, points, 4) + DARK
    off = (data.counts[1].ravel()[points] - mean) / np.sqrt(mean)
    assert np.abs(off).max() < 4.0
    assert np.sqrt(np.mean(off**2)) == pytest.approx(1.0, abs=0.35)


def test_the_true_model_is_explained():
    x, problem = blurred()
    misfit = PoissonMisfit(problem.shard, problem.factor)
    omega = problem.factor.forward(x)
    scale = misfit.scale(omega)
    assert scale == pytest.approx(problem.data.meta["scale"], rel=2e-3)
    assert abs(misfit.excess(omega, scale)[0]) < 4.0
    plain = PoissonMisfit(replace(problem.shard, response=None), problem.factor)
    assert plain.excess(omega, plain.scale(omega))[0] > 30.0


def test_the_gradients_are_those_of_differences(rng):
    x, problem = blurred()
    y = x + 0.05 * rng.normal(size=x.shape)
    weights = rng.uniform(0.5, 1.0, len(x))
    misfit = misfit_of(problem)
    found = misfit(y, weights, positions=True, occupancies=True)
    along, by = rng.normal(size=x.shape), rng.normal(size=len(x))

    def value(step):
        return misfit(y + step * along, weights + step * by).value

    slope = (value(1e-4) - value(-1e-4)) / 2e-4
    assert np.sum(found.d_positions * along) + found.d_weights @ by == pytest.approx(
        slope, rel=1e-5
    )


def test_the_scale_is_where_the_misfit_is_least(rng):
    x, problem = blurred()
    shard = problem.shard
    misfit = PoissonMisfit(shard, problem.factor)
    omega = problem.factor.forward(x + 0.02 * rng.normal(size=x.shape))
    best = misfit.scale(omega)
    seen_ = shard.response.apply(squared(omega))
    at = [
        np.sum(
            deviance(shard.counts, c**2 * seen_ + DARK * shard.valid, extra_photons(shard))[
                shard.valid
            ]
        )
        for c in (0.999 * best, best, 1.001 * best)
    ]
    assert misfit.field(omega)[0] == pytest.approx(at[1], rel=1e-9)
    assert at[1] < min(at[0], at[2])
    assert at[2] - at[1] == pytest.approx(at[0] - at[1], rel=0.02)


def test_newtons_step_leads_back_to_the_truth(rng):
    """A small rotation and strain, and small offsets of the patches, in one step."""
    x, problem = blurred()
    centre = x.mean(axis=0)
    turn = 1e-3 * np.tensordot(rng.normal(size=len(LINEAR_MAPS)), LINEAR_MAPS, axes=1)
    moved = centre + (x - centre) @ (np.eye(3) + turn).T
    misfit = PoissonMisfit(problem.shard, problem.factor)
    exact = CalibratedPose(problem, x, misfit)
    pose = CalibratedPose(problem, moved, misfit)
    assert pose.value > exact.value + 3.0
    system, slope = pose.system(LINEAR_MAPS)
    own = 7 * pose.patches
    change = -np.linalg.lstsq(system[own:, own:], slope[own:], rcond=None)[0]
    back = (
        centre + (moved - centre) @ (np.eye(3) + np.tensordot(change[:-1], LINEAR_MAPS, axes=1)).T
    )
    assert CalibratedPose(problem, back, misfit).value < exact.value
    steps = []
    for k, size in ((0, 1e-4), (pose.patches + 4, 1e-5), (4 * pose.patches + 7, 1e-6)):
        by = np.zeros(own)
        by[k] = size
        values = [
            CalibratedPose(
                p.problem,
                p.x,
                PoissonMisfit(p.problem.shard, StructureFactor(p.problem.shard.patches, 1e-12)),
            )
            for p in (pose.moved(s * by, LINEAR_MAPS[:0]) for s in (1, -1))
        ]
        steps.append((values[0].value - values[1].value) / (2 * size))
        if k:
            assert slope[k] == pytest.approx(steps[-1], rel=0.02, abs=0.02 * np.abs(slope).max())


def test_the_information_is_that_of_the_derivatives(rng):
    x, problem = blurred()
    shard, factor = problem.shard, problem.factor
    scale = problem.data.meta["scale"]
    fisher = Fisher(shard, factor, x, scale)
    step = 1e-4
    columns = []
    omega = factor.forward(x)
    for j in range(len(x)):
        for a in range(3):
            shift = step * np.eye(3)[a]
            change = factor.forward(x[j : j + 1] + shift) - factor.forward(x[j : j + 1] - shift)
            power = squared(omega + 0.5 * change) - squared(omega - 0.5 * change)
            columns.append(scale**2 * shard.response.apply(power) / (2 * step))
    slope, signal = np.array(columns), scale**2 * shard.detected(omega)
    weight = shard.valid / (signal + shard.background_at(slice(None)) + extra_photons(shard))
    known = (slope * weight) @ slope.T
    taken = slope @ (weight * signal)
    free = known - np.outer(taken, taken) / (weight @ signal**2)
    v = rng.normal(size=x.shape)
    assert fisher.times(v).ravel() == pytest.approx(
        free @ v.ravel(), rel=1e-4, abs=1e-4 * free.max()
    )
    arm = x - x.mean(axis=0)
    maps = np.array([(arm @ g.T).ravel() for g in ROTATIONS])
    together = np.vstack([maps @ slope, signal])
    covariance = np.linalg.inv((together * weight) @ together.T)[:-1, :-1]
    assert fisher.of_maps(ROTATIONS) == pytest.approx(covariance, rel=1e-3, abs=1e-12)
    blocks = fisher.blocks()
    exact = np.array([known[3 * j : 3 * j + 3, 3 * j : 3 * j + 3] for j in range(len(x))])
    ratio = np.trace(blocks, axis1=1, axis2=2) / np.trace(exact, axis1=1, axis2=2)
    assert ratio.mean() == pytest.approx(1.0, abs=0.1)
    assert 0.6 < ratio.min() < ratio.max() < 1.6


def test_the_poisson_scale_and_likelihood_are_of_what_is_seen():
    x, problem = blurred()
    shard = problem.shard
    v = shard.valid
    amplitude = shard.seen(problem.factor.forward(x))
    scale = poisson_scale(shard.counts[v], amplitude[v], Communicator(), shard.background_at(v))
    assert scale == pytest.approx(problem.data.meta["scale"], rel=2e-3)
