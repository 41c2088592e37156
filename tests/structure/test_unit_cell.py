"""Unit cells of files, made by ASE, as the structures that they are."""

from __future__ import annotations

from itertools import combinations

import ase
import numpy as np
import pytest
from ase.build import bulk
from ase.spacegroup import crystal

from prammol.core.errors import InputError
from prammol.structure.lattices import LATTICES, Lattice
from prammol.structure.unit_cell import UnitCell, structure_of

CUBES = [5.0, 5.0, 5.0, 90, 90, 90]
KNOWN = {
    "fcc": (bulk("Al"), 4.05),
    "bcc": (bulk("Fe", cubic=True), 2.87),
    "hcp": (bulk("Zn") * (2, 1, 1), 2.66),
    "diamond": (bulk("Si"), 5.43),
    "B2": (bulk("NiAl", "cesiumchloride", a=2.88), 2.88),
    "L12": (crystal(["Al", "Ni"], [(0, 0, 0), (0, 0.5, 0.5)], spacegroup=221,
                    cellpar=[3.57, 3.57, 3.57, 90, 90, 90]), 3.57),
    "zincblende": (bulk("GaN", "zincblende", a=4.5), 4.5),
    "rocksalt": (bulk("NaCl", "rocksalt", a=5.64), 5.64),
    "wurtzite": (bulk("GaN", "wurtzite", a=3.19, c=5.19), 3.19),
}  # fmt: skip


def turned(atoms: ase.Atoms, seed: int = 0) -> UnitCell:
    """Return a unit cell turned, shifted and with its sites in another order."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    order = rng.permutation(len(atoms))
    sites = (atoms.get_scaled_positions() + rng.random(3))[order]
    return UnitCell(atoms.cell.array @ turn, sites, np.array(atoms.get_chemical_symbols())[order])


def distances(cell: UnitCell) -> dict[tuple[str, str], np.ndarray]:
    """Return the distances of an element's first atom to the nearest of each element."""
    steps = np.indices((5, 5, 5)).reshape(3, -1).T - 2
    around = (cell.sites % 1 + steps[:, None]).reshape(-1, 3) @ cell.vectors
    symbols = np.tile(cell.symbols, len(steps))
    found = {}
    for one in cell.formula:
        x = (cell.sites % 1 @ cell.vectors)[list(cell.symbols).index(one)]
        for other in cell.formula:
            length = np.linalg.norm(around[symbols == other] - x, axis=1)
            found[one, other] = np.sort(length)[:12]
    return found


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_known_structure_is_found_in_any_cell(name, seed):
    atoms, edge = KNOWN[name]
    cell = turned(atoms, seed)
    found = structure_of(cell)
    assert found.name == name
    assert found.edge == pytest.approx(edge, rel=1e-4)
    elements = np.array(list(cell.formula))[found.lattice.kind_of_site]
    own = UnitCell(found.edge * found.lattice.vectors, np.array(found.lattice.sites), elements)
    assert own.text == cell.text
    ours, theirs = distances(own), distances(cell)
    for pair in theirs:
        np.testing.assert_allclose(ours[pair], theirs[pair], atol=0.01)


@pytest.mark.parametrize("name", LATTICES)
def test_what_is_found_out_of_a_structure_is_what_is_known_of_it(name):
    """The shells and bonds that were put down by hand, found of a cell that is sheared."""
    known = LATTICES[name]
    elements = np.array(["N", "Ga"] if len(known.counts) == 2 else ["Al"])
    shear = np.eye(3) + 0.03 * np.eye(3)[[1, 2, 0]]
    cell = UnitCell(4 * known.vectors @ shear, np.array(known.sites), elements[known.kind_of_site])
    found = structure_of(cell)
    assert found.name == cell.text
    assert found.lattice.coordination == known.coordination
    assert found.lattice.bonds == known.bonds
    index = [generated(lattice) for lattice in (found.lattice, known)]
    assert index == [1, 1]


def generated(lattice: Lattice) -> int:
    """Return how coarse the lattice is that the peaks generate, 1 for the reciprocal lattice."""
    rows = np.array([*lattice.peaks, *lattice.superlattice]) @ lattice.primitive.T
    triples = [rows[list(c)] for c in combinations(range(len(rows)), 3)]
    return int(np.gcd.reduce(np.rint(np.abs(np.linalg.det(triples))).astype(int)))


def stacked(layers: str, edge: float, height: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the cell and sites of close-packed layers."""
    places = {"A": (0, 0), "B": (1 / 3, 2 / 3), "C": (2 / 3, 1 / 3)}
    sites = [(*places[name], k / len(layers)) for k, name in enumerate(layers)]
    cell = np.array([[edge, 0, 0], [-edge / 2, edge * 0.75**0.5, 0], [0, 0, height * len(layers)]])
    return cell, np.array(sites)


def test_stackings_that_have_no_name():
    cell, sites = stacked("ABAC", 3.2, 2.6)
    found = structure_of(UnitCell(cell, sites, np.array(["Mg"] * 4)))
    assert (found.name, found.lattice.coordination, found.lattice.bonds) == ("Mg", 12, (12,))
    cell, sites = stacked("ABCB", 3.08, 2.52)
    both = np.concatenate([sites, sites + [0, 0, 3 / 16]])
    found = structure_of(UnitCell(cell, both, np.array(["Si"] * 4 + ["C"] * 4)))
    assert (found.name, found.lattice.coordination) == ("CSi", 4)
    assert found.lattice.bonds == (16, 17)
    for lattice in (found.lattice, structure_of(turned(bulk("In"))).lattice):
        assert generated(lattice) == 1  # all translations of the cell are known


def test_a_chiral_structure_keeps_its_hand():
    """Twisted stacks, some in left-handed cells: the sense of the screw is that of the file."""
    sites = np.array([[0.5, 0, 0], [0, 0.5, 1 / 3], [0.5, 0.5, 2 / 3]])
    cell = np.array([[5.0, 0, 0], [-2.5, 5 * 0.75**0.5, 0], [0, 0, 6.0]])
    hands = []
    for rows, places in ((cell, sites), (cell[[1, 0, 2]], sites[:, [1, 0, 2]])):
        found = structure_of(UnitCell(rows, places, np.array(["Te"] * 3))).lattice
        x = np.array(found.sites) @ found.vectors
        hands.append(np.sign(np.cross(*screw(x[np.argsort(x[:, 2])], found.vectors))[2]))
    assert hands == 2 * [np.sign(np.cross(*screw(sites @ cell, cell))[2])]


def screw(x, cell):
    """Return the two shortest steps from layer to layer."""
    images = (np.indices((3, 3, 3)).reshape(3, -1).T - 1) @ cell
    ways = [x[k + 1] - x[k] + images for k in range(2)]
    return [way[np.linalg.norm(way, axis=1).argmin()] for way in ways]


@pytest.mark.parametrize(
    ("atoms", "text"),
    [
        (bulk("CaF2", "fluorite", a=5.46), "different numbers of nearest neighbours"),
        (crystal(["Sr", "Ti", "O"], [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)],
                 spacegroup=221, cellpar=CUBES), "different numbers of nearest neighbours"),
        (ase.Atoms("NiCu", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[2.5, 2.5, 3.4]),
         "no inner peak tells its sites apart"),
        (bulk("Al", cubic=True) * (3, 3, 3), "108 atoms in its cell, expected at most 64"),
        (ase.Atoms("Al2", scaled_positions=[[0, 0, 0], [0.01, 0, 1]], cell=[4, 4, 4]),
         "atoms . and . of its cell are 0.040 Å apart"),
        (ase.Atoms("Al2", positions=[[0, 0, 0], [0, 0, 3]], cell=[3, 3, 3000]), "no three bright"),
        (ase.Atoms("Al", cell=[[1, 0, 0], [2, 0, 0], [0, 0, 1]]), "its cell has no volume"),
    ],
)  # fmt: skip
def test_what_cant_be_done_is_refused(atoms, text):
    with pytest.raises(InputError, match=text):
        structure_of(
            UnitCell(
                atoms.cell.array,
                np.linalg.lstsq(atoms.cell.array.T, atoms.positions.T, rcond=None)[0].T,
                np.array(atoms.get_chemical_symbols()),
            )
        )
