"""Structures and atoms from files, by the command line."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
from ase.build import bulk

from prammol.io import read_atoms

SALT = ("--pair-style", "eim", "--pair-coeff", "* * Na Cl ffield.eim Na Cl")


@pytest.fixture
def files(tmp_path):
    """Structures that are known, as others write them, and some that aren't."""
    ase.io.write(tmp_path / "al.cif", bulk("Al") * (2, 1, 1))
    ase.io.write(tmp_path / "salt.cif", bulk("NaCl", "rocksalt", a=5.64))
    ase.io.write(tmp_path / "POSCAR", bulk("NaCl", "rocksalt", a=5.64, cubic=True), format="vasp")
    ase.io.write(tmp_path / "wide.cif", bulk("NaCl", "rocksalt", a=6.1))
    ase.io.write(tmp_path / "fluorite.cif", bulk("CaF2", "fluorite", a=5.46))
    text = (tmp_path / "salt.cif").read_text()
    (tmp_path / "part.cif").write_text(text.replace(" 1.0000\n", " 0.5000\n"))
    (tmp_path / "broken.cif").write_text(text[: len(text) // 2])
    (tmp_path / "notes.txt").write_text("Na and Cl\n")
    return tmp_path


def test_a_crystal_of_a_file(prammol_here, files):
    for name, structure in (("salt.cif", "salt.cif"), ("POSCAR", "POSCAR"), ("rs", "rocksalt")):
        formula = ("--element", "NaCl") if name == "rs" else ()
        potential = (*SALT, *formula, "--structure", structure, "--lattice-constant", 5.63)
        done = prammol_here(
            "crystal", "bulk", "--atoms", 60, "--no-relax", *potential, "-o", f"{name}.xyz"
        )
        assert (done.returncode, done.stderr) == (0, "")
    one, two, three = (read_atoms(files / f"{n}.xyz", True) for n in ("salt.cif", "POSCAR", "rs"))
    for found in (two, three):
        np.testing.assert_array_equal(found.positions, one.positions)
        np.testing.assert_array_equal(found.symbols, one.symbols)
    assert one.info["structure"] == "rocksalt"
    # Where the peaks are is in the file, too, for one whose crystal comes from elsewhere.
    done = prammol_here("export", "salt.cif.xyz", "-o", "bare.cif")
    assert done.returncode == 0
    simulated = ("--flux", "1e18", "--points", 6, "--structure", "salt.cif", "-o", "d.h5")
    done = prammol_here("simulate", "bare.cif", *simulated)
    assert (done.returncode, done.stderr) == (0, "")


def test_aluminium_of_a_file_is_the_papers(prammol_here, files):
    for options in ((), ("--structure", "al.cif")):
        name = "b.xyz" if options else "a.xyz"
        done = prammol_here("crystal", "bulk", "--atoms", 50, "--no-relax", *options, "-o", name)
        assert (done.returncode, done.stderr) == (0, "")
    assert (files / "a.xyz").read_bytes() == (files / "b.xyz").read_bytes()


def test_other_lattice_constants_are_said(prammol_here, files):
    made = ("crystal", "bulk", "--atoms", 40, "--no-relax", *SALT, "-o", "s.xyz")
    done = prammol_here(*made, "--structure", "wide.cif")
    assert done.returncode == 0
    assert "wide.cif: its cell is 6.1 6.1 6.1 Å, at rest the potential's is 5.631" in done.stderr
    assert read_atoms(files / "s.xyz", True).info["lattice_constant"] == pytest.approx(5.63095)


@pytest.mark.parametrize(
    ("structure", "text"),
    [
        ("fluorite.cif", "fluorite.cif: is F2Ca with 3 atoms in a primitive cell, which have diff"),
        ("part.cif", "part.cif: site Na1 has an occupancy of 0.5, expected 1"),
        ("broken.cif", "broken.cif: can't be read as CIF"),
        ("notes.txt", "notes.txt: expected a file with a unit cell: .cif, .vasp"),
        ("rutile", "--structure: 'rutile' is neither a file nor one of fcc, bcc"),
        ("salt.cif", "the structure is of NaCl, but the crystal is KCl"),
    ],
)
def test_a_structure_that_cant_be_had_is_one_sentence(prammol_here, files, structure, text):
    element = ("--element", "KCl") if structure == "salt.cif" else ()
    done = prammol_here(
        "crystal", "bulk", "--atoms", 40, *SALT, *element, "--structure", structure, "-o", "x.xyz"
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert text in done.stderr
    assert not (files / "x.xyz").exists()


def test_export_converts_both_ways(prammol_here, files):
    rows = "".join(f"{i} {1 + i % 2} {3 * (i // 4)} {3 * (i % 4)} 0\n" for i in range(16))
    (files / "s.dump").write_text(
        "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n16\nITEM: BOX BOUNDS ff ff ff\n"
        f"0 20\n0 20\n0 20\nITEM: ATOMS id type x y z\n{rows}"
    )
    done = prammol_here("export", "s.dump", "-o", "s.xyz")
    assert done.returncode == 2
    assert "has numbers of types, not elements; name them by prammol export s.dump" in done.stderr
    for before, after in (("s.dump", "s.xyz"), ("s.xyz", "s.vasp"), ("s.vasp", "back.dump")):
        elements = ("--elements", "Al,Ni") if before == "s.dump" else ()
        done = prammol_here("export", before, *elements, "-o", after)
        assert (done.returncode, done.stderr) == (0, "")
    found = ase.io.read(files / "back.dump", format="lammps-dump-text")
    assert sorted(found.get_chemical_symbols()) == ["Al"] * 8 + ["Ni"] * 8
    done = prammol_here("export", "s.xyz", "-o", "s.pdf")
    assert done.returncode == 2
    assert "s.pdf: can't write .pdf, expected .vtp, .vti, .lammpstrj" in done.stderr
    done = prammol_here("export", "s.xyz", "--frame", 2, "-o", "t.xyz")
    assert "s.xyz: has 1 frames, expected at least 2" in done.stderr
