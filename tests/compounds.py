"""Small crystals of two elements, and what they scatter by direct summation."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.form_factors import form_factors
from prammol.potentials.choose import choose_potential
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import Potential
from prammol.simulation.averages import innermost_patches
from prammol.structure.atoms import Atoms
from prammol.structure.labels import Labels


@cache
def coal() -> Potential:
    """The compound CoAl, in the order of atomic numbers Al and Co, B2."""
    return choose_potential("CoAl", "CoAl.eam.alloy", structure="B2", lattice_constant=2.86635)


@cache
def coal_ball(radius: float = 7.0, relaxed: bool = False) -> Atoms:
    """Atoms of CoAl in a ball, on their sites or at rest."""
    potential = coal()
    edge, n = potential.lattice_constant, int(radius) + 1
    cells = np.indices((n, n, n)).reshape(3, -1).T - n // 2
    x = np.concatenate([edge * (cells + site) for site in potential.lattice.basis])
    kinds = np.repeat(potential.lattice.kind_of_site, len(cells))
    inside = np.linalg.norm(x - [0.4, 0.9, 0.2], axis=1) < radius
    x, kinds = x[inside], kinds[inside]
    if relaxed:
        cluster = Cluster(potential)
        cluster.labels = Labels.of_atoms(x, kinds)
        x, _, _ = cluster.relax(x)
        cluster.close()
    return Atoms.of_elements(x, np.array(potential.elements)[kinds])


def patches(points: int = 12) -> list[BraggPatch]:
    """Cubes around the peaks that are measured by default."""
    potential = coal()
    return innermost_patches(coal_ball(), points, potential.lattice_constant, potential.lattice)


def waves(atoms: Atoms, q: NDArray[np.float64]) -> NDArray[np.complex128]:
    """What each atom scatters, (n, m), in units of the form factor of the lightest element."""
    length = np.linalg.norm(q, axis=1)
    first = form_factors(atoms.element, length)
    own = np.array([form_factors(name, length) / first for name in atoms.symbols])
    return np.asarray(own * np.exp(-1j * atoms.positions @ q.T))
