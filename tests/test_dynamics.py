"""The module that workflow jobs run for each temperature."""

import json

import numpy as np
from small_crystal import relaxed_ball

from prammol.cli import dynamics
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.io import read_atoms, write_atoms
from prammol.io.mean_scattering import read_mean_scattering
from prammol.simulation.averages import innermost_patches
from prammol.structure.atoms import Atoms


def test_a_short_trajectory(tmp_path, monkeypatch):
    """So cold that the mean of the scattering is the scattering of the mean, nearly."""
    x = relaxed_ball(8.5)
    write_atoms(tmp_path / "s.xyz", Atoms(x, "Al"))
    monkeypatch.chdir(tmp_path)
    numbers = ["--temperature", "5", "--seed", "3", "--points", "12", "--equilibrate", "100"]
    numbers += ["--timestep", "1"]
    dynamics.main(
        ["s.xyz", *numbers, "--steps", "400", "--every", "20", "-o", "a.npz", "--mean", "m.xyz"]
        + ["--scattering", "f.npz"]
    )
    with np.load("a.npz") as kept:
        omega, meta = kept["omega"], json.loads(str(kept["meta"]))
        displacements = kept["displacements"]
    mean = read_atoms("m.xyz")
    assert meta["snapshots"] == 20
    away = np.linalg.norm(mean.positions - x, axis=1)
    assert 0 < away.mean() < 0.05
    # k T over a force constant of some eV/Å^2
    assert 2e-5 < np.median(displacements) < 5e-4
    np.testing.assert_allclose(mean.columns["mean_square_displacement"], displacements, atol=1e-9)
    q = np.concatenate([p.q() for p in innermost_patches(read_atoms("s.xyz"), 12)])
    expected = direct_structure_factor(q, mean.positions)
    assert np.linalg.norm(omega - expected) < 0.01 * np.linalg.norm(expected)
    spheres = read_mean_scattering("f.npz")
    far = spheres.resolution(mean.positions)
    assert not far.failed
    assert far.phase_error.max() < 0.05
