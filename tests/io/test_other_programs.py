"""What other programs see of the files: silx, OVITO; ASE is in test_atoms.py."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from small_crystal import fcc_ball, simulate

from prammol.diffraction.support import Support
from prammol.io import write_atoms, write_diffraction, write_reconstruction, write_support
from prammol.reconstruction.result import Reconstruction
from prammol.structure import LATTICES, Atoms, crystal_fields

X = fcc_ball(7.0)


def atoms():
    fields, info = crystal_fields(X, LATTICES["fcc"])
    rng = np.random.default_rng(1)
    known = {"energy": rng.random(len(X)), "position_sigma": rng.random((len(X), 3))}
    return Atoms(X, "Al", known | fields, info)


def shown_by_silx(path):
    """What silx draws when it opens a file."""
    nxdata = pytest.importorskip("silx.io.nxdata", reason="silx isn't installed (pip install silx)")
    file = h5py.File(path)
    data = nxdata.get_default(file)
    assert data.is_valid, data.issues
    return data


def test_silx_draws_counts_against_q(tmp_path):
    data = simulate(X, points=10)
    write_diffraction(tmp_path / "d.h5", data)
    shown = shown_by_silx(tmp_path / "d.h5")
    np.testing.assert_array_equal(shown.signal, data.counts[0])
    assert shown.title == "photons"
    patch = data.patches[0]
    for k, (axis, name) in enumerate(zip(shown.axes, shown.axes_names, strict=True)):
        unit = patch.step[k] / np.linalg.norm(patch.step[k])
        index = np.zeros((10, 3), dtype=int)
        index[:, k] = np.arange(10)
        np.testing.assert_allclose(axis, patch.at(index) @ unit, rtol=1e-12)
        assert axis.attrs["units"] == "1/angstrom"
        assert name.startswith("q along")


def test_silx_draws_a_support_in_space(tmp_path):
    inside = np.ones((3, 4, 5), dtype=bool)
    write_support(tmp_path / "u.h5", Support(np.array([1.0, 2.0, 3.0]), np.eye(3) * 5, inside))
    shown = shown_by_silx(tmp_path / "u.h5")
    np.testing.assert_allclose(shown.axes[1], [2, 7, 12, 17])
    assert shown.axes[1].attrs["units"] == "angstrom"


def test_silx_draws_a_slice_through_the_atoms_of_a_result(tmp_path):
    history = [{"iteration": i, "log_likelihood": -1.0 / (i + 1)} for i in range(3)]
    write_reconstruction(tmp_path / "r.h5", Reconstruction(atoms(), 1.0, history))
    shown = shown_by_silx(tmp_path / "r.h5")
    assert shown.signal_name == "energy (eV)"
    assert shown.axes_names == ["x (angstrom)", "y (angstrom)"]
    assert "angstrom" in shown.title


def test_ovito_reads_all_columns(tmp_path):
    pytest.importorskip("ovito", reason="ovito isn't installed (pip install ovito)")
    from ovito.io import import_file

    crystal = atoms()
    write_atoms(tmp_path / "r.xyz", crystal)
    found = import_file(str(tmp_path / "r.xyz")).compute()
    np.testing.assert_allclose(found.particles.positions, X, atol=1e-9)
    for theirs, ours in (
        ("Strain Tensor", "strain"),
        ("displacement", "displacement"),
        ("position_sigma", "position_sigma"),
        ("Centrosymmetry", "centro_symmetry"),
        ("coordination", "coordination"),
        ("Structure Type", "structure_type"),
    ):
        values = np.asarray(found.particles[theirs])
        if theirs == "Strain Tensor":  # xx yy zz xy xz yz, in OVITO, too
            assert found.particles[theirs].component_names == ("XX", "YY", "ZZ", "XY", "XZ", "YZ")
        np.testing.assert_allclose(values, crystal.columns[ours], rtol=1e-6, atol=1e-7)
    assert "displacement angstrom" in found.attributes["units"]
