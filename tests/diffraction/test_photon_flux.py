"""The scale that belongs to a flux: published numbers and a detector built by hand."""

from __future__ import annotations

import numpy as np
import pytest

from prammol.core.errors import InputError
from prammol.diffraction.bragg_patch import BraggPatch, cubic_patch, paper_patches
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.photon_flux import (
    counts_per_flux,
    form_factor,
    known_gain,
    patch_centre,
    scale_from_flux,
    solid_angle,
    with_form_factor,
)
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.simulation.counts import simulate
from prammol.structure.atoms import Atoms

G_111 = 2 * np.pi * 3**0.5 / 4.05


def test_the_form_factor_of_aluminium_is_that_of_the_international_tables():
    assert form_factor("Al", G_111) == pytest.approx(8.956, abs=5e-4)
    assert form_factor("Al", 0.0) == pytest.approx(13, abs=0.01)
    # International Tables for Crystallography C (1992), table 6.1.1.4
    a, b, c = (6.4202, 1.9002, 1.5936, 1.9646), (3.0387, 0.7426, 31.5472, 85.0886), 1.1151
    for q in (0.5, 2.0, 5.0, 9.0):
        s = q / (4 * np.pi)
        assert form_factor("Al", q) == pytest.approx(c + np.dot(a, np.exp(-np.array(b) * s * s)))


@pytest.mark.parametrize(("element", "electrons"), [("Cu", 29), ("Au", 79), ("W", 74), ("Fe", 26)])
def test_the_form_factor_forward_is_the_number_of_electrons(element, electrons):
    assert form_factor(element, 0.0) == pytest.approx(electrons, rel=2e-3)


@pytest.mark.parametrize("element", ["Al", "Fe", "Ni", "Cu", "Nb", "Ta", "W", "Pt", "Au"])
def test_form_factors_are_those_of_another_program(element):
    elements = pytest.importorskip("xrayutilities").materials.elements
    for q in (0.0, 2.7, 3.5, 6.0):
        theirs = float(np.squeeze(getattr(elements, element).f0(q)))
        assert form_factor(element, q) == pytest.approx(theirs, rel=1e-3)


def test_the_scale_of_the_paper_at_1e18():
    patches = paper_patches()
    for p in patches:
        assert np.linalg.norm(patch_centre(p)) == pytest.approx(G_111)
        assert solid_angle(p) == pytest.approx((1.24 * 1.2 / 49 / 4.05) ** 2)
    assert solid_angle(patches[0]) == pytest.approx(5.62e-5, rel=1e-3)
    scale = scale_from_flux(1e18, patches, "Al")
    by_hand = (1e18 * 2.8179e-9**2 * 8.956**2 * (1.24 * 1.2 / 49 / 4.05) ** 2) ** 0.5
    assert scale == pytest.approx(by_hand, rel=1e-4)
    assert scale == pytest.approx(0.19, abs=0.002)
    # all N waves in phase: the brightest voxel of 4679 atoms
    assert (scale * 4679) ** 2 == pytest.approx(7.9e5, rel=0.02)


def test_each_patch_of_the_paper_has_the_same_scale():
    alone = [scale_from_flux(1e18, [p], "Al") for p in paper_patches()]
    np.testing.assert_allclose(alone, scale_from_flux(1e18, paper_patches(), "Al"), rtol=1e-12)


def test_scale_grows_with_the_root_of_the_flux_and_of_the_polarisation():
    patches = paper_patches(10)
    one = scale_from_flux(1e16, patches, "Al")
    assert scale_from_flux(4e16, patches, "Al") == pytest.approx(2 * one)
    half = scale_from_flux(1e16, patches, "Al", polarisation=0.5)
    assert half == pytest.approx(one * 0.5**0.5)


def test_the_solid_angle_of_a_detector_built_by_hand(rng):
    # Pixels of 55 um at 0.8 m, 0.9 Å: directions k_f(u, v) of unit vectors, q = k_f - k_i.
    wavelength, pixel, distance = 0.9, 55e-6, 0.8
    k = 2 * np.pi / wavelength
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    middle = distance * axes[2]

    def q(u, v):
        r = middle + pixel * (u * axes[0] + v * axes[1])
        return k * r / np.linalg.norm(r)

    rock = rng.normal(size=3) * 0.01
    patch = BraggPatch(rng.normal(size=3), [rock, q(1, 0) - q(0, 0), q(0, 1) - q(0, 0)], (5, 6, 7))
    assert solid_angle(patch, wavelength) == pytest.approx((pixel / distance) ** 2, rel=1e-3)
    slab = patch.planes(2, 4)
    assert solid_angle(slab, wavelength) == solid_angle(patch, wavelength)


def test_peaks_of_different_families_share_the_mean():
    patches = [cubic_patch(hkl, 0.5, 11, 4.05) for hkl in ((1, 1, 1), (2, 0, 0))]
    f = [form_factor("Al", 2 * np.pi / 4.05 * n**0.5) for n in (3, 4)]
    expected = 2.8179403205e-9**2 * (f[0] ** 2 + f[1] ** 2) / 2 * (1.24 * 0.1 / 4.05) ** 2
    assert counts_per_flux(patches, "Al") == pytest.approx(expected)
    off = BraggPatch(patches[0].origin + 0.3, patches[0].step, patches[0].shape)
    peaks = [patch_centre(p) for p in patches]
    assert counts_per_flux([off, patches[1]], "Al", peaks=peaks) == pytest.approx(expected)


def test_the_gain_is_what_a_detector_counts_beside_the_scale():
    """Peaks of two families, patches of different steps; the form factor is another program's."""
    aluminium = pytest.importorskip("xrayutilities").materials.elements.Al
    patches = [cubic_patch((1, 1, 1), 0.5, 7, 4.05), cubic_patch((2, 0, 0), 0.4, 9, 4.05)]
    gain = known_gain(patches, "Al")
    c2 = scale_from_flux(1e18, patches, "Al") ** 2
    for patch, found in zip(patches, gain, strict=True):
        q = np.linalg.norm(patch.q(), axis=1).reshape(patch.shape)
        f = np.array([float(np.squeeze(aluminium.f0(v))) for v in q.ravel()])
        step = patch.step[0, 0]
        expected = 1e18 * 2.8179403205e-9**2 * f.reshape(q.shape) ** 2
        expected *= (1.24 * step / (2 * np.pi)) ** 2
        np.testing.assert_allclose(c2 * found, expected, rtol=2e-3)


def test_counts_are_those_of_the_gain_that_is_declared(rng):
    x = 2.5 * rng.normal(size=(9, 3))
    patches = paper_patches(9)
    data = simulate(Atoms(x, "Al"), 1e27, 1, patches)
    for patch, counts, gain in zip(patches, data.counts, data.gain, strict=True):
        power = np.abs(direct_structure_factor(patch.q(), x)).reshape(patch.shape) ** 2
        lam = data.meta["scale"] ** 2 * gain * power
        np.testing.assert_allclose(counts, lam, atol=6 * lam.max() ** 0.5, rtol=1e-5)
    q = np.linalg.norm(patches[0].q(), axis=1)
    far, near = q.argmax(), q.argmin()
    ratio = data.gain[0].flat[far] / data.gain[0].flat[near]
    assert ratio == pytest.approx((form_factor("Al", q[far]) / form_factor("Al", q[near])) ** 2)
    plain = simulate(Atoms(x, "Al"), 1e20, 1, patches, form_factor="constant")
    assert not plain.gain
    with pytest.raises(InputError, match="form factor is 'no'"):
        simulate(Atoms(x, "Al"), 1e20, 1, patches, form_factor="no")


def test_data_that_say_nothing_get_the_form_factor_and_others_stay(rng):
    patches = [cubic_patch(hkl, 0.5, 7, 4.05) for hkl in ((1, 1, 1), (2, 0, 0))]
    counts = [np.exp(-40 * np.sum((p.q() - patch_centre(p)) ** 2, axis=1)) for p in patches]
    counts = [np.rint(1e4 * c).reshape(p.shape) for c, p in zip(counts, patches, strict=True)]
    exposure = [np.full(p.shape, 1.0 + k) for k, p in enumerate(patches)]
    data = with_form_factor(Diffraction(patches, counts, gain=exposure), "Al")
    f = [form_factor("Al", 2 * np.pi / 4.05 * n**0.5) for n in (3, 4)]
    mean = (f[0] ** 2 + f[1] ** 2) / 2
    for k, own in enumerate(f):
        assert data.gain[k][3, 3, 3] == pytest.approx((1.0 + k) * own**2 / mean)
    assert with_form_factor(data, "Al") is data
    for meta in ({"form_factor": "constant"}, {"scale": 1.0}):
        said = Diffraction(patches, counts, meta=meta)
        assert with_form_factor(said, "Al") is said


def test_wrong_fluxes_and_elements_are_refused():
    patches = paper_patches(4)
    for flux in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(InputError, match="flux"):
            scale_from_flux(flux, patches, "Al")
    for element in ("Xx", "al", "", "X"):
        with pytest.raises(InputError, match="form factor"):
            scale_from_flux(1e18, patches, element)
    with pytest.raises(InputError, match="wavelength"):
        scale_from_flux(1e18, patches, "Al", wavelength=0)
    with pytest.raises(InputError, match="polarisation"):
        scale_from_flux(1e18, patches, "Al", polarisation=1.5)
    with pytest.raises(InputError, match="at least one patch"):
        scale_from_flux(1e18, [], "Al")
    with pytest.raises(InputError, match="peaks"):
        scale_from_flux(1e18, patches, "Al", peaks=[[1, 2, 3]])
    with pytest.raises(InputError, match="up to"):
        form_factor("Al", 100.0)
