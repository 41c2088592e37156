"""Screw dislocations: putting one into a crystal, and finding it by a Burgers circuit."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import Delaunay, cKDTree

from prammol.core.errors import InputError
from prammol.structure.lattices import LATTICES


def perpendicular(line: ArrayLike) -> tuple[NDArray[np.float64], ...]:
    """Return unit vectors (e1, e2, t): right-handed, t along the line."""
    t = np.array(line, dtype=float)
    t /= np.linalg.norm(t)
    e1 = np.cross(np.eye(3)[np.abs(t).argmin()], t)
    e1 /= np.linalg.norm(e1)
    return e1, np.cross(t, e1), t


def line_between_rows(x: NDArray[np.float64], line: ArrayLike) -> NDArray[np.float64]:
    """Return a point on a line through the centre of a crystal, between its rows of atoms.

    Parameters
    ----------
    x : (n, 3) ndarray
        Perfect crystal [Å].
    line : (3,) array_like
        Direction of close-packed rows.

    Returns
    -------
    (3,) ndarray
        Centroid of the triangle of rows nearest to the mean of the atoms [Å].
    """
    e1, e2, t = perpendicular(line)
    flat = x @ np.stack([e1, e2]).T
    rows = np.unique(np.round(flat, 4), axis=0)
    if len(rows) < 3:
        msg = f"the crystal has only {len(rows)} rows of atoms along {tuple(np.array(line))}"
        raise InputError(msg)
    middle = x.mean(axis=0)
    centroids = rows[Delaunay(rows).simplices].mean(axis=1)
    distance = np.linalg.norm(centroids - [middle @ e1, middle @ e2], axis=1)
    best = centroids[int(distance.argmin())]
    return best[0] * e1 + best[1] * e2 + (middle @ t) * t


def add_screw(x: NDArray[np.float64], point: ArrayLike, burgers: ArrayLike) -> NDArray[np.float64]:
    """Displace a crystal by the elastic field of a screw dislocation.

    u = b theta / (2 pi), with theta the angle around the line (Hirth and Lothe,
    Theory of Dislocations; atomsk's ``-dislocation ... screw``).

    Parameters
    ----------
    x : (n, 3) ndarray
        Positions [Å].
    point : (3,) array_like
        A point of the line [Å].
    burgers : (3,) array_like
        Burgers vector [Å]; the line is along it.

    Returns
    -------
    (n, 3) ndarray
    """
    b = np.array(burgers, dtype=float)
    e1, e2, _ = perpendicular(b)
    d = x - np.array(point, dtype=float)
    return x + np.arctan2(d @ e2, d @ e1)[:, None] * b / (2 * np.pi)


def burgers_vector(
    x: NDArray[np.float64],
    lattice_constant: float,
    structure: str = "fcc",
    line: ArrayLike | None = None,
    point: ArrayLike | None = None,
    radius: float | None = None,
) -> NDArray[np.float64]:
    """Return the Burgers vector found by a closed circuit from atom to atom.

    The circuit goes along nearest-neighbour bonds, right-handed around the line, and
    only through atoms whose bonds are all clearly those of the perfect lattice. Each
    bond counts as the lattice vector it comes from; the circuit that is closed in the
    crystal fails to close in the lattice by b, from its finish to its start (the
    FS/RH convention). In the crystal's displacement field that is the jump of u over
    one right-handed turn.

    Parameters
    ----------
    x : (n, 3) ndarray
        Positions [Å], cube axes along x, y, z.
    lattice_constant : float
        Edge of the cubic cell [Å].
    structure : str
        ``"fcc"`` or ``"bcc"``.
    line : (3,) array_like, optional
        Direction of the line; [110] (fcc) or [111] (bcc) if not given.
    point : (3,) array_like, optional
        The circuit goes around the line through this point [Å]; the mean of the
        atoms if not given.
    radius : float, optional
        The circuit stays at least this far from the line [Å]; if not given, the
        largest multiple of half a lattice constant with a circuit is taken.

    Returns
    -------
    (3,) ndarray
        A lattice vector [Å]; exactly 0 if no dislocation is enclosed.

    Raises
    ------
    InputError
        If no such circuit exists: the good crystal doesn't surround the line.
    """
    direction = LATTICES[structure].line if line is None else line
    if direction is None:
        msg = f"give the direction of the line, {structure} has no usual one"
        raise InputError(msg)
    e1, e2, _ = perpendicular(direction)
    d = x - (x.mean(axis=0) if point is None else np.array(point, dtype=float))
    distance = np.hypot(d @ e1, d @ e2)
    angle = np.arctan2(d @ e2, d @ e1)
    bonds, steps = _lattice_bonds(x, lattice_constant, structure)
    smallest = lattice_constant if radius is None else float(radius)
    largest = smallest if radius is not None else max(float(distance.max()), smallest)
    for r in np.arange(largest, smallest - 1e-9, -0.5 * lattice_constant):
        keep = (distance[bonds] >= r).all(axis=1)
        total = _circuit(bonds[keep], steps[keep], angle)
        if total is not None:
            return -total * lattice_constant / 2 + 0.0
    msg = f"no circuit of undisturbed bonds around the line at {smallest:.1f} Å or farther"
    raise InputError(msg)


def _lattice_bonds(
    x: NDArray[np.float64], lattice_constant: float, structure: str
) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Return the nearest-neighbour bonds of undisturbed atoms and what they are in the lattice.

    Returns
    -------
    bonds : (m, 2) int ndarray
        Pairs of atoms, each pair in both orders.
    steps : (m, 3) int ndarray
        Lattice vector of the step from the first to the second [a / 2].
    """
    cube = np.indices((3, 3, 3)).reshape(3, -1).T - 1
    steps = cube[(cube**2).sum(axis=1) == {"fcc": 2, "bcc": 3}[structure]]
    ideal = steps * lattice_constant / 2
    length = float(np.linalg.norm(ideal[0]))
    pairs = cKDTree(x).query_pairs(1.25 * length, output_type="ndarray")
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    vector = x[pairs[:, 1]] - x[pairs[:, 0]]
    misfit, which = cKDTree(ideal).query(vector)
    # Every lattice vector must be there once, none far off: no surface, no core, no fault.
    clear = misfit < 0.2 * length
    found = np.zeros((len(x), len(ideal)), dtype=int)
    np.add.at(found, (pairs[clear, 0], which[clear]), 1)
    good = (found == 1).all(axis=1)
    keep = clear & good[pairs].all(axis=1)
    return pairs[keep], steps[which[keep]]


def _circuit(
    bonds: NDArray[np.int_], steps: NDArray[np.int_], angle: NDArray[np.float64]
) -> NDArray[np.int_] | None:
    """Sum the lattice steps of a closed path that turns once, None if there is none.

    A shortest path on the covering of the plane: nodes are (atom, turns so far).
    """
    if len(bonds) == 0:
        return None
    n = len(angle)
    jump = angle[bonds[:, 1]] - angle[bonds[:, 0]]
    turn = np.where(jump < -np.pi, 1, np.where(jump > np.pi, -1, 0))
    sheets = np.arange(3)  # one sheet to spare on either side isn't needed: -1, 0, 1
    rows, columns = [], []
    for s in sheets:
        ok = (s + turn >= 0) & (s + turn < len(sheets))
        rows.append(bonds[ok, 0] + n * s)
        columns.append(bonds[ok, 1] + n * (s + turn[ok]))
    row, column = np.concatenate(rows), np.concatenate(columns)
    size = n * len(sheets)
    graph = csr_array((np.ones(len(row)), (row, column)), shape=(size, size))
    lookup = {(int(i), int(j)): v for (i, j), v in zip(bonds, steps, strict=True)}
    # Any circuit crosses the cut at angle pi: start from an atom beside it.
    starts = np.unique(bonds[turn == 1, 0])
    for start in starts[:20]:
        _, before = dijkstra(graph, indices=start, unweighted=True, return_predecessors=True)
        node, total = int(start) + n, np.zeros(3, dtype=int)
        if before[node] < 0:
            continue
        while node != start:
            previous = int(before[node])
            total += lookup[previous % n, node % n]
            node = previous
        return total
    return None
