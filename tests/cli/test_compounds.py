"""Compounds by the command line: what is refused in one sentence, and the whole way."""

from __future__ import annotations

import json

import pytest
from compounds import coal, coal_ball

from prammol.io import read_atoms, read_reconstruction, write_atoms
from prammol.structure.atoms import Atoms

COAL = ("--element", "CoAl", "--potential", "CoAl.eam.alloy")
OF_COAL = (*COAL, "--structure", "B2", "--lattice-constant", "2.86635")


@pytest.fixture
def crystal(tmp_path):
    info = {"structure": "B2", "lattice_constant": coal().lattice_constant}
    atoms = coal_ball(5.5)
    write_atoms(tmp_path / "s.xyz", Atoms(atoms.positions, "Al", atoms.columns, info))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["crystal", "bulk", "--atoms", "60", "--substitute", "Cu", "-o", "x.xyz"], "Cu:0.03"),
        (["crystal", "vacancy", "--atoms", "60", *OF_COAL, "-o", "x.xyz"], "expected kind bulk"),
        (["crystal", "bulk", "--element", "Co2Al3", *COAL[2:], "-o", "x.xyz"], "Al3Co2: no struct"),
        (["dynamics", "s.xyz", "--temperature", "300", "-o", "a.npz"], "holds Al, Co, expected"),
        (["simulate", "s.xyz", "--flux", "1e18", "--temperature", "300", *OF_COAL, "-o", "x.h5"],
         "dynamics is for one element"),
        (["simulate", "s.xyz", "--flux", "1e18", "--temperature", "300", "-o", "x.h5"],
         "the crystal is of Al,Co, give its formula, such as AlCo"),
        (["reconstruct", "d.h5", "--support", "u.h5", "-o", "r.h5"],
         "the crystal is of Al,Co, give its formula, such as AlCo"),
        (["reconstruct", "d.h5", "--support", "u.h5", "-o", "r.h5", "--element", "Al",
          "--potential", "AlCu.eam.alloy"], "potential has no Co, it describes Al, Cu"),
        (["reconstruct", "d.h5", "--support", "u.h5", "-o", "r.h5", *OF_COAL, "--preset", "paper"],
         "preset paper knows fcc and bcc crystals only"),
        (["reconstruct", "d.h5", "--support", "u.h5", "-o", "r.h5", *OF_COAL, "--set",
          "matter=true"], "setting matter is for one element, the crystal has Al, Co"),
        (["support", "d.h5", "--from-truth", "al.xyz", "-o", "v.h5"], "al.xyz: is made of Al"),
    ],
)  # fmt: skip
def test_what_is_wrong_or_not_there_is_one_sentence(crystal, prammol_here, arguments, text):
    write_atoms(crystal / "al.xyz", Atoms(coal_ball(5.5).positions, "Al"))
    measured = ("--flux", "1e18", "--points", 10)
    for made in (
        prammol_here("simulate", "s.xyz", *measured, "-o", "d.h5"),
        prammol_here("support", "d.h5", "--from-truth", "s.xyz", "-o", "u.h5"),
    ):
        assert made.returncode == 0, made.stderr
    done = prammol_here(*arguments)
    assert done.returncode == 2, done.stderr
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1 or arguments[0] == "reconstruct"
    assert not {"x.xyz", "x.h5", "r.h5", "a.npz", "v.h5"} & {p.name for p in crystal.iterdir()}


@pytest.mark.slow
def test_antisites_of_ni3al_from_crystal_to_pictures(prammol, tmp_path):
    def call(*arguments):
        done = prammol(*arguments, timeout=1800)
        assert done.returncode == 0, done.stderr
        return done.stdout

    of = ("--element", "Ni3Al", "--potential", "NiAlH_jea.eam.alloy")
    antisites = ("--substitute", "Al:0.01", "--substitute", "Ni:0.01")
    call("crystal", "bulk", "--atoms", 300, "--seed", 5, *of, *antisites, "-o", "s.xyz")
    call("simulate", "s.xyz", "--flux", "1e19", "--seed", 1, "--points", 24, "-o", "d.h5")
    call("support", "d.h5", "--from-truth", "s.xyz", "--resolution", 5, "-o", "u.h5")
    call("reconstruct", "d.h5", "--support", "u.h5", "--seed", 1, *of, "-o", "r.h5",
         "--trajectory", "t.xyz")  # fmt: skip
    assert "wrong element  0" in call("evaluate", "r.h5", "--truth", "s.xyz", "--json", "m.json")
    found = json.loads((tmp_path / "m.json").read_text())
    assert [found[f"n_{name}"] for name in ("missing", "extra", "wrong_element")] == [0, 0, 0]
    assert found["converged"]
    atoms = read_reconstruction(tmp_path / "r.h5").atoms
    assert atoms.elements == ("Al", "Ni")
    assert atoms.columns["element_confidence"].min() > 0.99
    for name in ("r.xyz", "r.lammps"):
        assert (read_atoms(tmp_path / name, several=True).symbols == atoms.symbols).all()
    call("plot", "r.h5", "--truth", "s.xyz", "-o", "p.png")
    call("plot", "r.h5", "--data", "d.h5", "-o", "f.png")
    call("view", "r.h5", "--truth", "s.xyz", "--trajectory", "t.xyz", "-o", "v.html")
    call("export", "r.h5", "-o", "a.vtp")
    call("export", "r.h5", "-o", "a.vti")
    assert "element changed      0" in call("compare", "r.h5", "r.h5")
