"""Fcc particles with a fault, a dislocation, a loop or several grains, at rest.

Planes and directions are those of the first grain, its cube axes along x, y, z. Displacements are
those of Hirth and Lothe, Theory of Dislocations; that of a loop is b Omega / (4 pi), Omega the
solid angle it is seen at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from ase.cluster import Decahedron, Icosahedron
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from zoo_crystals import firm

from prammol.potentials.choose import choose_potential
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import Potential
from prammol.simulation.settled_grain import strayed
from prammol.structure.atoms import Atoms
from prammol.structure.crystal_fields import STRUCTURES, structure_types
from prammol.structure.dislocation import add_screw, line_between_rows

Floats = NDArray[np.float64]

FILES = {"Al": None, "Cu": "Cu_mishin1.eam.alloy", "Au": "Au_u3.eam"}
PLANES = ((1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1))
POISSON = 0.35  # of aluminium, for the first guess
FACES = 13  # pairs of faces of a particle
ATTEMPTS = 10
FIRM = 1e-8  # eV/Å, of all forces together
AWAY = 0.6  # neighbour distances: an atom that goes so far from where it was put is loose


@dataclass(frozen=True)
class Kind:
    """A particle of an element: what is done to the lattice, and what must be left of it at rest.

    Attributes
    ----------
    element : str
    atoms : int
        About so many.
    change : callable
        Positions and the edge of the cell to positions [Å]; makes the particle itself if `whole`.
    hcp : int
        Atoms that have, at least, the neighbours of a fault at rest.
    whole : bool
    """

    element: str
    atoms: int
    change: Callable[[Floats, float], Floats]
    hcp: int = 0
    whole: bool = False


def unit(v: tuple[float, ...]) -> Floats:
    return np.array(v, dtype=float) / np.linalg.norm(v)


def between(x: Floats, n: Floats) -> float:
    """Return the height of the gap between two planes that is nearest the origin."""
    heights = np.unique(np.round(x @ n, 4))
    gaps = (heights[1:] + heights[:-1]) / 2
    return float(gaps[np.abs(gaps).argmin()])


def faulted(x: Floats, edge: float) -> Floats:
    """Shift the half above (111) by a Shockley partial."""
    n = unit((1, 1, 1))
    return x + (x @ n > between(x, n))[:, None] * np.array([1, 1, -2]) * -edge / 6


def twinned(x: Floats, edge: float, plane: tuple[int, ...]) -> Floats:
    """Reflect the half above a plane of atoms by that plane."""
    n = unit(plane)
    heights = np.unique(np.round(x @ n, 4))
    h = heights[np.abs(heights).argmin()]
    below = x[x @ n < h + 1e-3]
    above = below[below @ n < h - 1e-3]
    return np.concatenate([below, above - 2 * ((above @ n) - h)[:, None] * n])


def screw(x: Floats, edge: float) -> Floats:
    return add_screw(x, line_between_rows(x, (1, 1, 0)), np.array([1, 1, 0]) * edge / 2)


def edge_dislocation(x: Floats, edge: float) -> Floats:
    """Slip half of (1-11) by a/2 [110], the line along [-112]."""
    e, n = unit((1, 1, 0)), unit((1, -1, 1))
    u, v = x @ e + 0.1, x @ n - between(x, n)
    b, r2 = edge / np.sqrt(2), u**2 + v**2
    along = np.arctan2(v, u) + u * v / (2 * (1 - POISSON) * r2)
    up = (1 - 2 * POISSON) * np.log(r2 / edge**2) / 4 + (u**2 - v**2) / (4 * r2)
    return x + b / (2 * np.pi) * (along[:, None] * e - up[:, None] / (1 - POISSON) * n)


def loop(
    x: Floats, edge: float, burgers: tuple[float, ...], radius: float, sides: int = 0
) -> Floats:
    """Take the atoms out of a disc (or a triangle) normal to a Burgers vector and close it."""
    b = np.array(burgers) * edge
    n = unit(burgers)
    first, second = unit((1, -1, 0)), np.cross(n, unit((1, -1, 0)))
    heights = np.unique(np.round(x @ n, 4))
    if sides:  # one layer, centred on it
        h = heights[np.abs(heights).argmin()]
    else:
        layers = round(float(np.linalg.norm(b)) / float(np.diff(heights).min()))
        h = between(x, n) if layers % 2 == 0 else heights[np.abs(heights).argmin()]
    d = x - h * n

    def inside(u: Floats, v: Floats) -> NDArray[np.bool_]:
        if not sides:
            return np.hypot(u, v) < radius
        return (v > -radius / 2) & (np.abs(u) < (radius - v) / np.sqrt(3))

    thick = np.linalg.norm(b) / 2 - 1e-3
    gone = (np.abs(d @ n) < thick) & inside(d @ first, d @ second)
    x, d = x[~gone], d[~gone]
    step = 0.4
    grid = np.arange(-radius, radius + step, step)
    u, v = (a.ravel() for a in np.meshgrid(grid, grid))
    disc = inside(u, v)
    places = u[disc, None] * first + v[disc, None] * second
    way = d[:, None] - places
    solid = (way @ n / np.linalg.norm(way, axis=2) ** 3).sum(axis=1) * step**2
    return x - np.clip(solid / (4 * np.pi), -0.5, 0.5)[:, None] * b


def decahedron(x: Floats, edge: float) -> Floats:
    """Return a Marks decahedron, one grain of it with its cube axes along x, y, z."""
    y = Decahedron("Cu", 5, 6, 1, latticeconstant=edge).get_positions()
    return laid(y, edge)


def icosahedron(x: Floats, edge: float) -> Floats:
    y = Icosahedron("Cu", 7, latticeconstant=edge).get_positions()
    return laid(y, edge)


def laid(y: Floats, edge: float) -> Floats:
    """Turn a particle so that an inner grain has its axes along x, y, z."""
    y = y - y.mean(axis=0)
    types = structure_types(y, 0.85 * edge)
    inner = np.flatnonzero(types == STRUCTURES.index("fcc"))
    atom = inner[np.linalg.norm(y[inner], axis=1).argmin()]
    near = y - y[atom]
    near = near[(np.linalg.norm(near, axis=1) < 0.85 * edge) & near.any(axis=1)]
    ideal = [v for v in product((-1, 0, 1), repeat=3) if sum(map(abs, v)) == 2]
    ideal = np.array(ideal) * edge / 2
    best, turn = np.inf, np.eye(3)
    for a, b in product(range(12), repeat=2):
        for c, d in ((0, 1), (0, 4)):
            if abs(near[a] @ near[b] - ideal[c] @ ideal[d]) > 0.05 * edge**2:
                continue
            found, _ = Rotation.align_vectors(ideal[[c, d]], near[[a, b]])
            gap = np.linalg.norm(found.apply(near)[:, None] - ideal, axis=2).min(axis=1).max()
            if gap < best:
                best, turn = gap, found.as_matrix()
    return y @ turn.T


KINDS: dict[str, Kind] = {
    "perfect": Kind("Al", 1000, lambda x, edge: x),
    "stacking-fault": Kind("Al", 1300, faulted, 80),
    **{
        f"twin{''.join(map(str, p))}": Kind("Al", 1200, partial(twinned, plane=p), 50)
        for p in PLANES
    },
    "screw": Kind("Al", 1400, screw),
    "edge": Kind("Al", 1400, edge_dislocation),
    "frank-loop": Kind("Al", 1400, partial(loop, burgers=(1 / 3, 1 / 3, 1 / 3), radius=9.0), 20),
    "prismatic-loop": Kind("Al", 1400, partial(loop, burgers=(0.5, 0.5, 0), radius=6.0)),
    "tetrahedron": Kind(
        "Cu", 1600, partial(loop, burgers=(1 / 3, 1 / 3, 1 / 3), radius=6.5, sides=3), 20
    ),
    "decahedron": Kind("Au", 1000, decahedron, 100, whole=True),
    "icosahedron": Kind("Au", 900, icosahedron, 100, whole=True),
}


def fault_crystal(name: str, seed: int) -> tuple[Atoms, Potential]:
    """Return a relaxed particle, mean position 0, and its potential.

    Raises
    ------
    RuntimeError
        If none of the attempts keeps its defect at rest.
    """
    kind = KINDS[name]
    potential = choose_potential(kind.element, FILES[kind.element])
    edge, near = potential.lattice_constant, potential.neighbour_distance
    cluster, why = Cluster(potential), ""
    try:
        for attempt in range(ATTEMPTS):
            rng = np.random.default_rng([seed, attempt])
            x = kind.change(*_lattice(kind, edge, rng))
            if not kind.whole:
                x = _cut(x, kind.atoms, rng)
            x, _ = firm(x, np.zeros(len(x), dtype=int), potential)
            y, _, at_rest = cluster.relax(x, None, FIRM, 20_000)
            hcp = int((structure_types(y, potential.bond_reach) == STRUCTURES.index("hcp")).sum())
            if not at_rest:
                why = "no minimum of the energy"
            elif strayed(x, y).max() > 1.2 * near:
                why = "an atom went away"
            elif hcp < kind.hcp:
                why = f"{hcp} atoms of a fault at rest"
            else:
                return Atoms(y - y.mean(axis=0), kind.element), potential
    finally:
        cluster.close()
    msg = f"no {name} in {ATTEMPTS} attempts, the last: {why}"
    raise RuntimeError(msg)


def _lattice(kind: Kind, edge: float, rng: np.random.Generator) -> tuple[Floats, float]:
    """Return a ball of the lattice that holds the particle, about a place drawn, and the edge."""
    if kind.whole:
        return np.empty((0, 3)), edge
    radius = 1.5 * edge * (3 * kind.atoms / (16 * np.pi)) ** (1 / 3) + edge
    most = int(radius / edge) + 2
    cells = np.array(list(product(range(-most, most + 1), repeat=3)))
    sites = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
    x = edge * ((cells[:, None] + sites).reshape(-1, 3) - rng.random(3))
    return x[np.linalg.norm(x, axis=1) < radius], edge


def _cut(x: Floats, atoms: int, rng: np.random.Generator) -> Floats:
    """Return so many atoms within a polyhedron drawn."""
    normals = rng.normal(size=(FACES, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) * rng.uniform(0.85, 1.15, (FACES, 1))
    return x[np.abs(x @ normals.T).max(axis=1).argsort(kind="stable")[:atoms]]


def peaks_of(name: str, every: bool) -> Floats:
    """Return the Bragg vectors to measure around, (k, 3) [r.l.u. of the first grain].

    Three {111} of the first grain; with `every` of a decahedron six: the five {111} around its
    axis, each shared by two grains, and the (022) along it, shared by all.
    """
    if every and name == "decahedron":
        axis = unit((0, 1, 1))
        turns = Rotation.from_rotvec(2 * np.pi / 5 * np.arange(5)[:, None] * axis)
        return np.concatenate([turns.apply([-1.0, 1.0, -1.0]), [[0.0, 2.0, 2.0]]])
    return np.array(PLANES[1:], dtype=float)
