"""How far apart minima of a rough energy are, one of which the positions are taken from.

A potential whose tables have few digits has forces that jump from knot to knot. Then there are many
minima side by side, a few thousandths of an ångström apart, among which neither energy nor counts
tell; a curvature at one of them says nothing of the others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from prammol.potentials.lammps import Cluster
from prammol.reconstruction.model import Model
from prammol.reconstruction.problem import Problem
from prammol.structure.surface import mean_of_class, neighbour_classes

Floats = NDArray[np.float64]

_STEPS = (1e-3, 3e-3)  # derived: beside a knot, and across several; tables have 1e-3 to 1e-2 Å
# chosen: grains of 600 atoms, 13 potentials; 0.006 to 0.03 with Pt, Pd, Au and CoAl, which have
# many minima, at most 0.002 with others
_ROUGH = 3e-3
# chosen: three rough crystals; from 0.01 on there are others in reach; not varied
_KICK = 0.03  # Å
_DRAWS = 6  # derived: one way out of two is missed once in 64 times
_AWAY = 0.1  # derived: an atom that is kicked farther has changed places, as counts would show [Å]
_FEWEST = 4  # derived: fewer atoms have no curvature in some direction
_FORCE = 1e-6  # derived: as relax_and_align.force_tolerance [eV/Å]


def spread_of_minima(problem: Problem, model: Model, iteration: int) -> Floats:
    """Return how far from an object at rest other minima of the energy are, (n, 3) [Å].

    Atoms are kicked at random and relaxed. The largest distance, but for a translation and
    rotation, and at least the root mean square of atoms with equally many neighbours. Zero for a
    smooth energy, and where the data moved the atoms.

    Parameters
    ----------
    problem : Problem
    model : Model
    iteration : int
        Of the loop, for the random draws.
    """
    x, rng = model.positions, problem.rng("minima", iteration)
    if np.isfinite(model.stiffness):
        return np.zeros_like(x)
    if len(x) < _FEWEST or roughness(problem.cluster, x, rng) < _ROUGH:
        return np.zeros_like(x)
    shifts = []
    for _ in range(_DRAWS):
        kicked = x + rng.normal(scale=_KICK, size=x.shape)
        y, _, _ = problem.cluster.relax(kicked, force_tolerance=_FORCE)
        turn, _ = Rotation.align_vectors(x - x.mean(axis=0), y - y.mean(axis=0))
        shift = turn.apply(y - y.mean(axis=0)) - (x - x.mean(axis=0))
        shifts.append(np.clip(shift, -_AWAY, _AWAY))
    square = np.max(np.square(shifts), axis=0)
    classes = neighbour_classes(x, problem.potential.bond_reach)
    return np.sqrt(np.maximum(square, mean_of_class(square, classes)))


def roughness(cluster: Cluster, x: Floats, rng: np.random.Generator) -> float:
    """Return by how much second derivatives of two steps differ, as a part of the larger one's.

    Parameters
    ----------
    cluster : Cluster
    x : (n, 3) ndarray
        Positions [Å].
    rng : numpy.random.Generator
        For the direction of the steps.
    """
    along = rng.normal(size=x.shape)
    forces = [
        (cluster.energy_forces(x - step * along)[1] - cluster.energy_forces(x + step * along)[1])
        / (2.0 * step)
        for step in _STEPS
    ]
    size = max(float(np.linalg.norm(forces[1])), np.finfo(float).tiny)
    return float(np.linalg.norm(forces[0] - forces[1])) / size
