"""Atoms as other programs and people write them."""

from __future__ import annotations

import ase
import ase.io
import numpy as np
import pytest
from small_crystal import fcc_ball

from prammol.core.errors import InputError
from prammol.io import read_atoms, write_atoms, write_lammps_data
from prammol.io.trajectory import read_trajectory
from prammol.potentials.lammps import Cluster
from prammol.potentials.lammps_process import start_lammps
from prammol.potentials.potential import aluminium
from prammol.structure.atoms import Atoms
from prammol.structure.periodic_box import in_one_piece


def same_shape(found, expected, atol=1e-6):
    """Whether positions agree but for a translation of all."""
    np.testing.assert_allclose(
        found - found.mean(axis=0), expected - expected.mean(axis=0), atol=atol
    )


@pytest.fixture
def ball():
    """A small crystal, its centre at 0."""
    x = fcc_ball(9.0)
    return x - x.mean(axis=0)


@pytest.mark.parametrize("cell", [np.diag([40.0, 30, 35]), [[40, 0, 0], [9, 35, 0], [-8, 5, 33]]])
@pytest.mark.parametrize("place", [(0, 0, 0), (20, 15, 3), (39, 1, 34), (200, -70, 5)])
def test_a_cluster_cut_by_a_periodic_box_is_put_together(tmp_path, ball, cell, place):
    theirs = ase.Atoms(f"Al{len(ball)}", positions=ball + place, cell=cell, pbc=True)
    theirs.wrap()
    ase.io.write(tmp_path / "s.xyz", theirs, format="extxyz")
    ase.io.write(tmp_path / "s.data", theirs, format="lammps-data", masses=True)
    same_shape(read_atoms(tmp_path / "s.xyz").positions, ball)
    turned = read_atoms(tmp_path / "s.data").positions  # the program turns the box
    distances = [np.linalg.norm(x[:, None] - x, axis=2) for x in (turned, ball)]
    np.testing.assert_allclose(*distances, atol=1e-5)


def test_what_a_box_doesnt_cut_stays_where_it_is(tmp_path, ball):
    for place, flags in (((20, 20, 20), "T T T"), ((0, 0, 0), "F F F"), ((70, 0, 0), "F T T")):
        x = ball + place
        x[:, 1:] += 20
        theirs = ase.Atoms(
            f"Al{len(x)}", positions=x, cell=[40, 41, 42], pbc=[f == "T" for f in flags.split()]
        )
        ase.io.write(tmp_path / "s.xyz", theirs, format="extxyz")
        np.testing.assert_allclose(read_atoms(tmp_path / "s.xyz").positions, x, atol=1e-7)
    long = np.arange(30.0)[:, None] * [3.0, 0, 0]  # longer than its box, so never cut
    assert in_one_piece(long, 20 * np.eye(3), np.ones(3, bool)) is long


def test_a_crystal_without_a_surface_is_refused(tmp_path):
    from ase.build import bulk

    theirs = bulk("Al", cubic=True) * (3, 3, 3)
    for pbc, edge in (([True] * 3, 1), ([False, True, False], 2)):
        theirs.pbc = pbc
        ase.io.write(tmp_path / "s.xyz", theirs, format="extxyz")
        with pytest.raises(InputError, match=f"fills its periodic box along edge {edge}"):
            read_atoms(tmp_path / "s.xyz")
    theirs.pbc = False
    ase.io.write(tmp_path / "s.xyz", theirs, format="extxyz")
    assert len(read_atoms(tmp_path / "s.xyz")) == len(theirs)


@pytest.mark.parametrize(
    ("lattice", "text"),
    [("1 0 0 0 1 0 0 0", "aren't a periodic box"), ("5 0 0 5 0 0 0 0 5", "its box has no volume")],
)
def test_a_box_that_is_none_is_refused(tmp_path, lattice, text):
    path = tmp_path / "s.xyz"
    path.write_text(f'1\nLattice="{lattice}" pbc="T T T"\nAl 0 0 0\n')
    with pytest.raises(InputError, match=text):
        read_atoms(path)


@pytest.mark.parametrize("symbol", ["Al", "al", "AL", "aL"])
def test_the_case_of_a_symbol_is_no_matter(tmp_path, symbol):
    path = tmp_path / "s.xyz"
    path.write_text(f"2\n\nAl 0 0 0\n{symbol} 0 0 3\n")
    assert read_atoms(path).element == "Al"


@pytest.mark.parametrize("symbol", ["1", "13", "Al1", "Aluminium", "Ä"])
def test_what_is_no_symbol_is_named_with_what_to_do(tmp_path, symbol):
    path = tmp_path / "s.xyz"
    path.write_text(f"1\n\n{symbol} 0 0 0\n", encoding="utf-8")
    with pytest.raises(InputError, match=f"'{symbol}' isn't a chemical symbol.*dump_modify"):
        read_atoms(path)


@pytest.mark.parametrize("quote", ['"', "'"])
def test_a_byte_order_mark_and_either_quotes_are_read(tmp_path, quote):
    path = tmp_path / "s.xyz"
    comment = "Properties=@pos:R:3:species:S:1@ note=@it's@ pbc=@F F F@".replace("@", quote)
    comment = comment.replace("it's", "a b = c")
    path.write_text(f"1\n{comment}\n1 2 3 Al\n", encoding="utf-8-sig")
    for found in (read_atoms(path), *read_trajectory(path)):
        np.testing.assert_array_equal(found.positions, [[1, 2, 3]])
        assert found.info == {"note": "a b = c"}


def test_ase_finds_our_energies(tmp_path, ball):
    energy = np.linspace(-3.4, -2.9, len(ball))
    write_atoms(tmp_path / "r.xyz", Atoms(ball, "Al", {"energy": energy}))
    theirs = ase.io.read(tmp_path / "r.xyz")
    assert theirs.get_potential_energy() == pytest.approx(energy.sum())
    np.testing.assert_allclose(theirs.get_potential_energies(), energy, rtol=1e-9)
    ase.io.write(tmp_path / "back.xyz", theirs, format="extxyz")
    for name in ("r.xyz", "back.xyz"):
        found = read_atoms(tmp_path / name)
        np.testing.assert_allclose(found.columns["energy"], energy, atol=1e-7)
        assert found.info["energy"] == pytest.approx(energy.sum())


@pytest.mark.parametrize(
    ("begin", "kind"),
    [
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"PK\x03\x04", "a zip or npz file"),
        (b"\x93NUMPY", "npy"),
        (b"\xff\xfe", "UTF-16"),
    ],
)
def test_files_of_another_kind_are_called_what_they_are(tmp_path, begin, kind):
    (tmp_path / "s").write_bytes(begin + bytes(range(256)))
    with pytest.raises(InputError, match=f"s: this is {kind}, expected atoms as XYZ"):
        read_atoms(tmp_path / "s")


def test_our_own_lammps_data_are_read_as_written(tmp_path, ball):
    write_lammps_data(tmp_path / "r.lammps", Atoms(ball, "Al"), 26.98)
    found = read_atoms(tmp_path / "r.lammps")
    assert found.element == "Al"
    np.testing.assert_allclose(found.positions, ball, atol=1e-9)


def test_data_of_a_cluster_that_lammps_moved_across_its_box(tmp_path, ball):
    """Image flags tell how often an atom has crossed a border."""
    write_lammps_data(tmp_path / "in.data", Atoms(ball, "Al"), 26.98)
    lmp = start_lammps(None)
    for command in (
        "units metal", "atom_style atomic", f"read_data {tmp_path / 'in.data'}",
        "pair_style zero 5.0", "pair_coeff * *",
        "displace_atoms all move 15 200 -7 units box", "run 0",
        f"write_data {tmp_path / 'out.data'}",
    ):  # fmt: skip
        lmp.command(command)
    lmp.close()
    found = read_atoms(tmp_path / "out.data")
    assert found.element == "Al"
    order = np.lexsort(np.round(found.positions - found.positions.mean(axis=0), 3).T)
    same_shape(found.positions[order], ball[np.lexsort(np.round(ball, 3).T)], atol=1e-4)


def test_a_periodic_box_around_our_lammps_data_changes_nothing(tmp_path, ball):
    """LAMMPS data say nothing of boundaries: OVITO and LAMMPS take them for periodic."""
    write_lammps_data(tmp_path / "r.lammps", Atoms(ball, "Al"), 26.98)
    cluster = Cluster(aluminium())
    expected = cluster.energy_forces(ball)[0]
    cluster.close()
    lmp = start_lammps(None)
    for command in (
        "units metal", "boundary p p p", f"read_data {tmp_path / 'r.lammps'}",
        *aluminium().commands(), "run 0 post no",
    ):  # fmt: skip
        lmp.command(command)
    assert lmp.get_thermo("pe") == pytest.approx(expected, abs=1e-6)
    lmp.close()


HEADER = "1 atoms\n1 atom types\n0 9 xlo xhi\n0 9 ylo yhi\n0 9 zlo zhi"


def data_file(header=HEADER, masses="1 27", style=" # atomic", row="1 1 1 2 3"):
    """A LAMMPS data file of one atom."""
    mass = f"Masses\n\n{masses}\n\n" if masses else ""
    return f"a comment\n\n{header}\n\n{mass}Atoms{style}\n\n{row}\n"


@pytest.mark.parametrize(
    ("text", "element"),
    [
        (data_file(), "Al"),
        (data_file(masses="1 1.0 # cu"), "Cu"),
        (data_file(masses="1 58.7"), "Ni"),
        (data_file(style=""), "Al"),
        (data_file(style="", row="1 1 1 2 -6 0 0 1"), "Al"),
        (data_file(style=" # charge", row="1 1 0.5 1 2 3"), "Al"),
        (data_file(style=" # full", row="1 7 1 0.5 1 2 3 # note"), "Al"),
        (data_file(row="1 Fe 1 2 3", masses="Fe 55.845"), "Fe"),
        (data_file(header=f"{HEADER}\n\nAtom Type Labels\n\n1 W", masses=""), "W"),
    ],
)
def test_lammps_data_of_several_styles(tmp_path, text, element):
    (tmp_path / "s.data").write_text(text)
    found = read_atoms(tmp_path / "s.data")
    assert found.element == element
    np.testing.assert_allclose(found.positions, [[1, 2, 3]])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (data_file(masses=""), "doesn't tell the element of atom type 1"),
        (data_file(masses="1 500"), "doesn't tell the element of atom type 1"),
        (data_file(row="1 1 1 2 3\n2 1 1 2 3"), "2 lines in section Atoms, its header promises 1"),
        (data_file(row="1 1 1 2 x"), "section Atoms doesn't hold numbers"),
        (data_file(row="1 1 1 2"), "has 4 values in a line, expected 5 of atomic"),
        (data_file(style=" # sphere"), "has atom style 'sphere', expected a line such as"),
        (data_file(header="1 atoms\n0 x xlo xhi"), "isn't an edge of a box"),
        (data_file(header="2 atoms", masses="1 27\n2 63.5", row="1 1 0 0 0\n2 2 3 0 0"), "Al, Cu"),
        (data_file(header="1 atoms\n0 0 xlo xhi", row="1 1 1 2 3"), "its box has no volume"),
    ],
)
def test_bad_lammps_data_are_one_sentence(tmp_path, text, expected):
    (tmp_path / "s.data").write_text(text)
    with pytest.raises(InputError, match=expected) as error:
        read_atoms(tmp_path / "s.data")
    assert "s.data: " in str(error.value)
