"""Potentials from what a user types, and the crystals they hold, against published numbers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from prammol.core.errors import PotentialError
from prammol.io.provenance import provenance
from prammol.potentials.choose import choose_potential, find_potential, lammps_folders
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import Potential, aluminium

ZBL_SNAP = {
    "element": "Ta",
    "pair_style": "hybrid/overlay zbl 4 4.8 snap",
    "pair_coeff": ["1 1 zbl 73 73", "* * snap Ta06A.snapcoeff Ta06A.snapparam Ta"],
}


def test_without_options_the_potential_is_that_of_the_paper():
    assert choose_potential() == aluminium()
    assert choose_potential("Al") == choose_potential("al") == aluminium()


def test_the_paper_potential_from_its_file_is_the_same():
    own = choose_potential("Al", aluminium().file)
    assert dataclasses.asdict(own) == dataclasses.asdict(aluminium())


@pytest.mark.parametrize(
    ("options", "element", "mass", "structure", "lattice_constant"),
    [
        # Mishin et al., Phys. Rev. B 63, 224106 (2001)
        ({"file": "Cu_mishin1.eam.alloy"}, "Cu", 63.55, "fcc", 3.615),
        # Foiles et al., Phys. Rev. B 33, 7983 (1986)
        ({"file": "Pt_u3.eam"}, "Pt", 195.09, "fcc", 3.92),
        # Mishin et al., Acta Mater. 53, 4029 (2005); the file's header says bcc
        ({"file": "Ni.adp"}, "Ni", 58.69, "fcc", 3.52),
        # Mendelev et al., Phil. Mag. 83, 3977 (2003)
        ({"file": "Fe_mm.eam.fs"}, "Fe", 55.845, "bcc", 2.8553),
        # Thompson et al., J. Comput. Phys. 285, 316 (2015)
        (ZBL_SNAP, "Ta", 180.948, "bcc", 3.316),
    ],
)
def test_lattices_are_those_published(options, element, mass, structure, lattice_constant):
    found = choose_potential(**options)
    assert (found.element, found.structure) == (element, structure)
    assert found.mass == pytest.approx(mass, abs=1e-3)
    assert found.lattice_constant == pytest.approx(lattice_constant, abs=1e-3)


def test_an_alloy_of_several_elements_wants_to_know_which():
    with pytest.raises(PotentialError, match="give --element"):
        choose_potential(file="NiAlH_jea.eam.alloy")
    nickel = choose_potential("NI", "NiAlH_jea.eam.alloy")
    assert nickel.pair_coeff == "* * {file} Ni"
    assert nickel.lattice_constant == pytest.approx(3.52, abs=1e-3)


def test_numbers_that_are_given_are_kept():
    style = {"pair_style": "lj/cut 8.5", "pair_coeff": "1 1 0.0104 3.4"}
    argon = choose_potential("Ar", **style, mass=39.95, structure="bcc", lattice_constant=4.1)
    assert (argon.mass, argon.structure, argon.lattice_constant) == (39.95, "bcc", 4.1)
    assert argon.commands() == ["pair_style lj/cut 8.5", "pair_coeff 1 1 0.0104 3.4"]
    assert choose_potential("Ar", **style, lattice_constant=5.3).lattice_constant == 5.3
    assert choose_potential("Ar", **style, structure="bcc").structure == "bcc"


def test_files_in_commands_are_found_where_they_are(tmp_path, monkeypatch):
    """Beside LAMMPS's, in a folder with a space, in the working directory, by a variable."""
    folder = tmp_path / "my files"
    folder.mkdir()
    for name in ("Ta06A.snapcoeff", "Ta06A.snapparam"):
        (folder / name).write_bytes(find_potential(name).read_bytes())
    monkeypatch.chdir(folder)
    own = choose_potential(**ZBL_SNAP)
    assert own.more_files == (folder / "Ta06A.snapcoeff", folder / "Ta06A.snapparam")
    assert own.commands()[2] == (
        f'pair_coeff * * snap "{folder}/Ta06A.snapcoeff" "{folder}/Ta06A.snapparam" Ta'
    )
    assert {f["file"] for f in provenance(potential=own)["potential"]["files"]} == {
        "Ta06A.snapcoeff", "Ta06A.snapparam",
    }  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert choose_potential(**ZBL_SNAP).checksum == own.checksum
    assert choose_potential(**ZBL_SNAP).more_files != own.more_files
    monkeypatch.setenv("LAMMPS_POTENTIALS", str(folder))
    assert lammps_folders()[0] == folder
    assert choose_potential(**ZBL_SNAP).more_files == own.more_files


def test_several_commands_give_one_potential():
    """Bound by SNAP, kept apart by ZBL: the energy of a pair is that of ZBL's formula."""
    cluster = Cluster(choose_potential(**ZBL_SNAP))
    near, nearer = (
        cluster.energy_forces(np.array([[0.0, 0.0, 0.0], [r, 0.0, 0.0]]))[0] for r in (0.30, 0.25)
    )
    cluster.close()

    def zbl(r, z=73):
        # Ziegler, Biersack and Littmark (1985); 14.39964 eV Å is e^2 / (4 pi eps0)
        x = r / (0.46850 / (2 * z**0.23))
        a, b = (0.02817, 0.28022, 0.50986, 0.18175), (0.20162, 0.40290, 0.94229, 3.19980)
        return 14.39964 * z**2 / r * np.dot(a, np.exp(-np.multiply(b, x)))

    assert nearer - near == pytest.approx(zbl(0.25) - zbl(0.30), rel=0.01)


@pytest.mark.parametrize(
    "text",
    [
        "1 1 0.01 3.4\nshell touch stolen",
        "1 1 0.01 3.4 &",
        "1 1 ${HOME} 3.4",
        "1 1 $x 3.4",
        "1 1 0.01 3.4 # more",
        '1 1 "0.01" 3.4',
        "1 1 '0.01' 3.4",
        "1 1 0.01 3.4; shell ls",
        "1 1 0.01\t3.4",
        "1 1 0.01 3.4\rinclude other",
        "1 1 0.01 {other}",
        "",
        "  ",
    ],
)
def test_commands_are_words_only(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for style, coeff in (("lj/cut 8.5", text), (text, "1 1 0.01 3.4")):
        with pytest.raises(PotentialError) as error:
            choose_potential("Ar", pair_style=style, pair_coeff=coeff)
        assert "\n" not in str(error.value)
        with pytest.raises(PotentialError):
            Potential("Ar", style, coeff, 40.0, "fcc", 5.3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"element": "Cu"}, "for Cu give --potential"),
        ({"element": "Cu", "file": "Cu_mishn1.eam.alloy"}, "did you mean 'Cu_mishin1.eam.alloy'"),
        ({"element": "Al", "file": "Cu_mishin1.eam.alloy"}, "has no Al, it describes Cu"),
        ({"element": "Cu", "file": "Pt_u3.eam"}, "has no Cu, it describes Pt"),
        ({"element": "Xx", "pair_style": "lj/cut 8", "pair_coeff": "1 1 1 3"}, "no element 'Xx'"),
        ({"file": "nowhere/a.eam.alloy"}, "no such potential file"),
        ({"file": "library.meam", "element": "Cu"}, "give --pair-style"),
        ({"file": "library.meam", "pair_style": "eam/alloy"}, "isn't a setfl (eam/alloy)"),
        ({"file": "library.meam", "pair_style": "eam"}, "isn't a funcfl (eam)"),
        ({"file": "Cu_mishin1.eam.alloy", "structure": "sc"}, "Cu: no structure sc"),
        ({"file": "Cu_mishin1.eam.alloy", "mass": -1.0}, "expected positive numbers"),
        ({"element": "Ar", "pair_style": "lj/cut 8.5"}, "give --pair-coeff"),
        ({"pair_style": "lj/cut 8.5", "pair_coeff": "1 1 1 3"}, "give --element"),
        (ZBL_SNAP | {"pair_coeff": "* * snap Ta06A.snapcoef Ta"}, "did you mean 'Ta06A.snapcoeff'"),
        (ZBL_SNAP | {"pair_style": "snapp"}, "Unrecognized pair style"),
        (ZBL_SNAP | {"pair_coeff": ["1 1 zbl 73 73"]}, "can't use the potential"),
        (
            {"element": "Fe", "pair_style": "zbl 4 4.8", "pair_coeff": "1 1 26 26"},
            "no fcc or bcc or hcp or diamond crystal of Fe is at rest",
        ),
    ],
)
def test_wrong_potentials_are_refused(options, text):
    with pytest.raises(PotentialError) as error:
        choose_potential(**options)
    assert text in str(error.value)
    assert "\n" not in str(error.value)


def test_a_potential_without_all_its_files_is_refused():
    with pytest.raises(PotentialError, match="no such potential file"):
        dataclasses.replace(aluminium(), file=Path("nothing.eam.alloy"))
    pair = (find_potential("Cu_u3.eam"), find_potential("Cu_u3.eam"))
    with pytest.raises(PotentialError, match=r"two files are called Cu_u3\.eam"):
        dataclasses.replace(aluminium(), more_files=pair)
