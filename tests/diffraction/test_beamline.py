"""A beamline: geometry against the Ewald sphere, absorption against NIST, bad input."""

from __future__ import annotations

import numpy as np
import pytest

from prammol.core.errors import InputError
from prammol.diffraction.beamline import (
    Beamline,
    absorption,
    beamline_of,
    changed,
    reachable_peaks,
)
from prammol.io.beamline import read_beamline
from prammol.structure.lattices import LATTICES

VALUES = {
    "energy": 10.0, "flux_density": 1e12, "distance": 0.5, "pixel": 55.0, "pixels": 65,
    "rocking_step": 0.02, "images": 51, "exposure": 1.0,
}  # fmt: skip


def test_an_image_is_a_piece_of_the_ewald_sphere():
    beamline = beamline_of(VALUES, "b")
    peak = 2 * np.pi / 4.05 * np.array([-1.0, 1.0, 1.0])
    patch = beamline.patch(peak)
    assert patch.middle == pytest.approx(peak)
    k = 2 * np.pi / beamline.wavelength
    length = np.linalg.norm(peak)
    assert np.sin(np.radians(beamline.bragg_angle(length))) == pytest.approx(length / (2 * k))
    # The outgoing wave vector is across both edges of the detector; rocking turns the peak.
    out = np.cross(patch.step[1], patch.step[2])
    out *= k / np.linalg.norm(out)
    out *= np.sign(out @ peak)
    assert np.linalg.norm(out - peak) == pytest.approx(k)
    q = patch.planes(25, 26).q()
    assert np.linalg.norm(q - peak + out, axis=1) == pytest.approx(k, rel=1e-4)
    angle = np.linalg.norm(patch.step[1]) / k
    assert angle == pytest.approx(55e-6 / 0.5)
    assert patch.step[0] @ peak == pytest.approx(0.0, abs=1e-12)
    assert np.linalg.norm(patch.step[0]) == pytest.approx(length * np.radians(0.02))


@pytest.mark.parametrize(
    # Hubbell & Seltzer, NISTIR 5632 (1995), at 10 keV [cm^2/g]; scattering is a few per cent.
    ("element", "mass", "known"),
    [("Al", 26.982, 26.23), ("Cu", 63.546, 215.9), ("Au", 196.97, 118.1)],
)
def test_absorption_is_that_of_nist(element, mass, known):
    assert absorption(element, mass, 10.0) == pytest.approx(known, rel=0.08)


def test_dose_is_absorbed_energy_by_mass():
    beamline = beamline_of(VALUES, "b")
    photons = 1e12 * 1e12 * 51 * 2  # in a square metre
    coefficient = absorption("Al", 26.982, 10.0) * 0.1  # m^2/kg
    assert beamline.dose("Al", 26.982, 2) == pytest.approx(
        photons * coefficient * 10e3 * 1.602177e-19
    )


def test_reachable_peaks_are_those_of_the_structure():
    beamline = beamline_of({**VALUES, "two_theta_max": 62.0}, "b")
    lattice = LATTICES["fcc"]
    found = reachable_peaks(beamline, lattice.reciprocal / 4.05, np.array(lattice.sites))
    families = [(1, 1, 1), (2, 0, 0), (2, 2, 0), (3, 1, 1)]
    assert [tuple(p["hkl"]) for p in found] == families
    assert [p["multiplicity"] for p in found] == [8, 6, 12, 24]
    assert [p["d"] for p in found] == pytest.approx([4.05 / np.linalg.norm(h) for h in families])
    lattice = LATTICES["diamond"]
    found = reachable_peaks(beamline, lattice.reciprocal / 5.43, np.array(lattice.sites))
    assert [2, 0, 0] not in [p["hkl"] for p in found]


@pytest.mark.parametrize("name", ["ID01-EBS", "34-ID-C", "NanoMAX"])
def test_beamlines_of_the_package(name):
    beamline = read_beamline(name)
    assert isinstance(beamline, Beamline)
    assert beamline.name == name


def test_one_of_a_user(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("\n".join(f"{k}: {v:g}" for k, v in VALUES.items()))
    assert read_beamline(path) == beamline_of(VALUES, str(path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"energy": -1}, "energy is -1, expected a positive number"),
        ({"energy": 200}, "expected 3 to 70 keV"),
        ({"images": 1.5}, "images is 1.5, expected a whole number"),
        ({"exposure": "long"}, "exposure is 'long'"),
        ({"exposure": float("nan")}, "exposure is nan"),
        ({"exposure": 10**400}, "exposure is 1000"),
        ({"two_theta_max": 190}, "less than 180"),
        ({"exposur": 1}, "did you mean exposure"),
    ],
)
def test_wrong_numbers_are_named(change, words):
    with pytest.raises(InputError, match=words):
        changed(beamline_of(VALUES, "b"), change)


def test_wrong_files_are_named(tmp_path):
    with pytest.raises(InputError, match="expected ID01-EBS, 34-ID-C, NanoMAX or a file"):
        read_beamline("ID02")
    path = tmp_path / "b.yaml"
    path.write_text("energy: 9\n")
    with pytest.raises(InputError, match="the key flux_density is missing"):
        read_beamline(path)
    path.write_text("- 9\n")
    with pytest.raises(InputError, match="expected a beamline"):
        read_beamline(path)


def test_peaks_out_of_reach_are_refused():
    with pytest.raises(InputError, match="can't be reached at 10 keV"):
        beamline_of(VALUES, "b").patch([12.0, 0.0, 0.0])
    with pytest.raises(InputError, match="isn't known"):
        absorption("H", 1.0, 10.0)
