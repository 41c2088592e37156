"""Crystals drawn at random for the zoo: what they are of, their shape, their defects, at rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from prammol.core.errors import InputError, PrammolError
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.potentials.choose import choose_potential
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import Potential
from prammol.simulation.settled_grain import strayed
from prammol.structure.atoms import Atoms
from prammol.structure.dislocation import add_screw, burgers_vector, line_between_rows
from prammol.structure.labels import Labels
from prammol.structure.voronoi import neighbour_counts

# Formulas and potentials, by structure; all come with the program or with LAMMPS.
SPECIES = {
    "fcc": (
        ("Al", None),
        ("Cu", "Cu_mishin1.eam.alloy"),
        ("Ni", "NiAlH_jea.eam.alloy"),
        ("Au", "Au_u3.eam"),
        ("Ag", "Ag_u3.eam"),
        ("Pt", "Pt_u3.eam"),
        ("Pd", "Pd_u3.eam"),
    ),
    "bcc": (("W", "W_zhou.eam.alloy"), ("Fe", "Fe_mm.eam.fs"), ("Ta", "CuTa.eam.alloy")),
    "hcp": (("Mg", "Mg_mm.eam.fs"), ("Zr", "Zr_mm.eam.fs")),
    "diamond": (("Si", "Si.sw"),),
    "B2": (("NiAl", "NiAlH_jea.eam.alloy"), ("CoAl", "CoAl.eam.alloy")),
    "L12": (("Ni3Al", "NiAlH_jea.eam.alloy"),),
    "zincblende": (("GaN", "GaN.sw"), ("CdTe", "CdTe.sw"), ("ZnSe", "CdTeZnSeHgS0.sw")),
}
SHAPES = ("grain", "wulff", "rough", "rod", "plate", "hollow")
ATTEMPTS = 10
SMALLEST_WITH_LINE = 600  # atoms; a dislocation leaves smaller crystals
INNER = ((1, 0, 0), (0, 0, 1), (1, 1, 0), (1, 1, 1))  # families of faces of Wulff shapes
FIRM = 1e-7  # eV/Å, of all forces together: far below what diffraction tells
LOOSE = 1e-2  # eV/Å
AWAY = 0.4  # neighbour distances from its site: nearly half way to the next
FACES = 26  # of grains, rods and plates
ROUNDS = 15
# r.l.u., half a box around a superlattice peak: with more a corner may hold a bright one, or q = 0
WEAK = 0.45
FEWEST = 100  # atoms of a crystal
ROUGH = 0.3  # of the outer layer, missing


@dataclass(frozen=True)
class Specimen:
    """What is drawn of one crystal.

    Attributes
    ----------
    formula, file, structure, shape : str
        The potential's file is None for the one that comes with the program.
    atoms : int
        Wanted; loose ones at the surface go.
    defects : tuple of str
    turn : (3, 3) ndarray
        Rotation of the crystal against the patches.
    flux : float
        [photons/um^2].
    sampling : float
        Period of the patches over the extent of the crystal, along each axis.
    """

    formula: str
    file: str | None
    structure: str
    shape: str
    atoms: int
    defects: tuple[str, ...]
    turn: NDArray[np.float64]
    flux: float
    sampling: float


def drawn(seed: int, number: int, smallest: int, largest: int) -> Specimen:
    """Return what crystal `number` of a zoo is."""
    rng = np.random.default_rng([seed, number])
    structure = str(rng.choice(list(SPECIES)))
    formula, file = SPECIES[structure][rng.integers(len(SPECIES[structure]))]
    shape = str(rng.choice(SHAPES))
    atoms = round(smallest * (largest / smallest) ** rng.random())
    possible = ["vacancies", "void"]
    if structure in ("fcc", "bcc", "hcp"):
        possible.append("interstitial")
    if structure in ("fcc", "bcc") and atoms >= SMALLEST_WITH_LINE:
        possible.append("dislocation")
    if structure in ("B2", "L12"):
        possible.append("antisites")
    defects = rng.permutation(possible)[: rng.choice(3, p=(0.3, 0.5, 0.2))].tolist()
    turn = Rotation.random(random_state=rng).as_matrix()
    flux, sampling = 10 ** rng.uniform(16, 20), rng.uniform(2.2, 4.0)
    return Specimen(
        formula, file, structure, shape, atoms, tuple(sorted(defects)), turn, flux, sampling
    )


def crystal(what: Specimen, seed: int, number: int) -> tuple[Atoms, Potential]:
    """Return the relaxed crystal, mean position 0, and its potential.

    Raises
    ------
    RuntimeError
        If none of the attempts stays sound when relaxed.
    """
    potential = choose_potential(what.formula, what.file, structure=what.structure)
    cluster, why = Cluster(potential), ""
    try:
        for attempt in range(ATTEMPTS):
            rng = np.random.default_rng([seed, number, attempt])
            try:
                found = _made(what, potential, cluster, rng)
            except PrammolError as error:
                why = str(error)
                continue
            if isinstance(found, str):
                why = found
                continue
            x, kinds = found
            x = (x - x.mean(axis=0)) @ what.turn.T
            return Atoms.of_elements(x, np.array(potential.elements)[kinds]), potential
    finally:
        cluster.close()
    msg = f"no sound crystal in {ATTEMPTS} attempts, the last: {why}"
    raise RuntimeError(msg)


def patches_of(what: Specimen, truth: Atoms, potential: Potential) -> list[BraggPatch]:
    """Return boxes along x, y and z around the structure's own peaks, where the crystal has them.

    Each axis has as many points as the crystal's extent along it asks for.
    """
    lattice, edge = potential.lattice, potential.lattice_constant
    extent = np.ptp(truth.positions, axis=0) + potential.neighbour_distance
    step = 2 * np.pi / (what.sampling * extent)
    found = []
    for peaks, half in (
        (lattice.peaks, lattice.half_width),
        (lattice.superlattice, min(lattice.half_width, WEAK)),
    ):
        shape = np.ceil(2 * half * 2 * np.pi / edge / step).astype(int) + 1
        for hkl in peaks:
            centre = what.turn @ (np.array(hkl) @ lattice.reciprocal) / edge
            found.append(BraggPatch(centre - step * (shape - 1) / 2, np.diag(step), shape))
    return found


def _made(
    what: Specimen, potential: Potential, cluster: Cluster, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int_]] | str:
    """Return positions and elements at rest, or why the crystal isn't sound."""
    x, kinds = firm(*_cut(what, potential, rng), potential)
    for defect in what.defects:
        x, kinds = _with(defect, x, kinds, potential, rng)
    found = _settled(x, kinds, {*what.defects}, potential, cluster)
    if found is None:
        return "atoms leave again and again"
    if "dislocation" in what.defects:
        along = np.array(potential.lattice.line, dtype=float)
        try:
            line = burgers_vector(found[0], potential.lattice_constant, potential.structure)
        except InputError:
            line = np.zeros(3)
        if not np.allclose(line, potential.lattice_constant / 2 * along, atol=1e-6):
            return "the dislocation left"
    return found


def _with(
    defect: str,
    x: NDArray[np.float64],
    kinds: NDArray[np.int_],
    potential: Potential,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.int_]]:
    """Return atoms with a defect."""
    near = potential.neighbour_distance
    if defect == "antisites":
        odd = rng.permutation(len(x))[: max(1, len(x) // 100)]
        kinds = kinds.copy()
        kinds[odd] = 1 - kinds[odd]
        return x, kinds
    if defect == "dislocation":
        along = np.array(potential.lattice.line, dtype=float)
        burgers = potential.lattice_constant / 2 * along
        return add_screw(x, line_between_rows(x, along), burgers), kinds
    inside = _inside(x, potential, rng)
    if defect == "interstitial":
        way = 0.35 * near * _direction(rng)
        split = inside[0]
        return (
            np.concatenate([np.delete(x, split, axis=0), x[split] + [way, -way]]),
            np.append(np.delete(kinds, split), kinds[[split, split]]),
        )
    if defect == "vacancies":
        gone = inside[: max(1, len(x) // 200)]
        return np.delete(x, gone, axis=0), np.delete(kinds, gone)
    kept = np.linalg.norm(x - x[inside[0]], axis=1) > rng.uniform(1.1, 1.9) * near
    return x[kept], kinds[kept]


def _settled(
    x: NDArray[np.float64],
    kinds: NDArray[np.int_],
    defects: set[str],
    potential: Potential,
    cluster: Cluster,
) -> tuple[NDArray[np.float64], NDArray[np.int_]] | None:
    """Return atoms at rest, as the program's own crystals.

    Atoms that stick out and leave their sites go, and those that find no rest, at the range of a
    potential. None if there are such atoms again and again.
    """
    near = potential.neighbour_distance
    reach = 1.1 * potential.lattice.first_shell * near
    settled = False
    y = x
    for _ in range(2 * ROUNDS):
        cluster.labels = Labels.of_atoms(x, kinds) if potential.others else None
        steps, tolerance = (2000, FIRM) if settled else (300, LOOSE)
        y, _, at_rest = cluster.relax(y if settled else x, None, tolerance, steps)
        bad = neighbour_counts(y, reach) < _held(potential)
        if not {"interstitial", "dislocation"} & defects:
            bad |= strayed(x, y) > AWAY * near
        if not at_rest:
            force = np.linalg.norm(cluster.energy_forces(y)[1], axis=1)
            bad |= force > 0.5 * force.max()
        if settled and not bad.any():
            return y, kinds
        settled = not bad.any()
        if not settled:
            x, kinds = firm(x[~bad], kinds[~bad], potential)
    return None


def _held(potential: Potential) -> int:
    """Return how many bonds fix an atom; with angles one fewer."""
    return 3 if potential.lattice.coordination > 4 else 2


def _direction(rng: np.random.Generator) -> NDArray[np.float64]:
    v = rng.normal(size=3)
    return np.asarray(v / np.linalg.norm(v))


def _cut(
    what: Specimen, potential: Potential, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int_]]:
    """Return the sites of the perfect lattice in a shape, and their elements."""
    lattice, edge = potential.lattice, potential.lattice_constant
    aspect = {"rod": rng.uniform(2.0, 3.0), "plate": rng.uniform(0.35, 0.5)}.get(what.shape, 1.0)
    axis = _direction(rng)
    hollow = rng.uniform(0.3, 0.45) if what.shape == "hollow" else 0.0
    volume = what.atoms / len(lattice.basis) * lattice.volume * edge**3 / (1 - hollow**3)
    radius = 1.6 * (3 * volume / (4 * np.pi)) ** (1 / 3) * max(aspect, 1 / aspect) ** 0.67
    rows = lattice.vectors * edge
    spacing = 1 / np.linalg.norm(np.linalg.inv(rows), axis=0)
    most = np.ceil(radius / spacing).astype(int) + 1
    cells = np.indices(2 * most).reshape(3, -1).T - most + rng.random(3)
    x = ((cells[:, None] + np.array(lattice.sites)) @ rows).reshape(-1, 3)
    kinds = np.tile(lattice.kind_of_site, len(cells))
    faces = _faces(what, potential, rng)
    # Pulled along an axis, or pressed together.
    p = x + (1 / aspect - 1) * (x @ axis)[:, None] * axis
    gauge = (p @ faces.T).max(axis=1)
    order = np.argsort(gauge, kind="stable")[: round(what.atoms / (1 - hollow**3))]
    order = order[gauge[order] >= hollow * gauge[order[-1]]]
    x, kinds = x[order], kinds[order]
    if what.shape == "rough":
        reach = lattice.first_shell * potential.neighbour_distance
        beside = neighbour_counts(x, reach) < lattice.coordination
        kept = ~beside | (rng.random(len(x)) > ROUGH)
        x, kinds = x[kept], kinds[kept]
    return x, kinds


def _faces(what: Specimen, potential: Potential, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return normals over distances of the faces of a shape, (k, 3)."""
    if what.shape in ("wulff", "rough", "hollow"):
        lattice = potential.lattice
        normals, energies = [], []
        for family in INNER:
            energy = rng.uniform(0.85, 1.15)
            alike = {tuple(np.array(family) @ turn) for turn in lattice.symmetries}
            for hkl in sorted(alike | {tuple(-v for v in one) for one in alike}):
                normals.append(np.array(hkl) @ lattice.reciprocal)
                energies.append(energy * rng.uniform(0.85, 1.15))  # one has grown more than another
    else:
        normals = [_direction(rng) for _ in range(FACES // 2)]
        normals += [-n for n in normals]  # closed
        energies = rng.uniform(0.8, 1.2, len(normals)).tolist()
    unit = np.array([n / np.linalg.norm(n) for n in normals])
    return np.asarray(unit / np.array(energies)[:, None])


def _inside(
    x: NDArray[np.float64], potential: Potential, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Return atoms with all neighbours whose neighbours have all of theirs, in random order."""
    reach = potential.lattice.first_shell * potential.neighbour_distance
    full = neighbour_counts(x, reach) >= potential.lattice.coordination
    around = cKDTree(x).query_ball_point(x, 1.5 * reach)
    deep = [k for k, others in enumerate(around) if full[k] and full[others].mean() > 0.6]
    if not deep:
        msg = "no atom lies inside"
        raise InputError(msg)
    return rng.permutation(np.array(deep))


def firm(
    x: NDArray[np.float64], kinds: NDArray[np.int_], potential: Potential
) -> tuple[NDArray[np.float64], NDArray[np.int_]]:
    """Return the largest piece, without atoms that hang by too few bonds."""
    reach = 1.1 * potential.lattice.first_shell * potential.neighbour_distance
    while True:
        if len(x) < FEWEST:
            msg = "hardly an atom is held"
            raise InputError(msg)
        tree = cKDTree(x)
        piece = connected_components(tree.sparse_distance_matrix(tree, reach))[1]
        kept = piece == np.bincount(piece).argmax()
        kept &= neighbour_counts(x, reach) >= _held(potential)
        if kept.all():
            return x, kinds
        x, kinds = x[kept], kinds[kept]
