"""The perfect crystal of a potential at rest: its lattice constant, from LAMMPS.

A potential file often doesn't say what its crystal is, or says it wrongly. Here the
energy of each structure is followed over a wide range of lattice constants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from prammol.core.errors import PotentialError, SimulationError
from prammol.potentials.lammps_process import said
from prammol.potentials.periodic_crystal import PeriodicCrystal
from prammol.potentials.potential import Potential
from prammol.structure.lattices import LATTICES, Lattice

# Neighbour distances tried, in twice the covalent radius: metals are at 0.9 to 1.2.
_RANGE = (0.75, 1.9)  # derived: physics, metals lie well inside
_STEPS = 64  # chosen: not varied
_STEP = 0.01  # derived: about as much as ratios of edges differ from the ideal one
# chosen: between hcp and fcc of Lennard-Jones (0.1 meV) and of Mg, Zr, Co (20 to 30); not varied
_ALIKE = 0.003  # structures so close in energy are alike, and the first is taken [eV per atom]
_DIGITS = 5  # chosen: display [Å]


@dataclass(frozen=True)
class Bulk:
    """A perfect crystal at rest.

    Attributes
    ----------
    structure : str
        One of LATTICES.
    lattice_constant : float
        First edge of the cell [Å].
    energy : float
        Energy per atom [eV].
    crystal : Lattice, optional
        With the shape of its cell at rest, if that isn't cubic.
    """

    structure: str
    lattice_constant: float
    energy: float
    crystal: Lattice | None = None


def bulk_at_rest(
    potential: Potential, structures: Sequence[str] | Mapping[str, Lattice], radius: float
) -> Bulk:
    """Return the crystal of lowest energy.

    Parameters
    ----------
    potential : Potential
        Its own structure and lattice constant aren't used.
    structures : sequence of str, or mapping of str to Lattice
        Structures to compare: names of LATTICES, or structures by their names.
    radius : float
        Roughly half the distance of neighbours [Å], such as the covalent radius.

    Raises
    ------
    PotentialError
        If LAMMPS refuses the potential, or no structure has a minimum of the energy.
    """
    if not isinstance(structures, Mapping):
        structures = {name: LATTICES[name] for name in structures}
    found = []
    for structure, lattice in structures.items():
        factor = 2 * radius / lattice.neighbour
        edges = factor * np.geomspace(*_RANGE, _STEPS)
        try:
            with PeriodicCrystal(potential, lattice) as crystal:
                best = _lowest(crystal, edges)
                if best is not None:
                    found.append(_shaped(structure, lattice, crystal, *best))
        except SimulationError as error:
            reason = said(error.__cause__ or error)
            msg = f"{potential.name}: LAMMPS can't use the potential: {reason}"
            raise PotentialError(msg) from error
    if not found:
        low, high = (2 * radius * r for r in _RANGE)
        name = "".join(potential.elements)
        msg = (
            f"{potential.name}: no {' or '.join(structures)} crystal of {name} is at rest with "
            f" neighbours between {low:.1f} and {high:.1f} Å; "
            "give --structure and --lattice-constant"
        )
        raise PotentialError(msg)
    usual = min(bulk.energy for bulk in found)
    return next(bulk for bulk in found if bulk.energy < usual + _ALIKE)


def _shaped(
    structure: str, lattice: Lattice, crystal: PeriodicCrystal, edge: float, energy: float
) -> Bulk:
    """Return the crystal with the ratio of its edges at rest, near one with the ideal ratio."""
    length = np.linalg.norm(lattice.vectors, axis=1)
    _, kind = np.unique(np.round(length, 6), return_inverse=True)
    if kind.max() == 0:
        return Bulk(structure, edge, energy)
    fit = minimize(
        lambda factors: crystal.energy(edge * factors[kind]), np.ones(kind.max() + 1),
        method="Nelder-Mead",
        options={"xatol": 1e-6, "fatol": 1e-10, "initial_simplex": _simplex(kind.max() + 1)},
    )  # fmt: skip
    edges = edge * fit.x[kind]
    first = round(float(edges[0]), _DIGITS)
    rows = np.round((lattice.vectors.T * (edges / edges[0])).T, _DIGITS + 1)
    shaped = replace(lattice, cell=tuple(map(tuple, rows.tolist())))
    return Bulk(structure, first, float(fit.fun), shaped)


def _simplex(number: int) -> np.ndarray:
    """Return corners around 1 from which the ratios of so many edges are looked for."""
    return 1.0 + _STEP * np.concatenate([np.zeros((1, number)), np.eye(number)])


def _lowest(crystal: PeriodicCrystal, edges: np.ndarray) -> tuple[float, float] | None:
    """Return the edge and energy of the lowest minimum inside a range of edges."""
    energies = np.array([crystal.energy(edge) for edge in edges])
    inner = energies[1:-1]
    minima = 1 + np.flatnonzero((inner < energies[:-2]) & (inner < energies[2:]))
    if len(minima) == 0:
        return None
    k = int(minima[energies[minima].argmin()])
    fit = minimize_scalar(
        crystal.energy, bounds=(edges[k - 1], edges[k + 1]), method="bounded",
        options={"xatol": 1e-7},
    )  # fmt: skip
    return round(float(fit.x), _DIGITS), float(fit.fun)
