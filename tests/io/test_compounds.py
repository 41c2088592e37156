"""Files of atoms of several elements, written, read back and read by ASE."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from compounds import coal, coal_ball

from prammol.core.errors import InputError
from prammol.io import read_atoms, read_reconstruction, write_atoms, write_reconstruction
from prammol.io.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from prammol.io.lammps_data import write_lammps_data
from prammol.reconstruction.model import Model, atoms_of
from prammol.reconstruction.result import Reconstruction
from prammol.reconstruction.state import State
from prammol.structure.atoms import Atoms
from prammol.structure.labels import Labels

ATOMS = coal_ball(5.5)


def test_xyz_has_the_elements(tmp_path):
    ase = pytest.importorskip("ase.io")
    write_atoms(
        tmp_path / "a.xyz",
        Atoms(ATOMS.positions, "Al", {**ATOMS.columns, "energy": ATOMS.kinds * 1.5}),
    )
    found = ase.read(tmp_path / "a.xyz")
    assert found.get_chemical_symbols() == ATOMS.symbols.tolist()
    np.testing.assert_allclose(found.positions, ATOMS.positions)
    again = read_atoms(tmp_path / "a.xyz", several=True)
    np.testing.assert_array_equal(again.symbols, ATOMS.symbols)
    np.testing.assert_allclose(again.columns["energy"], ATOMS.kinds * 1.5)
    ase.write(tmp_path / "b.xyz", found)
    assert read_atoms(tmp_path / "b.xyz", several=True).elements == ("Al", "Co")
    with pytest.raises(InputError, match=r"a\.xyz: holds Al, Co, expected atoms of one element"):
        read_atoms(tmp_path / "a.xyz")


def test_lammps_data_have_the_elements(tmp_path):
    ase = pytest.importorskip("ase.io")
    masses = dict(zip(coal().elements, coal().masses, strict=True))
    write_lammps_data(tmp_path / "a.lammps", ATOMS, masses)
    found = ase.read(tmp_path / "a.lammps", format="lammps-data")
    assert found.get_chemical_symbols() == ATOMS.symbols.tolist()
    np.testing.assert_allclose(found.positions, ATOMS.positions, atol=1e-9)
    plain = pytest.importorskip("ase").Atoms(
        ATOMS.symbols.tolist(), ATOMS.positions, cell=[40.0] * 3
    )
    order = {"specorder": ["Co", "Al"], "masses": True}
    ase.write(tmp_path / "b.lammps", plain, format="lammps-data", **order)
    for name in ("a.lammps", "b.lammps"):
        again = read_atoms(tmp_path / name, several=True)
        np.testing.assert_array_equal(again.symbols, ATOMS.symbols)
    with pytest.raises(InputError, match="no mass of Co is known"):
        write_lammps_data(tmp_path / "c.lammps", ATOMS, {"Al": 27.0})


def test_results_have_the_elements(tmp_path):
    result = Reconstruction(ATOMS, 1.5, [{"iteration": 0, "log_likelihood": 1.0}])
    write_reconstruction(tmp_path / "r.h5", result)
    found = read_reconstruction(tmp_path / "r.h5").atoms
    np.testing.assert_array_equal(found.symbols, ATOMS.symbols)
    assert (found.element, found.elements) == ("Al", ("Al", "Co"))


def test_checkpoints_have_the_elements(tmp_path):
    cell, motif = np.eye(3) * 2.9, np.array([[0.0, 0, 0], [1.4, 1.4, 1.4]])
    labels = Labels(ATOMS.positions, ATOMS.kinds, np.array([0, 1]), cell, motif)
    labels = labels.with_kinds(ATOMS.positions[:2], 1 - ATOMS.kinds[:2])
    model = Model(ATOMS.positions + 0.1, 1.5, labels=labels)
    saved = Checkpoint(State(model), [{"iteration": 0}], {"seed": "1"})
    write_checkpoint(tmp_path / "c.h5", saved)
    found = read_checkpoint(tmp_path / "c.h5").state.model
    expected = atoms_of(coal(), model).symbols
    np.testing.assert_array_equal(atoms_of(coal(), found).symbols, expected)
    assert (expected != ATOMS.symbols).sum() == 2
    for name in ("positions", "members", "kinds", "cell", "motif", "odd", "odd_kinds"):
        np.testing.assert_array_equal(getattr(found.labels, name), getattr(labels, name))
    write_checkpoint(tmp_path / "d.h5", replace(saved, state=State(replace(model, labels=None))))
    assert read_checkpoint(tmp_path / "d.h5").state.model.labels is None
    broken = replace(labels, members=labels.members + 1)
    write_checkpoint(tmp_path / "e.h5", replace(saved, state=State(replace(model, labels=broken))))
    with pytest.raises(InputError, match="sites have elements that it doesn't count"):
        read_checkpoint(tmp_path / "e.h5")
