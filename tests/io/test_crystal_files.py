"""CIF, POSCAR and LAMMPS dumps beside ASE, both ways."""

from __future__ import annotations

import bz2
import gzip
import lzma

import ase
import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.spacegroup import crystal
from atoms_alike import content, require_alike

from prammol.core.errors import InputError
from prammol.io import read_atoms
from prammol.io.converted import ENDINGS, write_as
from prammol.io.crystal_files import read_unit_cell
from prammol.structure.atoms import Atoms

ASE_FORMAT = {
    ".cif": "cif", ".vasp": "vasp", ".xyz": "extxyz", ".extxyz": "extxyz",
    ".dump": "lammps-dump-text", ".lammpstrj": "lammps-dump-text",
}  # fmt: skip


@pytest.fixture
def cluster():
    """A small crystal of two elements, cut off, its atoms in no order."""
    theirs = bulk("NiAl", "cesiumchloride", a=2.88, cubic=True) * (4, 4, 5)
    keep = np.linalg.norm(theirs.positions - theirs.positions.mean(axis=0), axis=1) < 5.5
    theirs = theirs[np.random.default_rng(3).permutation(np.flatnonzero(keep))]
    rng = np.random.default_rng(1)
    theirs.positions += 0.1 * rng.normal(size=theirs.positions.shape)
    return theirs


def ours(theirs: ase.Atoms) -> Atoms:
    return Atoms.of_elements(theirs.positions, np.array(theirs.get_chemical_symbols()))


@pytest.mark.parametrize("end", [*ENDINGS, "POSCAR"])
def test_what_is_written_is_read_by_ase_and_here(tmp_path, cluster, end):
    path = tmp_path / (end if end == "POSCAR" else f"a{end}")
    write_as(path, ours(cluster))
    expected = cluster.get_chemical_symbols(), cluster.positions
    require_alike(content(read_atoms(path, several=True)), expected)
    if end in (".lammps", ".data"):
        theirs = ase.io.read(path, format="lammps-data")
    else:
        theirs = ase.io.read(path, format=ASE_FORMAT.get(end, "vasp"))
    require_alike((theirs.get_chemical_symbols(), theirs.positions), expected)
    # To all digits, in the order of the file.
    mine = read_atoms(path, several=True)
    gap = mine.positions - mine.positions[0]
    np.testing.assert_allclose(gap, theirs.positions - theirs.positions[0], atol=2e-8)


@pytest.mark.parametrize("cell", [np.diag([31.0, 30, 29]), [[31, 0, 0], [6, 30, 0], [-7, 5, 29]]])
@pytest.mark.parametrize("name", ["s.cif", "POSCAR", "CONTCAR.1", "s.vasp", "s.xsf", "s.gen"])
def test_a_cluster_of_ase_cut_by_its_box_is_put_together(tmp_path, cluster, name, cell):
    expected = cluster.get_chemical_symbols(), cluster.positions.copy()
    cluster.set_cell(cell)
    cluster.pbc = True
    cluster.wrap()
    kind = "vasp" if "CAR" in name else None
    ase.io.write(tmp_path / name, cluster, **({"format": kind} if kind else {}))
    require_alike(content(read_atoms(tmp_path / name, several=True)), expected, atol=1e-2)


@pytest.mark.parametrize(
    ("pack", "end"), [(gzip.compress, ".gz"), (bz2.compress, ".bz2"), (lzma.compress, ".xz")]
)
@pytest.mark.parametrize("name", ["a.xyz", "a.cif", "POSCAR", "a.dump", "a.data"])
def test_packed_files_are_unpacked(tmp_path, cluster, name, pack, end):
    plain = tmp_path / name
    write_as(plain, ours(cluster))
    packed = tmp_path / (name + end)
    packed.write_bytes(pack(plain.read_bytes()))
    one, two = (read_atoms(path, several=True) for path in (plain, packed))
    np.testing.assert_array_equal(one.positions, two.positions)
    np.testing.assert_array_equal(one.symbols, two.symbols)
    packed.write_bytes(pack(plain.read_bytes())[:-15])
    with pytest.raises(InputError, match=f"{name}{end}: can't be read"):
        read_atoms(packed, several=True)


@pytest.mark.parametrize(
    "theirs",
    [
        bulk("NaCl", "rocksalt", a=5.64),
        crystal(["Na", "Cl"], [(0, 0, 0), (0.5, 0.5, 0.5)], spacegroup=225,
                cellpar=[5.64, 5.64, 5.64, 90, 90, 90]),
        crystal(["Ga", "N"], [(1 / 3, 2 / 3, 0), (1 / 3, 2 / 3, 0.376)], spacegroup=186,
                cellpar=[3.19, 3.19, 5.19, 90, 90, 120]),
        crystal(["Ti", "O"], [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136,
                cellpar=[4.59, 4.59, 2.96, 90, 90, 90]),
        crystal("Bi", [(0, 0, 0.234)], spacegroup=166, cellpar=[4.55, 4.55, 11.86, 90, 90, 120]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["s.cif", "s.vasp", "s.xyz", "s.gen"])
def test_the_cell_of_a_file_is_that_which_ase_wrote(tmp_path, theirs, name):
    ase.io.write(tmp_path / name, theirs)
    found = read_unit_cell(tmp_path / name)
    np.testing.assert_allclose(
        found.vectors @ found.vectors.T, theirs.cell.array @ theirs.cell.array.T, atol=1e-4
    )
    expected = theirs.get_scaled_positions() % 1
    for symbol in set(theirs.get_chemical_symbols()):
        a = found.sites[found.symbols == symbol]
        b = expected[np.array(theirs.get_chemical_symbols()) == symbol]
        gap = a[:, None] - b
        gap = np.abs(gap - np.rint(gap)).max(axis=2)
        assert len(a) == len(b)
        assert gap.min(axis=0).max() < 1e-4


CIF = """data_x
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Na1 Na1+ 0 0 0 1
Cl1 Cl1- 0.5 0.5 0.5 1
"""


def test_the_symmetry_of_a_cif_is_that_of_ase(tmp_path):
    """Named by a group: eight atoms. A number alone doesn't tell origin and axes."""
    (tmp_path / "s.cif").write_text(CIF)
    found, theirs = read_unit_cell(tmp_path / "s.cif"), ase.io.read(tmp_path / "s.cif")
    assert found.formula == {"Na": 4, "Cl": 4}
    gap = found.sites[:, None] - theirs.get_scaled_positions()
    gap = np.abs(gap - np.rint(gap)).max(axis=2)
    np.testing.assert_allclose(gap.min(axis=0), 0, atol=1e-9)
    assert found.symbols[gap.argmin(axis=0)].tolist() == theirs.get_chemical_symbols()
    named = "_space_group_name_H-M_alt 'F m -3 m'"
    (tmp_path / "s.cif").write_text(CIF.replace(named, "_space_group_IT_number 225"))
    with pytest.raises(InputError, match="isn't known, expected its symmetry operations"):
        read_unit_cell(tmp_path / "s.cif")


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("0.5 0.5 0.5 1", "0.5 0.5 0.5 0.7", "site Cl1 has an occupancy of 0.7, expected 1"),
        ("0.5 0.5 0.5 1", "0.01 0 0 1", "atoms . and . of its cell are 0.0"),
        ("Cl1 Cl1-", "Q1 Q", "site Q1 has no element"),
        ("0.5 0.5 0.5 1", "? ? ? 1", "site Cl1 has no element or no position"),
        ("'F m -3 m'", "'F m 17'", "its space group .* isn't known"),
        ("_cell_length_a 5.64", "_cell_length_a 0", "has no cell|aren't finite"),
        ("_cell_angle_alpha 90", "_cell_angle_alpha 0", "Impossible angle"),
        ("data_x", "data_x\n_a", "can't be read as CIF"),
        ("_atom_site_fract_z", "_atom_site_z", "_atom_site_fract_z isn't that of a crystal"),
        ("_cell_length_c", "_cell_length_d", "_cell_length_c isn't that of a crystal"),
        ("Na1 Na1+ 0 0 0 1\nCl1 Cl1- 0.5 0.5 0.5 1", "", "0 blocks with atoms|as CIF"),
    ],
)
def test_a_cif_that_is_wrong_is_refused_in_a_sentence(tmp_path, old, new, text):
    assert old in CIF
    (tmp_path / "s.cif").write_text(CIF.replace(old, new))
    with pytest.raises(InputError, match=text) as raised:
        read_unit_cell(tmp_path / "s.cif")
    assert str(raised.value).startswith(str(tmp_path / "s.cif"))
    assert "\n" not in str(raised.value)


def test_a_site_that_is_there_twice_is_refused(tmp_path):
    """As in a cell that has the atoms at 0 and those at 1."""
    theirs = ase.Atoms("Al3", positions=[[0, 0, 0], [3, 0, 0], [20, 0, 0]], cell=[20, 20, 20])
    for name in ("s.cif", "s.vasp"):
        ase.io.write(tmp_path / name, theirs, **({"wrap": False} if name == "s.cif" else {}))
        with pytest.raises(InputError, match=r"are less than 0.5 Å apart, expected each site"):
            read_atoms(tmp_path / name)


def test_a_crystal_that_fills_its_box_is_refused(tmp_path):
    for name in ("s.cif", "s.vasp"):
        ase.io.write(tmp_path / name, bulk("Al", cubic=True) * (3, 3, 3))
        with pytest.raises(InputError, match="fills its periodic box"):
            read_atoms(tmp_path / name)


POSCAR = "x\n1.0\n20 0 0\n0 20 0\n0 0 20\nAl Ni\n1 1\nDirect\n0 0 0\n0.1 0 0\n"


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("Al Ni\n", "", "line 6 isn't the elements"),
        ("Al Ni\n", "A B\n", "line 6 isn't the elements"),
        ("1 1\n", "1 999999999\n", "line 7 isn't the number of atoms"),
        ("1 1\n", "1\n", "line 7 isn't the number of atoms"),
        ("0.1 0 0\n", "", "line 7|can't be read as vasp"),
        ("0.1 0 0", "x 0 0", "can't be read as vasp"),
        ("0 20 0", "nan 20 0", "aren't finite|can't be read"),
        ("0 20 0", "20 0 0", "Singular matrix"),
    ],
)
def test_a_poscar_that_is_wrong_is_refused_in_a_sentence(tmp_path, old, new, text):
    (tmp_path / "POSCAR").write_text(POSCAR)
    assert read_atoms(tmp_path / "POSCAR", several=True).elements == ("Al", "Ni")
    (tmp_path / "POSCAR").write_text(POSCAR.replace(old, new))
    with pytest.raises(InputError, match=text):
        read_atoms(tmp_path / "POSCAR", several=True)
