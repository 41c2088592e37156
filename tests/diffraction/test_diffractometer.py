"""From detector angles to scattering vectors: against rotation matrices."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import rocking
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from prammol.core.errors import DataError, InputError
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.curved_patch import CurvedPatch
from prammol.diffraction.diffractometer import Diffractometer, orientation_from_peaks

needs_xrayutilities = pytest.mark.skipif(
    importlib.util.find_spec("xrayutilities") is None, reason="xrayutilities isn't installed"
)

MACHINE = Diffractometer(
    rocking.WAVELENGTH,
    rocking.DISTANCE,
    (rocking.PIXEL, rocking.PIXEL),
    (0, 0),
    rocking.SAMPLE_AXES,
    rocking.DETECTOR_AXES,
)


@pytest.fixture(scope="module")
def atoms():
    return np.random.default_rng(5).uniform(-7, 7, (20, 3))


@pytest.fixture(scope="module")
def scans(atoms):
    return rocking.scans(atoms, 30.0, shape=(9, 10, 8))


@needs_xrayutilities
def test_points_are_those_of_rotation_matrices(scans):
    for scan in scans:
        machine = replace(MACHINE, beam_centre=scan.centre)
        angles = ((scan.eta, scan.chi, scan.phi), (scan.nu, scan.delta))
        assert_allclose(machine.points(scan.counts.shape, *angles), scan.q, atol=1e-12)


@needs_xrayutilities
def test_other_pixel_directions_and_a_detector_turned_about_the_beam(scans):
    """A camera on its side: axes of the image swapped, or all of it turned by 90 degrees."""
    scan = scans[0]
    angles = ((scan.eta, scan.chi, scan.phi), (scan.nu, scan.delta))
    swapped = replace(MACHINE, beam_centre=scan.centre[::-1], pixel_directions=("y+", "z-"))
    frames, n1, n2 = scan.counts.shape
    q = swapped.points((frames, n2, n1), *angles)
    assert_allclose(q.transpose(0, 2, 1, 3), scan.q, atol=1e-12)
    upside = replace(MACHINE, beam_centre=scan.centre, tilt=(180.0, 0.0, 0.0))
    q = upside.points((frames, n1, n2), *angles)
    both = replace(MACHINE, beam_centre=scan.centre, pixel_directions=("z+", "y-"))
    assert_allclose(q, both.points((frames, n1, n2), *angles), atol=1e-12)


@needs_xrayutilities
def test_a_narrow_scan_is_an_affine_patch_and_a_wide_one_keeps_its_points(scans):
    scan = scans[0]
    machine = replace(MACHINE, beam_centre=scan.centre)
    narrow = replace(machine, pixel_size=(2e-6, 2e-6))
    eta = scan.eta.mean() + (scan.eta - scan.eta.mean()) / 75
    arguments = (scan.counts.shape, (eta, scan.chi, scan.phi), (scan.nu, scan.delta))
    patch = narrow.patch(*arguments)
    assert type(patch) is BraggPatch
    exact = narrow.points(*arguments).reshape(-1, 3)
    step = np.linalg.norm(patch.step, axis=1).min()
    assert 0 < np.linalg.norm(patch.q() - exact, axis=1).max() < 0.05 * step
    # sheared: turning moves q across the Bragg vector, pixels move it along the Ewald sphere
    unit = patch.step / np.linalg.norm(patch.step, axis=1, keepdims=True)
    assert np.abs(unit @ unit.T - np.eye(3)).max() > 0.05
    arguments = (scan.counts.shape, (scan.eta, scan.chi, scan.phi), (scan.nu, scan.delta))
    wide = machine.patch(*arguments)
    assert isinstance(wide, CurvedPatch)
    assert wide.bend > 0.05
    assert_allclose(wide.q(), scan.q.reshape(-1, 3), atol=1e-12)
    with pytest.raises(DataError, match=r"off an affine grid by 0\.\d+ steps, expected at most"):
        machine.patch(*arguments, curved=False)


@needs_xrayutilities
def test_a_crystal_mounted_anew_is_turned_back(scans):
    """Scans at other orientations of the crystal land in one frame, that of the crystal."""
    scan = scans[1]
    machine = replace(MACHINE, beam_centre=scan.centre)
    arguments = (scan.counts.shape, (scan.eta, scan.chi, scan.phi), (scan.nu, scan.delta))
    turn = Rotation.from_rotvec([0.3, 0.2, -0.9]).as_matrix()
    patch = machine.patch(*arguments, orientation=turn)
    assert_allclose(patch.q(), scan.q.reshape(-1, 3) @ turn.T, atol=1e-12)
    for wrong in (np.eye(3)[:2], 2 * np.eye(3), np.diag([1, 1, -1])):
        with pytest.raises(InputError, match="rotation matrix"):
            machine.patch(*arguments, orientation=wrong)


def test_the_orientation_follows_from_indexed_peaks():
    turn = rocking.MOUNTED
    hkl = np.array(rocking.PEAKS)
    noise = np.random.default_rng(0).normal(scale=0.01, size=(3, 3))
    found = orientation_from_peaks(1.55 * hkl @ turn.T + noise, hkl)
    assert_allclose(found @ turn, np.eye(3), atol=0.02)
    assert np.linalg.det(found) == pytest.approx(1)
    with pytest.raises(InputError, match="can't be these reflections"):
        orientation_from_peaks(hkl @ turn.T, [(2, 0, 0), (0, 2, 0), (1, 1, 1)])
    with pytest.raises(InputError, match="two independent"):
        orientation_from_peaks(hkl[:1], hkl[:1])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"wavelength": 0.0}, "positive"),
        ({"pixel_size": (1e-6,)}, "positive"),
        ({"sample_axes": ("q+",)}, "such as y-"),
        ({"beam_centre": (1.0,)}, "beam centre"),
    ],
)
def test_impossible_machines_are_refused(change, match):
    with pytest.raises(InputError, match=match):
        replace(MACHINE, **change)


@needs_xrayutilities
def test_angles_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="angles have the lengths"):
        MACHINE.points((3, 2, 2), (1.0, 2.0), (0.0, 10.0))
    with pytest.raises(InputError, match="angles have the lengths"):
        MACHINE.points((3, 2, 2), (np.arange(4.0), 0.0, 0.0), (0.0, 10.0))
    with pytest.raises(InputError, match="finite"):
        MACHINE.points((3, 2, 2), (np.nan, 0.0, 0.0), (0.0, 10.0))


@needs_xrayutilities
def test_gain_is_the_solid_angle_and_the_dipole(scans):
    """Corners of each pixel on the sphere by hand; the field stands along y or z."""
    scan, shape = scans[0], (10, 8)
    machine = replace(MACHINE, beam_centre=scan.centre)
    arms = (12.0, scan.delta)
    i, j = np.meshgrid(np.arange(10) - scan.centre[0], np.arange(8) - scan.centre[1], indexing="ij")
    d = rocking.DISTANCE / rocking.PIXEL
    pixel = np.stack([np.full(shape, d), j, -i], axis=-1)
    far = np.linalg.norm(pixel, axis=-1)
    out = pixel / far[..., None] @ (rocking.turned("z-", 12.0) @ rocking.turned("y-", arms[1])).T
    solid = (d / far) ** 3
    for name, along in (("horizontal", (1, 0)), ("vertical", (0, 1)), ("unpolarised", (0.5, 0.5))):
        dipole = 1 - along[0] * out[..., 1] ** 2 - along[1] * out[..., 2] ** 2
        assert_allclose(machine.gain(shape, arms, name), solid * dipole, rtol=1e-4)
    assert_allclose(machine.gain(shape, arms), solid, rtol=1e-4)
    with pytest.raises(InputError, match="the polarisation is 'up', expected one of horizontal, v"):
        machine.gain(shape, arms, "up")
