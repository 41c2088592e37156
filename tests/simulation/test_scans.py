"""Simulated rocking scans against rotation matrices, direct sums and expectations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import rocking
from scipy.spatial.transform import Rotation

from prammol.core.errors import DataError, InputError
from prammol.diffraction.photon_flux import form_factor
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.simulation.averages import innermost_patches
from prammol.simulation.instrument import instrument_of
from prammol.simulation.scans import angles_of_peak, points_of, simulate_scans
from prammol.structure.atoms import Atoms

ELECTRON_RADIUS = 2.8179403e-9  # um


def instrument(**changes):
    """A small one; changes are named like ``detector__zingers``."""
    values = {
        "beam": {"flux": 1e19, "wavelength": rocking.WAVELENGTH},
        "scans": {"step": 0.9, "images": 5},
        "detector": {
            "pixel_size": rocking.PIXEL, "distance": rocking.DISTANCE, "shape": [6, 7],
        },
    }  # fmt: skip
    for name, value in changes.items():
        part, key = name.split("__")
        values[part][key] = value
    return instrument_of(values)


@pytest.fixture
def atoms(rng):
    return Atoms(rng.uniform(-6, 6, (15, 3)), "Al")


@pytest.fixture
def cells(atoms):
    return innermost_patches(atoms, 2, half_width=0.5)


def test_points_are_those_of_rotation_matrices(cells):
    made, peak = instrument(), np.array([-1.55, 1.6, 1.5])
    angles = angles_of_peak(peak, made)
    q, _ = points_of(made, angles, np.zeros(3))
    named = [angles[name] for name in ("eta", "chi", "phi", "nu", "delta")]
    there = rocking.scattering_vectors(*named, (2.5, 3.0), (6, 7))
    np.testing.assert_allclose(q, there, atol=1e-12)
    # Between the middle rows, in the middle column of the middle image.
    middle, _ = points_of(made, angles, np.array([0.0, 0.5, 0.0]))
    np.testing.assert_allclose(middle[2, 2, 3], peak, atol=1e-12)
    half, _ = points_of(made, angles, np.array([0.5, -0.5, 0.5]))
    eta, *rest = named
    there = rocking.scattering_vectors(eta + 0.45, *rest, (3.0, 2.5), (6, 7))
    np.testing.assert_allclose(half, there, atol=1e-12)


def test_expected_photons_are_a_direct_sum(atoms, cells):
    """From first principles at the true scattering vectors; the pixel as 5 x 5 parts."""
    made = instrument(
        scans__turning=0, scans__offset=0.02, scans__rotation=1.0, scans__scale=[1.0, 0.7, 1.6],
        scans__exposure=[1.0, 2.0, 3.0], beam__polarisation="vertical",
    )  # fmt: skip
    scans, truths = simulate_scans(atoms, made, 4, cells)
    t, w = np.polynomial.legendre.leggauss(5)
    for scan, true, factor in zip(scans, truths, (1.0, 1.4, 4.8), strict=True):
        assert np.linalg.norm(true.offset) == pytest.approx(0.02 * 2 * np.pi / 4.05)
        assert np.linalg.norm(true.rotation) == pytest.approx(np.radians(1.0))
        turn = Rotation.from_rotvec(true.rotation).as_matrix()
        named = [scan.angles[name] for name in ("eta", "chi", "phi", "nu", "delta")]
        total = 0.0
        for a, v in zip(t, w, strict=True):
            for b, u in zip(t, w, strict=True):
                centre = (2.5 - a / 2, 3.0 - b / 2)
                q = rocking.scattering_vectors(*named, centre, (6, 7))
                # 1 - (e k)^2 with e along z of the laboratory, where k_z comes from the angles
                row = np.arange(6)[:, None] - centre[0] + 0 * np.arange(7)
                column = np.arange(7) - centre[1] + 0 * np.arange(6)[:, None]
                d = rocking.DISTANCE / rocking.PIXEL
                far = np.sqrt(d**2 + row**2 + column**2)
                lift = np.radians(float(scan.angles["delta"]))
                up = (d * np.sin(lift) - row * np.cos(lift)) / far
                q = (q @ turn.T + true.offset).reshape(-1, 3)
                f = np.array([form_factor("Al", k) for k in np.linalg.norm(q, axis=1)])
                power = (f * np.abs(direct_structure_factor(q, atoms.positions))) ** 2
                total += v * u / 4 * d / far**3 * (1 - up**2) * power.reshape(5, 6, 7)
        expected = 1e19 * factor * ELECTRON_RADIUS**2 * total
        np.testing.assert_allclose(true.signal, expected, rtol=2e-4, atol=1e-4 * expected.max())
        peak = form_factor("Al", np.linalg.norm(true.peak))
        solid = (rocking.PIXEL / rocking.DISTANCE) ** 2
        assert true.scale**2 == pytest.approx(1e19 * factor * ELECTRON_RADIUS**2 * solid * peak**2)


def test_the_detector_does_what_it_is_told(atoms, cells):
    made = instrument(
        beam__flux=1e10, scans__exposure=[1.0, 2.0, 0.5], detector__shape=[60, 60],
        detector__background=50.0, detector__hump=20.0, detector__gap_columns=[[3, 5]],
        detector__gap_rows=[[7, 7]], detector__dead_pixels=0.01, detector__hot_pixels=0.02,
        detector__zingers=0.05, detector__zinger_height=1e4, detector__dead_time=2e-3,
        detector__saturation=1e5,
    )  # fmt: skip
    scans, truths = simulate_scans(atoms, made, 1, cells)
    mask = scans[0].mask
    assert (mask[:, 3:6] == 0x200).all()
    assert (mask[7] == 0x200).all()
    assert 0.002 < (mask == 0x8).mean() < 0.03
    assert 0.005 < (mask == 0x4).mean() < 0.04
    for scan, true, exposure in zip(scans, truths, (1.0, 2.0, 0.5), strict=True):
        assert (scan.mask == mask).all()
        assert scan.monitor == exposure
        assert (scan.counts[:, (mask & 0x208) != 0] == 0).all()
        assert (scan.counts[:, mask == 0x4] == 10**5).all()
        good = (mask == 0) & ~true.zingers
        expected = np.broadcast_to(true.background / exposure, good.shape)[good]
        assert 50 <= expected.min() < 51
        assert 69 < expected.max() <= 70
        # n / (1 + 0.002 n) photons are counted
        most = exposure * expected / (1 + 2e-3 * exposure * expected)
        assert scan.counts[good].mean() == pytest.approx(most.mean(), rel=0.005)
        assert true.zingers.mean() == pytest.approx(0.05, abs=0.005)
        hit = true.zingers & (mask == 0)
        assert scan.counts[hit].mean() == pytest.approx(1e4, rel=0.2)
        assert scan.counts.max() == 10**5


def test_the_seed_decides(atoms, cells):
    made = instrument(scans__offset=0.01, detector__zingers=0.1)
    (one, _), (same, _), (other, truth) = (simulate_scans(atoms, made, s, cells) for s in (1, 1, 2))
    assert (one[0].counts == same[0].counts).all()
    assert (one[0].counts != other[0].counts).any()
    directions = np.array([t.offset for t in truth])
    assert np.linalg.matrix_rank(directions) == 3


def test_what_fits_no_crystal_is_refused(atoms, cells):
    for name, value, text in (
        ("scans__scale", [1.0, 2.0], "given for 2 scans, there are 3"),
        ("beam__wavelength", 5.0, "no angle gives a peak at 2.69"),
        ("scans__scale", [1.0, 1e20, 1.0], "too many photons to count"),
        ("detector__spread", 100.0, "too wide for a crystal"),
    ):
        with pytest.raises(InputError, match=text):
            simulate_scans(atoms, instrument(**{name: value}), 1, cells)
    with pytest.raises(DataError, match="leaves not one photon"):
        simulate_scans(atoms, instrument(beam__flux=1.0), 1, cells)


def test_dynamics_is_averaged(atoms, cells, rng):
    """Total and coherent scattering differ by the diffuse one, positive on the whole."""
    made = instrument(beam__flux=1e23, detector__fill=0.01)  # few sub-points
    snapshots = [atoms.positions + rng.normal(0, 0.2, (15, 3)) for _ in range(130)]
    total = simulate_scans(atoms, made, 1, cells, snapshots)[1][0].signal
    cold = replace(made, sample=replace(made.sample, temperature=1.0, scattering="coherent"))
    coherent = simulate_scans(atoms, cold, 1, cells, snapshots)[1][0].signal
    q, factor = points_of(made, angles_of_peak(2.687 * np.ones(3) / 3**0.5, made), np.zeros(3))
    length = np.linalg.norm(q, axis=-1)
    f = np.array([form_factor("Al", k) for k in length.ravel()]).reshape(length.shape)
    diffuse = 1e23 * ELECTRON_RADIUS**2 * factor * f**2 * 15 * (1 - np.exp(-0.04 * length**2))
    assert (total - coherent).mean() == pytest.approx(diffuse.mean(), rel=0.25)
