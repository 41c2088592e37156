"""Where an earlier state is read from: results and files of atoms; what a run then depends on."""

from __future__ import annotations

from hashlib import sha256

import gemmi
import numpy as np
import pytest
from small_crystal import box, fcc_ball, simulate

from prammol.core.errors import InputError
from prammol.io import write_atoms, write_lammps_data, write_reconstruction
from prammol.io.earlier_state import read_earlier_state
from prammol.io.run_identity import identity, require_same
from prammol.potentials.potential import aluminium
from prammol.reconstruction.earlier_state import EarlierState
from prammol.reconstruction.presets import get_preset
from prammol.reconstruction.result import Reconstruction
from prammol.structure.atoms import Atoms

X = fcc_ball(8.0)
SURE = np.linspace(0.6, 1.0, len(X))


def as_xyz(path):
    write_atoms(path, Atoms(X, "Al"))


def as_lammps(path):
    write_lammps_data(path, Atoms(X, "Al"), {"Al": 26.98})


def as_cif(path):
    lines = ["data_ball", *(f"_cell_length_{a} 50" for a in "abc")]
    lines += [f"_cell_angle_{a} 90" for a in ("alpha", "beta", "gamma")]
    lines += ["loop_", "_atom_site_label", "_atom_site_type_symbol"]
    lines += [f"_atom_site_fract_{a}" for a in "xyz"]
    lines += [f"Al{k} Al {a:.8f} {b:.8f} {c:.8f}" for k, (a, b, c) in enumerate(X / 50 + 0.5)]
    path.write_text("\n".join(lines) + "\n")
    assert len(gemmi.read_small_structure(str(path)).sites) == len(X)


@pytest.mark.parametrize(
    ("name", "write"), [("a.xyz", as_xyz), ("a.lammps", as_lammps), ("a.cif", as_cif)]
)
def test_atoms_of_any_file_are_sure(tmp_path, name, write):
    path = tmp_path / name
    write(path)
    before = read_earlier_state(path, aluminium())
    found = before.atoms.positions - before.atoms.positions.mean(axis=0)
    assert np.abs(found - (X - X.mean(axis=0))).max() < 1e-5
    assert (EarlierState.of(before.atoms, before.vacant).confidence == 1).all()
    assert before.origin["sha256"] == sha256(path.read_bytes()).hexdigest()


def test_a_result_tells_how_sure_it_was_also_of_vacant_sites(tmp_path):
    columns = {"occupancy_confidence": np.array([0.2, 0.01])}
    vacant = Atoms(X[:2] + 30.0, "Al", {**columns, "earlier_confidence": np.zeros(2)})
    atoms = Atoms(X, "Al", {"occupancy_confidence": SURE})
    write_reconstruction(tmp_path / "r.h5", Reconstruction(atoms, 1.0, vacant=vacant), {})
    before = read_earlier_state(tmp_path / "r.h5", aluminium())
    assert np.array_equal(before.atoms.columns["occupancy_confidence"], SURE)
    assert np.array_equal(before.vacant.positions, vacant.positions)
    assert np.array_equal(before.vacant.columns["occupancy_confidence"], [0.2, 0.01])
    assert before.origin["converged"] is False


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.cif", "data_x\n", "a.cif: has 0 blocks with atoms"),
        ("a.cif", "nonsense", "a.cif: can't be read as CIF"),
        ("a.xyz", "1\n\nAl 0 0 0\n", "a.xyz: the earlier state has 1 atoms, expected at least 20"),
    ],
)
def test_what_is_no_state_is_refused_by_name(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words):
        read_earlier_state(tmp_path / name, aluminium())


def test_a_run_from_another_state_is_another_run():
    data, preset = simulate(X, points=8), get_preset("default")
    runs = [
        identity(data, box(20.0), aluminium(), preset, 1, initial)
        for initial in (None, EarlierState.of(Atoms(X, "Al")), EarlierState.of(Atoms(X[1:], "Al")))
    ]
    assert len({run["initial"] for run in runs}) == 3
    with pytest.raises(InputError, match="another initial state, it can't be continued"):
        require_same("r.checkpoint.h5", runs[0], runs[1])
