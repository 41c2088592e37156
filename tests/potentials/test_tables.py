"""Tables of potentials: what LAMMPS would take and should not."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest
from small_crystal import fcc_ball

from prammol.core.errors import PotentialError
from prammol.potentials.choose import choose_potential
from prammol.potentials.eam import read_setfl
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import aluminium
from prammol.potentials.tables import read_tables


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (1000, "nan", "line 1001 is 'nan', expected finite numbers"),
        (3000, "1.0 -inf 1.0 1.0 1.0", "line 3001 is '1.0 -inf"),
        (3000, "", "the potential ends too early, its tables have 29999 numbers"),
        (4, "1000000000 0.1 1000000000 0.1 6", "promises 3000000000"),
        (4, "-5 0.1 10000 0.1 6", "line 5 is '-5"),
        (4, "10000 0 10000 0 6", "line 5 is"),
        (4, "10000 2e-4 10000 6e-4 1e5", "cutoff of at most 100 Å"),
        (3, "1000000 Al", "elements in line 4"),
        (3, "1 Al Cu", "elements in line 4"),
        (5, "13", "is 'Infinity', expected the atomic number and mass"),
        (5, "13.0 26.982", "line 6 is '13.0 26.982', expected the atomic number and mass"),
        (6, "Infinity", "line 7 is 'Infinity', expected finite numbers"),
        (12006, "inf", "line 12007 is 'inf', expected finite numbers"),
        (10006, "1e400", "line 10007 is '1e400', expected finite numbers"),
        (10006, "1_0", "line 10007 is '1_0', expected finite numbers"),
        (10006, "1\xa02", "expected finite numbers"),
        (10006, "1d-3", "line 10007 is '1d-3', expected finite numbers"),
    ],
)
def test_a_damaged_table_is_refused_before_lammps_takes_it(tmp_path, line, text, message):
    lines = aluminium().file.read_text().splitlines()
    lines[line] = text
    if text == "13":  # the next number is taken for the mass
        lines[line + 1] = "Infinity"
    file = tmp_path / "bad.eam.alloy"
    file.write_text("\n".join(lines) + "\n", encoding="latin-1")
    with pytest.raises(PotentialError) as error:
        read_tables(file, "eam/alloy")
    assert message in str(error.value)
    assert str(error.value).startswith(str(file))


def test_tables_that_come_with_lammps_are_whole():
    from prammol.potentials.choose import find_potential

    for name, style, elements in (
        ("Cu_mishin1.eam.alloy", "eam/alloy", ["Cu"]),
        ("CuNi.eam.alloy", "eam/alloy", ["Ni", "Cu"]),
        ("AlFe_mm.eam.fs", "eam/fs", ["Al", "Fe"]),
        ("AlCu.adp", "adp", ["Al", "Cu"]),
        ("Cu_u3.eam", "eam", ["Cu"]),
    ):
        assert read_tables(find_potential(name), style).elements == elements


def _line(number: int, text: str) -> Callable[[list[str]], None]:
    """Return a change that puts other text into a line, 0 is the first."""

    def change(lines: list[str]) -> None:
        lines[number] = text

    return change


def _comments(lines: list[str]) -> None:
    lines[3:3] = ["", "# elements"]
    lines[5] += " # how many"
    lines[6] += " # sizes"
    lines[7] = "13 26.982 4.05 fcc # element"
    lines[20] += " # a value"
    lines[30:30] = ["# a line", " \f\r"]


def _sizes_on_two_lines(lines: list[str]) -> None:
    words = lines[4].split()
    lines[4:5] = [" ".join(words[:2]), " ".join(words[2:])]


def _more_words(lines: list[str]) -> None:
    lines[4] += " 7 8"
    lines[10005] += " 1 2 3"  # the last of F


@pytest.mark.parametrize(
    "change",
    [
        _line(5, "13 26.982 4.05 1"),
        _line(5, "13 26.982 4.05 A1"),
        _line(5, "13 26.982 4.05 fcc cubic"),
        _line(5, "13 26.982"),
        _line(10006, "Infinity"),
        _line(20006, "Infinity"),
        _line(20008, "nan"),
        _comments,
        _sizes_on_two_lines,
        _more_words,
    ],
)
def test_what_lammps_reads_is_read_as_lammps_does(tmp_path, change):
    lines = aluminium().file.read_text().splitlines()
    change(lines)
    file = tmp_path / "own.eam.alloy"
    file.write_text("\n".join(lines) + "\n", encoding="latin-1")
    found = choose_potential("Al", file, structure="fcc", lattice_constant=4.05)
    assert found.mass == pytest.approx(26.982)
    x = fcc_ball(6.0)
    clusters = [Cluster(found), Cluster(aluminium())]
    assert clusters[0].energy_forces(x)[0] == clusters[1].energy_forces(x)[0]
    for made in clusters:
        made.close()
    ours, plain = read_setfl(found), read_setfl(aluminium())
    r = np.linspace(1.5, 6.2, 50)
    for name in ("density", "pair"):
        one, other = (np.ravel(getattr(table, name))[0] for table in (ours, plain))
        np.testing.assert_allclose(one(r), other(r), atol=1e-9)
    np.testing.assert_array_equal(ours.embedding[0](r / 10), plain.embedding[0](r / 10))


def test_a_table_under_the_name_of_another_kind_is_told(tmp_path):
    from prammol.potentials.choose import find_potential

    (tmp_path / "Al.eam").write_bytes(aluminium().file.read_bytes())
    with pytest.raises(PotentialError, match="is a setfl potential, give --pair-style eam/alloy"):
        choose_potential("Al", tmp_path / "Al.eam")
    found = choose_potential("Al", tmp_path / "Al.eam", "eam/alloy", structure="fcc")
    assert found.lattice_constant == pytest.approx(4.05, abs=1e-3)
    for name in ("Cu.eam.alloy", "Cu.eam.fs", "Cu.adp"):
        (tmp_path / name).write_bytes(find_potential("Cu_u3.eam").read_bytes())
        with pytest.raises(PotentialError, match=r"give --pair-style eam$"):
            choose_potential("Cu", tmp_path / name)


@pytest.mark.parametrize(
    "name", ["José/Al é", "日本/Ál", "\udce9/Al", "–a b/Al", "R&D's $x #1/A\"l\n"]
)
def test_paths_with_any_letters_work(tmp_path, monkeypatch, name):
    """LAMMPS rewrites letters outside of ASCII in its commands, signs mean something to it."""
    file = tmp_path / f"{name}.eam.alloy"
    file.parent.mkdir()
    file.write_bytes(aluminium().file.read_bytes())
    x = fcc_ball(6.0)
    plain = Cluster(aluminium())
    expected = plain.energy_forces(x)[0]
    plain.close()
    monkeypatch.chdir(file.parent)
    monkeypatch.setenv("LAMMPS_POTENTIALS", str(file.parent))
    style = {"pair_style": "eam/alloy", "structure": "fcc"}
    bare = {"pair_coeff": f"* * {file.name} Al"} if name.endswith("l") else {"file": file.name}
    for options in ({"file": file}, {"file": file.name}, bare):
        found = Cluster(choose_potential("Al", **style, **options))
        assert found.energy_forces(x)[0] == expected
        found.close()
    assert os.getcwd() == os.path.abspath(file.parent)
