"""Difference map, occupancies, rotation: they must say what was done to the crystal."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from small_crystal import relaxed_ball, simulate

from prammol.core.parallel import Communicator
from prammol.diffraction.dataset import local_shard
from prammol.diffraction.structure_factor import StructureFactor
from prammol.likelihood.difference_map import difference_map
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import aluminium
from prammol.reconstruction.occupancy.continuous import fit_occupancies
from prammol.reconstruction.refinement.restrained_fit import restrained_fit
from prammol.reconstruction.refinement.rotation_strain import align_strained
from prammol.structure.surface import on_surface

COMM = Communicator()


@pytest.fixture(scope="module")
def case():
    x = relaxed_ball(8.5)
    shard = local_shard(simulate(x, points=20), COMM)
    factor = StructureFactor(shard.patches, 1e-9)
    return x, PoissonMisfit(shard, factor)


def test_map_is_the_derivative_by_an_atoms_weight(case):
    x, misfit = case
    less = x[5:]
    g = difference_map(misfit, less)
    h = 1e-5
    for site in (x[0], x[2] + 0.3, x[40] + 1.0):
        both = np.vstack([less, site])
        weight = np.ones(len(both))
        values = []
        for w in (h, -h):
            weight[-1] = w
            values.append(misfit(both, weight).value)
        slope = (values[0] - values[1]) / (2 * h)
        assert g(site[None])[0] * g.height == pytest.approx(slope, rel=1e-4, abs=1e-3 * g.height)


def test_gradient_of_the_map(case):
    x, misfit = case
    g = difference_map(misfit, x[3:])
    p = x[:3] + 0.2
    h = 1e-5
    for a in range(3):
        d = np.eye(3)[a] * h
        assert g.gradient(p)[:, a] == pytest.approx(
            (g(p + d) - g(p - d)) / (2 * h), rel=1e-4, abs=1e-6
        )


def test_missing_atoms_are_minima_and_wrong_ones_stand_out(case):
    x, misfit = case
    surface = np.flatnonzero(on_surface(x, 1.22 * 2.864))
    gone = surface[[1, 20]]
    wrong = x[surface[40]] + 2.6 * x[surface[40]] / np.linalg.norm(x[surface[40]])
    y = np.vstack([np.delete(x, gone, axis=0), wrong])
    g = difference_map(misfit, y)
    sites, depth = g.minima(
        y, y[on_surface(y, 1.22 * 2.864)], -0.5, 2.864, np.random.default_rng(0), 8000
    )
    assert (np.diff(depth) >= 0).all()
    for k in gone:
        assert np.linalg.norm(sites[:4] - x[k], axis=1).min() < 0.3
    assert np.argmax(g(y)) == len(y) - 1


def test_minima_are_where_the_gradient_is_0(case):
    x, misfit = case
    y = np.delete(x, np.flatnonzero(on_surface(x, 1.22 * 2.864))[[1, 20]], axis=0)
    g = difference_map(misfit, y)
    rng = np.random.default_rng(0)
    sites, _ = g.minima(y, y[on_surface(y, 1.22 * 2.864)], -0.5, 2.864, rng, 8000)
    beside = g.gradient(sites + [0.1, 0.0, 0.0])
    assert len(sites) > 1
    assert np.linalg.norm(g.gradient(sites), axis=1).max() < 0.1 * np.abs(beside).max()


def test_occupancies_find_the_wrong_and_the_missing(case):
    x, misfit = case
    rng = np.random.default_rng(4)
    false = x[:6] * 1.0 + rng.normal(0, 1.0, (6, 3))
    sites = np.vstack([x, false])
    start = np.full(len(sites), 0.5)
    free = np.zeros(len(sites), dtype=bool)
    free[:20] = free[len(x) :] = True
    start[~free] = 1.0
    found = fit_occupancies(misfit, sites, start, free, 60, 1e-9)
    assert (found[: len(x)] > 0.9).all()
    assert (found[len(x) :] < 0.1).all()
    assert (found[20 : len(x)] == 1).all()


def test_rotation_is_undone(case):
    x, misfit = case
    ends = []
    for angles in ((1e-3, -2e-3, 5e-4), (0.0, 0.0, 4e-3)):
        y = Rotation.from_rotvec(angles).apply(x - x.mean(axis=0)) + x.mean(axis=0)
        turned, value = align_strained(misfit, y, y)
        shift = (x - turned).mean(axis=0)
        # The photons fix the orientation to some 1e-5 rad: 0.03 pm on the surface.
        assert np.abs(turned + shift - x).max() < 1e-3 < np.abs(y - x).max()
        assert value == pytest.approx(misfit(turned).value)
        assert value < misfit(y).value
        ends.append(turned + shift)
    assert np.abs(ends[0] - ends[1]).max() < 1e-6


def test_an_even_strain_is_found(case):
    """As of a warm crystal: the energy knows nothing of it."""
    x, misfit = case
    strain = np.array([[4e-3, 1e-3, 0.0], [1e-3, 3e-3, -5e-4], [0.0, -5e-4, 5e-3]])
    c = x.mean(axis=0)
    y = c + (x - c) @ np.linalg.inv(np.eye(3) + strain)
    rng = np.random.default_rng(2)
    for seen in (y, x + rng.normal(0, 0.05, x.shape)):
        found, value = align_strained(misfit, y, seen)
        shift = (x - found).mean(axis=0)
        assert np.abs(found + shift - x).max() < 2e-3 < np.abs(y - x).max()
        assert value == pytest.approx(misfit(found).value)


def test_no_strain_is_fitted_to_noise(case):
    x, misfit = case
    found, value = align_strained(misfit, x, x)
    arm = x - x.mean(axis=0)
    turn = np.linalg.lstsq(arm, found - found.mean(axis=0), rcond=None)[0]
    assert np.abs(turn @ turn.T - np.eye(3)).max() < 1e-12
    assert np.abs(arm @ turn - (found - found.mean(axis=0))).max() < 1e-10
    assert value <= misfit(x).value


def test_atoms_are_pulled_to_where_the_data_want_them(case):
    """The energy alone would do it as well: so it gets almost no weight here."""
    x, misfit = case
    y = x + np.random.default_rng(1).normal(0, 0.05, x.shape)
    cluster = Cluster(aluminium())
    pulled = restrained_fit(misfit, cluster, y, 1e-3, 60)
    cluster.close()
    off = pulled - x
    start = y - x
    assert np.abs(off - off.mean(axis=0)).mean() < 0.2 * np.abs(start - start.mean(axis=0)).mean()


def test_surface_is_what_has_fewer_neighbours():
    x = relaxed_ball(8.5)
    count = ((np.linalg.norm(x[:, None] - x[None], axis=2) < 1.22 * 2.864).sum(axis=1)) - 1
    assert np.array_equal(on_surface(x, 1.22 * 2.864), count < np.median(count))
