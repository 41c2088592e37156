"""A crystal that dissolves or grows atom by atom, relaxed after each state."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.core.errors import InputError
from prammol.core.parallel import Communicator
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import Potential, aluminium
from prammol.structure.atoms import Atoms

# chosen: a bond of aluminium at the surface is worth 0.1 to 0.2 eV, at some 800 K; not varied
_BOND = 2.0  # in units of the temperature
_FORCE_TOLERANCE = 1e-8  # derived: as for samples [eV/Å]
_MOST_PART = 0.5  # derived: of the atoms; what is left is another crystal


def change_surface(
    atoms: Atoms,
    number: int,
    potential: Potential | None = None,
    seed: int = 0,
    comm: Communicator | None = None,
) -> Atoms:
    """Return the crystal after so many atoms of its surface left, or came.

    One after the other, at random: an atom of the surface leaves with a probability that falls as
    exp(-2 z) with its number z of neighbours, one comes to a vacant site of the lattice with one
    that grows as exp(2 z). Then all relax.

    Parameters
    ----------
    atoms : Atoms
        Of one element [Å].
    number : int
        Atoms that come; negative: that leave.
    potential : Potential, optional
        The paper's aluminium if not given.
    seed : int
        Of the random choices.
    comm : Communicator, optional
        LAMMPS runs on all its ranks; all get the same crystal.

    Raises
    ------
    InputError
        If the atoms are of other elements, or more than half of them would leave or come.
    SimulationError
        If LAMMPS fails.
    """
    potential = potential or aluminium()
    if atoms.elements != potential.elements or potential.others:
        msg = (
            f"atoms of {', '.join(atoms.elements)}, expected one element, "
            f"{potential.element} as the potential"
        )
        raise InputError(msg)
    if abs(number) > _MOST_PART * len(atoms):
        msg = f"{abs(number)} of {len(atoms)} atoms can't change, expected at most half of them"
        raise InputError(msg)
    rng = np.random.default_rng([seed, abs(number), int(number > 0)])
    x = atoms.positions
    for _ in range(abs(number)):
        sites = potential.vacant_sites(x) if number > 0 else x
        bonds = _neighbours(x, sites, potential.bond_reach)
        if number < 0:
            bonds = np.where(bonds < np.median(bonds), -bonds, -np.inf)
        weight = np.exp(_BOND * (bonds - bonds.max()))
        k = int(rng.choice(len(sites), p=weight / weight.sum()))
        x = np.concatenate([x, sites[k : k + 1]]) if number > 0 else np.delete(x, k, axis=0)
    cluster = Cluster(potential, comm or Communicator())
    try:
        x, energy, _ = cluster.relax(x, force_tolerance=_FORCE_TOLERANCE)
    finally:
        cluster.close()
    info = {**atoms.info, "seed": seed, "changed": number, "energy": energy}
    return Atoms(x, potential.element, info=info)


def _neighbours(
    x: NDArray[np.float64], sites: NDArray[np.float64], reach: float
) -> NDArray[np.float64]:
    """Return the number of atoms around sites, without one at the site itself, (m,)."""
    tree = cKDTree(x)
    number = tree.query_ball_point(sites, reach, return_length=True)
    return (number - (tree.query(sites)[0] < 1e-6)).astype(float)
