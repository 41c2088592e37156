"""Scattering averaged over molecular dynamics, and counts drawn from it."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import relaxed_ball

from prammol.cli.main import run
from prammol.core.errors import InputError
from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.photon_flux import scale_from_flux
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.io import read_atoms, read_diffraction, write_atoms
from prammol.io.mean_amplitude import read_mean_amplitude, write_mean_amplitude
from prammol.io.mean_scattering import read_mean_scattering
from prammol.simulation.averages import MeanAmplitude, innermost_patches
from prammol.simulation.counts import simulate
from prammol.structure.atoms import Atoms


def test_a_cold_trajectory_scatters_like_its_mean_positions(tmp_path, monkeypatch):
    """So cold that the mean of the scattering is the scattering of the mean, nearly."""
    x = relaxed_ball(8.5)
    write_atoms(tmp_path / "s.xyz", Atoms(x, "Al"))
    monkeypatch.chdir(tmp_path)
    numbers = ["--temperature", "5", "--seed", "3", "--points", "12", "--equilibrate", "100"]
    numbers += ["--timestep", "1"]
    outputs = ["-o", "a.npz", "--mean", "m.xyz", "--scattering", "f.npz"]
    assert run(["dynamics", "s.xyz", *numbers, "--steps", "400", "--every", "20", *outputs]) == 0
    average = read_mean_amplitude("a.npz")
    omega, meta = average.omega, average.meta
    with np.load("a.npz") as kept:
        displacements = kept["displacements"]
    mean = read_atoms("m.xyz")
    assert meta["snapshots"] == 20
    away = np.linalg.norm(mean.positions - x, axis=1)
    assert 0 < away.mean() < 0.05
    # k T over a force constant of some eV/Å^2
    assert 2e-5 < np.median(displacements) < 5e-4
    np.testing.assert_allclose(mean.columns["mean_square_displacement"], displacements, atol=1e-9)
    q = np.concatenate([p.q() for p in average.patches])
    same = np.concatenate([p.q() for p in innermost_patches(read_atoms("s.xyz"), 12)])
    np.testing.assert_array_equal(q, same)
    expected = direct_structure_factor(q, mean.positions)
    assert np.linalg.norm(omega - expected) < 0.01 * np.linalg.norm(expected)
    spheres = read_mean_scattering("f.npz")
    far = spheres.resolution(mean.positions)
    assert not far.failed
    assert far.phase_error.max() < 0.05
    assert run(["simulate", "s.xyz", "--amplitude", "a.npz", "--flux", "1e19", "-o", "d.h5"]) == 0
    data = read_diffraction("d.h5")
    gain = np.concatenate([g.ravel() for g in data.gain])
    expected = data.meta["scale"] ** 2 * gain * np.abs(omega) ** 2
    counts = np.concatenate([c.ravel() for c in data.counts])
    # Poisson counts of that mean: chi-squared per point is 1.
    bright = expected > 5
    chi = np.mean((counts - expected)[bright] ** 2 / expected[bright])
    assert abs(chi - 1) < 5 * np.sqrt(2 / bright.sum())
    # With diffuse scattering they are of the mean intensity.
    assert (average.intensity > np.abs(omega) ** 2).all()
    command = ["simulate", "s.xyz", "--amplitude", "a.npz", "--diffuse", "--flux", "1e19"]
    assert run([*command, "-o", "e.h5"]) == 0
    seen = read_diffraction("e.h5")
    expected = data.meta["scale"] ** 2 * gain * average.intensity
    counts = np.concatenate([c.ravel() for c in seen.counts])
    bright = expected > 5
    chi = np.mean((counts - expected)[bright] ** 2 / expected[bright])
    assert abs(chi - 1) < 5 * np.sqrt(2 / bright.sum())
    assert seen.meta["diffuse"]
    assert not data.meta["diffuse"]
    assert data.meta["temperature"] == 5
    assert data.meta["dynamics_seed"] == 3


def test_an_amplitude_brings_its_own_patches_and_element(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x = np.arange(12.0).reshape(4, 3)
    write_atoms("s.xyz", Atoms(x, "Al"))
    patches = innermost_patches(Atoms(x, "Al"), 4)
    omega = np.ones(3 * 64, dtype=complex)
    write_mean_amplitude("a.npz", MeanAmplitude(omega, patches, "Cu"))
    start = ["simulate", "s.xyz", "--amplitude", "a.npz", "--flux", "1e19", "-o", "d.h5"]
    assert run(start) == 2
    assert "a.npz: is of Cu, but s.xyz of Al" in capsys.readouterr().err
    assert run([*start, "--points", "5"]) == 2
    assert "--points: is the amplitude's own" in capsys.readouterr().err
    write_mean_amplitude("a.npz", MeanAmplitude(omega[1:], patches, "Al"), force=True)
    assert run(start) == 2
    assert "one finite number for each point" in capsys.readouterr().err
    mean = MeanAmplitude(omega, patches, "Al", intensity=-np.ones(3 * 64))
    write_mean_amplitude("a.npz", mean, force=True)
    assert run(start) == 2
    assert "intensity isn't one number >= 0 for each point" in capsys.readouterr().err
    assert not (tmp_path / "d.h5").exists()


def test_diffuse_scattering_needs_motion(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x = np.arange(12.0).reshape(4, 3)
    write_atoms("s.xyz", Atoms(x, "Al"))
    start = ["simulate", "s.xyz", "--diffuse", "--flux", "1e19", "-o", "d.h5"]
    assert run(start) == 2
    assert "--diffuse: needs --temperature or --amplitude" in capsys.readouterr().err
    # A file of a time before the mean intensity was kept.
    omega = np.ones(3 * 64, dtype=complex)
    write_mean_amplitude("a.npz", MeanAmplitude(omega, innermost_patches(Atoms(x, "Al"), 4), "Al"))
    assert run([*start, "--amplitude", "a.npz"]) == 2
    assert "a.npz: has no mean intensity" in capsys.readouterr().err
    with pytest.raises(InputError, match="needs a temperature"):
        simulate(Atoms(x, "Al"), 1e19, 0, diffuse=True)
    assert not (tmp_path / "d.h5").exists()


def test_counts_are_drawn_from_the_averaged_amplitude(tmp_path, monkeypatch):
    """Another wavelength has another solid angle of a point, and so another scale."""
    monkeypatch.chdir(tmp_path)
    write_atoms("s.xyz", Atoms([[0.0, 0.0, 0.0]], "Al"))
    patches = paper_patches(6)
    size = sum(p.size for p in patches)
    omega = np.linspace(20, 40, size) * np.exp(1j * np.arange(size))
    write_mean_amplitude("a.npz", MeanAmplitude(omega, patches, "Al", {"temperature": 300.0}))
    command = "simulate s.xyz --amplitude a.npz --flux 1e18 --seed 7 --wavelength 1.1"
    assert run([*command.split(), "--form-factor", "constant", "-o", "d.h5"]) == 0
    data = read_diffraction("d.h5")
    assert data.meta["temperature"] == 300.0
    expected = scale_from_flux(1e18, patches, "Al", 1.1) ** 2 * np.abs(omega) ** 2
    drawn = np.concatenate([c.ravel() for c in data.counts])
    chi2 = ((drawn - expected) ** 2 / expected).sum()
    assert abs(chi2 - size) < 5 * np.sqrt(2 * size)
