"""Atoms in files: round trips, other programs as readers, and bad input in one sentence."""

from __future__ import annotations

import ase.data
import ase.io
import numpy as np
import pytest

from prammol.core.errors import InputError
from prammol.io import (
    read_atoms,
    write_atoms,
    write_lammps_data,
)
from prammol.structure.atoms import Atoms

N = 37


def test_atoms_are_read_as_written(tmp_path, atoms):
    write_atoms(tmp_path / "a.xyz", atoms)
    back = read_atoms(tmp_path / "a.xyz")
    assert back.element == "Al"
    np.testing.assert_allclose(back.positions, atoms.positions, atol=1e-10)
    assert list(back.columns) == list(atoms.columns)
    for name, values in atoms.columns.items():
        assert back.columns[name].dtype.kind == values.dtype.kind
        if values.dtype.kind == "f":
            np.testing.assert_allclose(back.columns[name], values, rtol=1e-9)
        else:
            np.testing.assert_array_equal(back.columns[name], values)
    assert dict(back.info) == dict(atoms.info)


def test_ase_reads_our_xyz(tmp_path, atoms):
    write_atoms(tmp_path / "a.xyz", atoms)
    theirs = ase.io.read(tmp_path / "a.xyz")
    np.testing.assert_allclose(theirs.positions, atoms.positions, atol=1e-10)
    assert set(theirs.get_chemical_symbols()) == {"Al"}
    assert not theirs.pbc.any()
    np.testing.assert_array_equal(theirs.arrays["truth_index"], np.arange(N))
    np.testing.assert_allclose(theirs.arrays["error"], atoms.columns["error"], rtol=1e-9)
    np.testing.assert_array_equal(theirs.arrays["surface"], atoms.columns["surface"])
    assert theirs.info["potential"] == "Al99.eam.alloy"
    assert theirs.info["note"] == atoms.info["note"]


def test_ase_finds_energies_and_units(tmp_path, atoms):
    energy = atoms.columns["energy"]
    columns = {"energy": energy, "position_sigma": atoms.columns["error"]}
    write_atoms(tmp_path / "a.xyz", Atoms(atoms.positions, "Al", columns))
    theirs = ase.io.read(tmp_path / "a.xyz")
    np.testing.assert_allclose(theirs.get_potential_energies(), energy, rtol=1e-9)
    assert theirs.get_potential_energy() == pytest.approx(energy.sum(), rel=1e-9)
    assert theirs.info["units"] == "pos angstrom, energies eV, position_sigma angstrom"
    back = read_atoms(tmp_path / "a.xyz")
    assert "units" not in back.info
    assert list(back.columns) == ["energy", "position_sigma"]


def test_we_read_ase_xyz_and_plain_xyz(tmp_path, atoms):
    theirs = ase.Atoms("Al4", positions=atoms.positions[:4], cell=[9, 9, 9], pbc=True)
    theirs.arrays["q"] = np.arange(4.0)
    for name in ("extxyz", "xyz"):
        ase.io.write(tmp_path / f"{name}.xyz", theirs, format=name)
        back = read_atoms(tmp_path / f"{name}.xyz")
        np.testing.assert_allclose(back.positions, theirs.positions, atol=1e-7)
    np.testing.assert_allclose(read_atoms(tmp_path / "extxyz.xyz").columns["q"], np.arange(4))


def test_ase_reads_our_lammps_data(tmp_path, atoms):
    mass = ase.data.atomic_masses[13]
    write_lammps_data(tmp_path / "a.data", atoms, mass)
    theirs = ase.io.read(tmp_path / "a.data", format="lammps-data", atom_style="atomic")
    low = atoms.positions.min(axis=0) - 10
    shift = theirs.positions - atoms.positions  # ASE may put the corner at zero
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=1e-6)
    assert np.allclose(shift[0], 0, atol=1e-6) or np.allclose(shift[0], -low, atol=1e-5)
    assert set(theirs.get_chemical_symbols()) == {"Al"}
    np.testing.assert_allclose(
        theirs.cell.lengths(), np.ptp(atoms.positions, axis=0) + 20, atol=1e-5
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "number of atoms"),
        ("nonsense\n", "number of atoms"),
        ("-4\n\n", "promises -4"),
        ("999999999999\n\n", "promises"),
        ("3\n\nAl 0 0 0\n", "ends after 1 atoms"),
        ("1\n\nAl 0 0\n", "line 3 has 3 values, expected 4"),
        ("1\n\nAl 0 0 zero\n", "column pos"),
        ("1\n\nAl 0 0 nan\n", "finite"),
        ("2\n\nAl 0 0 0\nCu 1 1 1\n", "Al, Cu"),
        ("1\nProperties=pos:R:3\n0 0 0\n", "no species"),
        ("1\nProperties=species:S\nAl\n", "Properties"),
    ],
)
def test_bad_xyz_is_one_sentence(tmp_path, text, expected):
    path = tmp_path / "bad.xyz"
    path.write_text(text)
    with pytest.raises(InputError, match=expected) as caught:
        read_atoms(path)
    assert "bad.xyz" in str(caught.value)


def test_xyz_that_is_not_text_or_not_there(tmp_path):
    (tmp_path / "b.xyz").write_bytes(b"\xff\xfe\x00\x89HDF")
    with pytest.raises(InputError, match=r"b\.xyz.*XYZ"):
        read_atoms(tmp_path / "b.xyz")
    with pytest.raises(InputError, match="no such file"):
        read_atoms(tmp_path / "c.xyz")
    with pytest.raises(InputError, match="can't be read"):
        read_atoms(tmp_path)
