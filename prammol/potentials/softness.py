"""How soft a crystal is at its surface: what one atom too few does to the others."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import Potential

Floats = NDArray[np.float64]

_RELAXED = 400  # chosen: atoms of the ball that is relaxed; not varied
_REMOVED = 6  # chosen: atoms taken from it in turn; not varied
_FORCE = 1e-3  # chosen: eV/Å, a tenth of a picometre in a metal; not varied


@dataclass(frozen=True)
class Relaxation:
    """What one atom too few at the surface does to the others.

    Attributes
    ----------
    displacement : float
        Root of the sum of squared displacements [Å].
    strain : float
        Root of the sum of squared strains of bonds, by the bonds of an atom.
    """

    displacement: float
    strain: float


def relaxation(potential: Potential, cluster: Cluster) -> Relaxation:
    """Return what removing an atom of the surface does, the median of some; called by all ranks."""
    x, _, _ = cluster.relax(perfect_ball(potential, _RELAXED), force_tolerance=_FORCE)
    tree = cKDTree(x)
    bonds = tree.query_pairs(potential.bond_reach, output_type="ndarray")
    # Few bonds cost little energy: these atoms are in doubt first.
    number = tree.query_ball_point(x, potential.bond_reach, return_length=True)
    squares, strains = [], []
    for j in np.argsort(number, kind="stable")[:_REMOVED]:
        keep = np.arange(len(x)) != j
        y = x.copy()
        y[keep], _, _ = cluster.relax(x[keep], force_tolerance=_FORCE)
        u = y - x
        u[keep] -= u[keep].mean(axis=0)
        there = bonds[(bonds != j).all(axis=1)]
        along = x[there[:, 0]] - x[there[:, 1]]
        change = np.sum((u[there[:, 0]] - u[there[:, 1]]) * along, axis=1)
        squares.append(float(np.sum(u[keep] ** 2)))
        ratio = change / np.sum(along**2, axis=1)
        strains.append(float(np.sum(ratio**2)) * len(x) / max(len(bonds), 1))
    return Relaxation(float(np.median(squares)) ** 0.5, float(np.median(strains)) ** 0.5)


def perfect_ball(potential: Potential, number: float) -> Floats:
    """Return the atoms of a perfect ball, about as many as asked for, (n, 3) [Å]."""
    lattice, edge = potential.lattice, potential.lattice_constant
    radius = (0.75 / np.pi * number * potential.atomic_volume) ** (1 / 3)
    reach = np.ceil(radius / edge / np.linalg.norm(np.linalg.inv(lattice.vectors), axis=0).min())
    steps = np.array(list(product(range(-int(reach) - 2, int(reach) + 3), repeat=3)))
    x = edge * ((steps @ lattice.vectors)[:, None] + lattice.basis).reshape(-1, 3)
    x = x - edge * np.array([0.23, 0.1, 0.05])  # no symmetry is meant
    return np.asarray(x[np.linalg.norm(x, axis=1) < radius])
