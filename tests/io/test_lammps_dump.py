"""Dumps that LAMMPS itself writes, and such as people make of them."""

from __future__ import annotations

import numpy as np
import pytest
from atoms_alike import content, require_alike

from prammol.core.errors import InputError
from prammol.io import read_atoms, write_lammps_data
from prammol.io.lammps_dump import write_lammps_dump
from prammol.potentials.lammps_process import start_lammps
from prammol.structure.atoms import Atoms

COLUMNS = {
    "plain": "id type element x y z",
    "images": "type id element x y z ix iy iz",
    "unwrapped": "id type element xu yu zu vx",
    "scaled": "id element xs ys zs",
    "both": "id xsu ysu zsu element",
    "masses": "id type mass x y z",
    "types": "id type x y z",
}


@pytest.fixture(scope="module")
def cluster():
    rng = np.random.default_rng(2)
    x = 2.9 * np.indices((3, 3, 4)).reshape(3, -1).T + 0.2 * rng.random((36, 3))
    return Atoms.of_elements(x, np.where(np.arange(36) % 3, "Ni", "Al"))


@pytest.fixture(scope="module", params=["block", "prism"])
def dumps(request, cluster, tmp_path_factory):
    """Two frames of each kind, by LAMMPS, of the cluster wrapped across borders of its box."""
    folder = tmp_path_factory.mktemp("dumps")
    write_lammps_data(folder / "in.data", cluster, {"Al": 26.98, "Ni": 58.69})
    lmp = start_lammps(None)
    box = "block 0 30 0 31 0 32" if request.param == "block" else "prism 0 30 0 31 0 32 7 -4 5"
    for command in (
        "units metal", "atom_style atomic", "boundary p p p", f"region box {box}",
        "create_box 2 box", "mass 1 26.98", "mass 2 58.69", "pair_style zero 3.0",
        "pair_coeff * *",
    ):  # fmt: skip
        lmp.command(command)
    types = (cluster.kinds + 1).tolist()
    low = cluster.positions - cluster.positions.mean(axis=0) + [18, 15, 18]
    lmp.create_atoms(len(low), None, types, low.ravel().tolist())
    lmp.command("displace_atoms all move -18 -15 -18 units box")  # half across each border
    for k, (name, columns) in enumerate(COLUMNS.items()):
        path = folder / f"{name}.dump"
        lmp.command(f"dump {k} all custom 1 {path} {columns}")
        modify = " element Al Ni" if "element" in columns else ""
        lmp.command(f"dump_modify {k} format float %.12g{modify}")
    lmp.command("run 0 post no")
    lmp.command("displace_atoms all move 1 0 0 units box")
    lmp.command("run 1 post no")
    lmp.close()
    return folder


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("frame", [1, 2])
def test_dumps_of_lammps(dumps, cluster, kind, frame):
    elements = ["Al", "Ni"] if kind == "types" else ()
    found = read_atoms(dumps / f"{kind}.dump", True, elements, frame)
    require_alike(content(found), content(cluster), atol=1e-6)
    with pytest.raises(InputError, match=r"has \d frames, expected at least"):
        read_atoms(dumps / f"{kind}.dump", True, elements, 9)


def test_numbers_of_types_alone_are_refused(dumps):
    with pytest.raises(InputError, match=r"has numbers of types, not elements.*--elements"):
        read_atoms(dumps / "types.dump", several=True)
    with pytest.raises(InputError, match="has atom type 2, but 1 elements are given"):
        read_atoms(dumps / "types.dump", True, ["Al"])
    with pytest.raises(InputError, match="elements: 'Xy' isn't a chemical symbol"):
        read_atoms(dumps / "types.dump", True, ["Al", "Xy"])


def test_atoms_come_in_the_order_of_their_numbers(tmp_path, cluster):
    write_lammps_dump(tmp_path / "s.dump", cluster)
    *head, last = (tmp_path / "s.dump").read_text().partition("id type element x y z\n")
    rows = last.splitlines(keepends=True)
    np.random.default_rng(1).shuffle(rows)
    (tmp_path / "t.dump").write_text("".join([*head, *rows]))
    found = read_atoms(tmp_path / "t.dump", several=True)
    np.testing.assert_allclose(found.positions, cluster.positions, atol=1e-9)
    assert found.symbols.tolist() == cluster.symbols.tolist()


FRAME = """ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp pp
0 20
0 20
0 20
ITEM: ATOMS id element x y z
1 Al 1 1 1
2 Al 4 1 1
"""


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("2 Al 4", "1 Al 4", "has atom 1 twice"),
        ("2 Al 4", "2 Al", "atom 2 isn't whole"),
        ("2 Al 4 1 1\n", "", "has 1 atoms, expected 2"),
        ("2 Al 4", "2 Al four", "columns x y z aren't numbers"),
        ("2 Al 4", "2 Al nan", "positions go up to nan"),
        ("2 Al 4", "2 Al 1e300", r"positions go up to 1e\+300"),
        ("id element x y z", "id element a b c", "has columns id element a b c, expected x y z"),
        ("ATOMS\n2", "ATOMS\n-2", "'-2' isn't a number of atoms"),
        ("ATOMS\n2", "ATOMS\n0", "has no atoms"),
        ("0 20\nITEM", "x 20\nITEM", "isn't followed by the three edges"),
        ("0 20\n0 20\n0 20\n", "0 20\n0 20\n0 0\n", "its box has no volume"),
        ("ITEM: TIMESTEP", "ITEM: UNITS\nlj\nITEM: TIMESTEP", "has units lj, expected metal"),
        ("ITEM: NUMBER", "number", "'number OF ATOMS' where a dump has a line"),
        ("ITEM: BOX BOUNDS pp pp pp\n0 20\n0 20\n0 20\n", "", "atoms before their number or box"),
    ],
)  # fmt: skip
def test_a_dump_that_is_wrong_is_refused_in_a_sentence(tmp_path, old, new, text):
    path = tmp_path / "s.dump"
    path.write_text(FRAME)
    assert len(read_atoms(path)) == 2
    assert old in FRAME
    path.write_text(FRAME.replace(old, new))
    with pytest.raises(InputError, match=text) as raised:
        read_atoms(path)
    assert str(raised.value).startswith(str(path))
