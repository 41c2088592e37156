"""The perfect crystal of a potential at rest: its lattice constant, from LAMMPS.

A potential file often doesn't say what its crystal is, or says it wrongly. Here the
energy of fcc and bcc is followed over a wide range of lattice constants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from prammol.core.errors import PotentialError, SimulationError
from prammol.potentials.lammps_process import said
from prammol.potentials.periodic_crystal import PeriodicCrystal
from prammol.potentials.potential import Potential
from prammol.structure.lattices import LATTICES

# Neighbour distances tried, in twice the covalent radius: metals are at 0.9 to 1.2.
_RANGE = (0.75, 1.9)  # derived: physics, metals lie well inside
_STEPS = 64  # chosen: not varied
_DIGITS = 5  # chosen: display [Å]


@dataclass(frozen=True)
class Bulk:
    """A perfect crystal at rest.

    Attributes
    ----------
    structure : str
        ``"fcc"`` or ``"bcc"``.
    lattice_constant : float
        Edge of the cubic cell [Å].
    energy : float
        Energy per atom [eV].
    """

    structure: str
    lattice_constant: float
    energy: float


def bulk_at_rest(potential: Potential, structures: Sequence[str], radius: float) -> Bulk:
    """Return the crystal of lowest energy.

    Parameters
    ----------
    potential : Potential
        Its own structure and lattice constant aren't used.
    structures : sequence of str
        Structures to compare.
    radius : float
        Roughly half the distance of neighbours [Å], such as the covalent radius.

    Raises
    ------
    PotentialError
        If LAMMPS refuses the potential, or no structure has a minimum of the energy.
    """
    found = []
    for structure in structures:
        factor = 2 * radius / LATTICES[structure].neighbour
        edges = factor * np.geomspace(*_RANGE, _STEPS)
        try:
            with PeriodicCrystal(potential, structure) as crystal:
                best = _lowest(crystal, edges)
        except SimulationError as error:
            reason = said(error.__cause__ or error)
            msg = f"{potential.name}: LAMMPS can't use the potential: {reason}"
            raise PotentialError(msg) from error
        if best is not None:
            found.append(Bulk(structure, *best))
    if not found:
        low, high = (2 * radius * r for r in _RANGE)
        msg = (
            f"{potential.name}: no {' or '.join(structures)} crystal of {potential.element} is at "
            f"rest with neighbours between {low:.1f} and {high:.1f} Å; "
            "give --structure and --lattice-constant"
        )
        raise PotentialError(msg)
    return min(found, key=lambda bulk: bulk.energy)


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
