"""Simulated counts against direct sums, closed forms and snapshots averaged by hand."""

import numpy as np
import pytest
from small_crystal import fcc_ball, relaxed_ball

from prammol.core.errors import DataError, InputError
from prammol.diffraction.bragg_patch import cubic_patch, paper_patches
from prammol.diffraction.photon_flux import scale_from_flux
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import aluminium
from prammol.simulation.averages import mean_structure_factor, superpose
from prammol.simulation.counts import simulate
from prammol.simulation.samples import make_crystal
from prammol.structure.atoms import Atoms

PATCHES = paper_patches(10)
QUICK = {"equilibrate": 100, "steps": 400, "every": 40}


@pytest.fixture(scope="module")
def ball():
    return Atoms(relaxed_ball(), "Al")


def flat(data):
    return np.concatenate([c.ravel() for c in data.counts])


def expected_counts(x, flux, patches=PATCHES):
    q = np.concatenate([p.q() for p in patches])
    scale = scale_from_flux(flux, patches, "Al")
    return scale**2 * np.abs(direct_structure_factor(q, x)) ** 2


def test_counts_are_poisson_around_the_direct_sum(ball):
    lam = expected_counts(ball.positions, 1e18)
    trials = np.array([flat(simulate(ball, 1e18, s, PATCHES)) for s in range(200)])
    bright = lam > 0.5
    assert bright.sum() > 200
    # the mean of 200 trials has the variance lam / 200, the variance (2 lam^2 + lam) / 200
    z = (trials.mean(axis=0) - lam)[bright] / np.sqrt(lam[bright] / 200)
    assert abs(z.mean()) < 4 / np.sqrt(bright.sum())
    assert z.std() == pytest.approx(1, abs=0.15)
    assert np.abs(z).max() < 6
    v = (trials.var(axis=0, ddof=1) - lam)[bright]
    v /= np.sqrt((2 * lam**2 + lam)[bright] / 200)
    assert abs(v.mean()) < 5 / np.sqrt(bright.sum())


def test_bright_counts_have_the_right_size_and_place(ball):
    # so many photons that the noise is small: every patch and axis in its place
    data = simulate(ball, 1e24, 1)
    for p, c in zip(paper_patches(), data.counts, strict=True):
        rows = np.random.default_rng(0).integers(0, p.size, 100)
        lam = data.meta["scale"] ** 2 * np.abs(direct_structure_factor(p.q()[rows], ball.positions))
        lam *= np.abs(direct_structure_factor(p.q()[rows], ball.positions))
        np.testing.assert_allclose(c.ravel()[rows], lam, atol=0, rtol=0.02 + 6 / lam.min() ** 0.5)


def test_paper_crystal_at_1e18():
    crystal = make_crystal("vacancy", relax=False)
    data = simulate(crystal, 1e18, 1)
    assert [c.shape for c in data.counts] == [(50, 50, 50)] * 3
    assert data.meta["scale"] == pytest.approx(0.19, abs=0.002)
    # all waves in phase give (C n)^2; the grid misses the top by half a step on each axis
    top = (data.meta["scale"] * 4679) ** 2
    assert top == pytest.approx(8e5, rel=0.03)
    assert 0.8 * top < data.meta["peak_counts"] < top


def test_meta_tells_what_was_done(ball):
    data = simulate(ball, 2e18, 5, PATCHES, wavelength=1.0)
    meta = data.meta
    assert meta["flux"] == 2e18
    assert meta["scale"] == scale_from_flux(2e18, PATCHES, "Al", 1.0)
    assert (meta["element"], meta["wavelength"], meta["seed"]) == ("Al", 1.0, 5)
    assert meta["total_counts"] == sum(c.sum() for c in data.counts) == data.total_counts
    assert meta["peak_counts"] == max(c.max() for c in data.counts)
    assert "temperature" not in meta
    assert (flat(data) % 1 == 0).all()


def test_seed_decides_the_counts(ball):
    one, same, other = (flat(simulate(ball, 1e18, s, PATCHES)) for s in (3, 3, 4))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_flux_that_leaves_no_photon_is_an_error(ball):
    with pytest.raises(DataError, match="not one photon"):
        simulate(ball, 1e3, 1, PATCHES)


def test_bad_input(ball):
    for flux in (0, -1e18, np.nan):
        with pytest.raises(InputError, match="flux"):
            simulate(ball, flux, 1, PATCHES)
    with pytest.raises(InputError, match="too many"):
        simulate(ball, 1e36, 1, PATCHES)
    with pytest.raises(InputError, match="no atoms"):
        simulate(Atoms(np.zeros((0, 3)), "Al"), 1e18, 1, PATCHES)
    with pytest.raises(InputError, match="seed"):
        simulate(ball, 1e18, -1, PATCHES)
    for temperature in (0.0, -5.0, np.nan):
        with pytest.raises(InputError, match="temperature"):
            simulate(ball, 1e18, 1, PATCHES, temperature=temperature)
    with pytest.raises(InputError, match="the potential is for Al"):
        simulate(Atoms(ball.positions, "Cu"), 1e18, 1, PATCHES, temperature=300)
    with pytest.raises(InputError, match="steps >= every"):
        simulate(ball, 1e18, 1, PATCHES, temperature=300, steps=10, every=20)


# -- temperature ------------------------------------------------------------


def test_temperature_is_the_mean_amplitude_of_the_snapshots(ball, monkeypatch):
    seen = []
    whole = Cluster.sample_nvt

    def spy(self, x, temperature, seed, visit, *rest):
        def both(y):
            seen.append(y.copy())
            visit(y)

        whole(self, x, temperature, seed, both, *rest)

    monkeypatch.setattr(Cluster, "sample_nvt", spy)
    data = simulate(ball, 1e26, 2, PATCHES, temperature=300, remove_rigid_motion=False, **QUICK)
    assert len(seen) == data.meta["snapshots"] == 10
    q = np.concatenate([p.q() for p in PATCHES])
    mean = np.mean([direct_structure_factor(q, y - y.mean(axis=0)) for y in seen], axis=0)
    lam = data.meta["scale"] ** 2 * np.abs(mean) ** 2
    np.testing.assert_allclose(flat(data), lam, atol=7 * lam.max() ** 0.5, rtol=1e-4)
    # not the mean intensity, which keeps the diffuse scattering
    assert data.meta["temperature"] == 300
    assert data.meta["remove_rigid_motion"] is False


def test_trajectory_depends_on_the_seed_alone(ball):
    arguments = {"patches": PATCHES, **QUICK}
    one, same, other = (mean_structure_factor(ball, 300, s, **arguments) for s in (1, 1, 2))
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
        warm = np.abs(mean_structure_factor(ball, kelvin, 1, patches, **options))
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
    fixed = np.abs(mean_structure_factor(ball, 300, 1, PATCHES))
    np.testing.assert_allclose(fixed, still, atol=1e-6)
    free = np.abs(mean_structure_factor(ball, 300, 1, PATCHES, remove_rigid_motion=False))
    assert free.max() < 0.8 * still.max()
