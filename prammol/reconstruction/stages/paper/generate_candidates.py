"""Positions where an atom may be missing (paper, "Atom generation")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay, QhullError, cKDTree

from prammol.diffraction.support import Support
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.setting_kinds import Checked, NonNegative, Positive, Whole
from prammol.reconstruction.state import State
from prammol.structure.separation import apart

Positions = NDArray[np.float64]


@dataclass(frozen=True)
class Candidates:
    """Positions proposed for new atoms.

    Attributes
    ----------
    positions : (m, 3) ndarray
        Where they would be [Å].
    """

    positions: Positions


@dataclass(frozen=True)
class GenerateCandidates(Checked):
    """Propose new atoms: in the gaps, along the forces, and at random (Algorithm 1, 6).

    The proposals are filtered, each is relaxed with the object fixed, and they are
    filtered again. Distances are in units of the potential's neighbour distance.

    Attributes
    ----------
    distance : float
        Least distance of a new atom to the object and to other new ones. Below
        0.71 the octahedral holes of a perfect fcc crystal are proposed too.
    gap : float
        Largest circumradius of a Delaunay tetrahedron to put an atom into.
    force : float
        Least force on an atom to look for a missing one along it [eV/Å].
    random : float
        Random positions per atom of the object.
    reach : float
        Largest distance of a random position to some atom of the object.
    slack : float
        How far outside the support a new atom may lie, also when the support is moved to
        where the centre of the object is. A translation changes no intensity, so the crystal's
        place against the support is only known to about half a lattice vector, and not even
        that after a random start; with 0, the atoms on one side can never be proposed.
    slack_after : int
        Iterations before the slack is used. First the support decides which atoms
        of the start stay: given room at once, the crystal may grow on the wrong side.
    """

    distance: Positive = 0.75  # derived: above the 0.71 of octahedral holes, below a bond
    gap: Positive = 2.0  # chosen: not varied
    force: NonNegative = 0.05  # chosen: not varied
    random: NonNegative = 0.2  # chosen: not varied
    reach: Positive = 1.5  # chosen: not varied
    slack: NonNegative = 1.0  # chosen: vacancy crystal, 1e20; with 0 27 atoms are missing
    # chosen: vacancy crystal, 1e20; with 0 one run of six grew on the wrong side
    slack_after: Whole = 5

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state with new candidates."""
        x, unit = state.positions, problem.potential.neighbour_distance
        if len(x) == 0:
            return state.handing(Candidates(np.empty((0, 3))))
        rng = problem.rng("generate", state.status.iteration)
        _, forces = problem.cluster.energy_forces(x)
        least = self.distance * unit
        slack, drift = 0.0, None
        if state.status.iteration >= self.slack_after and self.slack > 0:
            slack = self.slack * unit
            drift = x.mean(axis=0) - problem.support.centre
        adatoms = np.concatenate(
            [
                circumcentres(x, least, self.gap * unit),
                along_forces(x, forces, self.force, unit),
                random_near(x, round(self.random * len(x)), least, self.reach * unit, rng),
            ]
        )
        adatoms = filtered(adatoms, x, least, problem.support, slack, drift)
        if len(adatoms):
            adatoms, _ = problem.cluster.relax_adatoms(x, adatoms)
            adatoms = filtered(adatoms, x, least, problem.support, slack, drift)
        return state.handing(Candidates(adatoms))


def circumcentres(x: Positions, smallest: float, largest: float) -> Positions:
    """Return the centres of the empty spheres through four atoms (Delaunay triangulation).

    Parameters
    ----------
    x : (n, 3) ndarray
        Atoms [Å].
    smallest, largest : float
        Range of the radius [Å].

    Returns
    -------
    (m, 3) ndarray
        Centres [Å]; none if the atoms don't span three dimensions.
    """
    try:
        corners = x[Delaunay(x).simplices]
    except (QhullError, ValueError):
        return np.empty((0, 3))
    edges = corners[:, 1:] - corners[:, :1]
    # Flat tetrahedra have no centre within reach; dropped before the solve.
    edges = edges[np.abs(np.linalg.det(edges)) > 1e-6 * largest**3]
    first = corners[np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1])) > 1e-6 * largest**3, 0]
    centre = np.linalg.solve(edges, 0.5 * (edges**2).sum(axis=2)[..., None])[..., 0]
    radius = np.linalg.norm(centre, axis=1)
    keep = (radius >= smallest) & (radius <= largest)
    return first[keep] + centre[keep]


def along_forces(x: Positions, forces: Positions, least: float, step: float) -> Positions:
    """Return positions one step from each atom along the force on it.

    Parameters
    ----------
    x, forces : (n, 3) ndarray
        Atoms [Å] and the forces on them [eV/Å].
    least : float
        Atoms with a smaller force are left out [eV/Å].
    step : float
        Distance from the atom [Å].

    Returns
    -------
    (m, 3) ndarray
    """
    size = np.linalg.norm(forces, axis=1)
    strong = size > max(least, np.finfo(float).tiny)
    return x[strong] + step * forces[strong] / size[strong, None]


def random_near(
    x: Positions, count: int, nearest: float, farthest: float, rng: np.random.Generator
) -> Positions:
    """Return random positions in the shells around random atoms.

    Parameters
    ----------
    x : (n, 3) ndarray
        Atoms [Å].
    count : int
        Number of positions.
    nearest, farthest : float
        Radii of the shell, uniform in volume [Å].
    rng : numpy.random.Generator

    Returns
    -------
    (count, 3) ndarray
    """
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    radius = np.cbrt(rng.uniform(nearest**3, farthest**3, count))
    return x[rng.integers(len(x), size=count)] + radius[:, None] * direction


def filtered(
    adatoms: Positions,
    x: Positions,
    distance: float,
    support: Support,
    slack: NonNegative = 0.0,
    drift: Positions | None = None,
) -> Positions:
    """Return the positions in or near the support that are close to no atom and to no other.

    Of two close to each other the one that comes first stays.

    Parameters
    ----------
    adatoms : (m, 3) ndarray
        Proposed positions [Å].
    x : (n, 3) ndarray
        Atoms of the object [Å].
    distance : float
        Least distance [Å].
    support : Support
    slack : float
        How far outside the support they may lie [Å].
    drift : (3,) ndarray, optional
        By how much the support may be moved, or not [Å].

    Returns
    -------
    (k, 3) ndarray
    """
    adatoms = adatoms[np.isfinite(adatoms).all(axis=1)]
    near = near_support(adatoms, support, slack)
    if drift is not None:
        near |= near_support(adatoms - drift, support, slack)
    adatoms = adatoms[near]
    if len(adatoms) == 0:
        return adatoms
    gap, _ = cKDTree(x).query(adatoms, distance_upper_bound=distance)
    adatoms = adatoms[~(gap < distance)]
    return adatoms[apart(adatoms, distance)]


def near_support(x: Positions, support: Support, slack: float) -> NDArray[np.bool_]:
    """Tell which positions lie in the support, or do when moved by `slack` [Å] somewhere."""
    inside = support.contains(x)
    if slack > 0:
        for way in np.array([w for w in np.ndindex(3, 3, 3) if w != (1, 1, 1)]) - 1.0:
            inside |= support.contains(x + slack * way / np.linalg.norm(way))
    return inside
