"""Scattering averaged over dynamics: against snapshots averaged by hand, Debye and Waller."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import fcc_ball, relaxed_ball

from prammol.diffraction.bragg_patch import cubic_patch, paper_patches
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import aluminium
from prammol.simulation.averages import mean_structure_factor, superpose
from prammol.simulation.counts import simulate
from prammol.structure.atoms import Atoms

PATCHES = paper_patches(10)

QUICK = {"equilibrate": 100, "steps": 400, "every": 40}


@pytest.fixture(scope="module")
def ball():
    return Atoms(relaxed_ball(), "Al")


def flat(data):
    return np.concatenate([c.ravel() for c in data.counts])


@pytest.mark.parametrize("diffuse", [False, True])
def test_counts_of_a_temperature_are_of_the_mean_of_the_snapshots(ball, monkeypatch, diffuse):
    seen = []
    sample = Cluster.sample_nvt

    def spy(self, x, temperature, seed, visit, *rest):
        def both(y):
            seen.append(y.copy())
            visit(y)

        sample(self, x, temperature, seed, both, *rest)

    monkeypatch.setattr(Cluster, "sample_nvt", spy)
    options = {"remove_rigid_motion": False, "diffuse": diffuse, "form_factor": "constant", **QUICK}
    data = simulate(ball, 1e26, 2, PATCHES, temperature=300, **options)
    assert len(seen) == data.meta["snapshots"] == 10
    q = np.concatenate([p.q() for p in PATCHES])
    omega = np.array([direct_structure_factor(q, y - y.mean(axis=0)) for y in seen])
    coherent, whole = np.abs(omega.mean(axis=0)) ** 2, np.mean(np.abs(omega) ** 2, axis=0)
    lam = data.meta["scale"] ** 2 * (whole if diffuse else coherent)
    np.testing.assert_allclose(flat(data), lam, atol=7 * lam.max() ** 0.5, rtol=1e-4)
    assert whole.sum() > 1.02 * coherent.sum()  # not the same
    assert data.meta["diffuse"] is diffuse
    assert data.meta["temperature"] == 300
    assert data.meta["remove_rigid_motion"] is False


def test_the_trajectory_depends_on_the_seed_alone(ball):
    arguments = {"patches": PATCHES, **QUICK}
    one, same, other = (mean_structure_factor(ball, 300, s, **arguments).omega for s in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.allclose(one, other)


def test_heat_weakens_the_peaks_as_debye_and_waller_say(ball):
    # |<Omega>|^2 / |Omega|^2 = exp(-q^2 u^2), u^2 the mean square displacement along q. It is
    # taken from an independent trajectory, and the surface makes it uneven: hence the margins.
    patches = [cubic_patch((1, 1, 1), 0.01, 3, 4.05), cubic_patch((2, 2, 2), 0.01, 3, 4.05)]
    cold = np.abs(direct_structure_factor(np.concatenate([p.q() for p in patches]), ball.positions))
    options = {"equilibrate": 1000, "steps": 4000, "every": 50}
    logs = {}
    for kelvin in (100, 300):
        warm = np.abs(mean_structure_factor(ball, kelvin, 1, patches, **options).omega)
        # peaks are moved by thermal expansion: compare the largest of the neighbourhood
        logs[kelvin] = 2 * np.log([warm[13] / cold[13], warm[40] / cold[40]])
    snapshots = []
    cluster = Cluster(aluminium())
    cluster.sample_nvt(ball.positions, 100, 9, snapshots.append, *options.values())
    cluster.close()
    y = np.array([superpose(s, ball.positions) for s in snapshots])
    u2 = ((y - y.mean(axis=0)) ** 2).mean()
    q2 = 3 * (2 * np.pi / 4.05) ** 2
    assert logs[100][0] == pytest.approx(-q2 * u2, rel=0.4)
    assert logs[100][1] == pytest.approx(-4 * q2 * u2, rel=0.4)
    assert logs[300][0] < 2 * logs[100][0] < 0
    assert logs[300][1] < 2 * logs[100][1] < 0


def test_superpose_undoes_translation_and_rotation(rng):
    x = fcc_ball(7.0)
    for _ in range(5):
        rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        rotation *= np.sign(np.linalg.det(rotation))
        np.testing.assert_allclose(superpose(x @ rotation + [3, -1, 8], x), x, atol=1e-9)
    # a mirror image is not a rotation
    y = rng.normal(size=(30, 3))
    assert np.abs(superpose(y * [-1, 1, 1], y) - y).max() > 0.1


def test_a_turning_crystal_is_turned_back(ball, monkeypatch):
    def turning(self, x, temperature, seed, visit, *rest):
        for angle in (0.0, 0.2, 0.4):
            c, s = np.cos(angle), np.sin(angle)
            visit(x @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + 5 * angle)

    monkeypatch.setattr(Cluster, "sample_nvt", turning)
    x = ball.positions
    q = np.concatenate([p.q() for p in PATCHES])
    still = np.abs(direct_structure_factor(q, x))
    fixed = np.abs(mean_structure_factor(ball, 300, 1, PATCHES).omega)
    np.testing.assert_allclose(fixed, still, atol=1e-6)
    free = mean_structure_factor(ball, 300, 1, PATCHES, remove_rigid_motion=False)
    assert np.abs(free.omega).max() < 0.8 * still.max()
