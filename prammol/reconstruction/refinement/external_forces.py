"""Atoms that something outside of the crystal holds: a substrate, a clamp, a bond to a neighbour.

At the minimum of the energy no atom feels a force. Atoms that are held feel one, and all others
still none: the forces at positions which the counts have pulled off the minimum tell which these
are. With external forces f on the held atoms alone,

    J + k (E - sum_j f_j.x_j),

the others obey the potential as strictly as at a free minimum, and the held ones not at all: f is
what balances the potential where the counts have put them, found by repetition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.refinement.restrained_fit import Energies, restrained_fit
from prammol.structure.surface import equivalent_diameter

Floats = NDArray[np.float64]

# chosen: 181 atoms of which 20 are clamped, 16 to 19 are found and no other; not varied
_STANDS_OUT = 4.0  # times the median force
_ASIDE = 0.25  # derived: of the diameter, half way from the middle to the surface


@dataclass(frozen=True, eq=False)
class Loaded:
    """Energy and forces of a crystal under external forces.

    Attributes
    ----------
    crystal : Energies
    external : (n, 3) ndarray
        [eV/Å]
    """

    crystal: Energies
    external: Floats

    def energy_forces(self, x: Floats) -> tuple[float, Floats]:
        """Return energy, with that of the external forces [eV], and all forces, (n, 3) [eV/Å]."""
        energy, forces = self.crystal.energy_forces(x)
        return energy - float(np.sum(self.external * x)), forces + self.external


def held_atoms(forces: Floats) -> NDArray[np.bool_]:
    """Tell which atoms feel forces, (n, 3) [eV/Å], that stand out from those of most, (n,)."""
    size = np.linalg.norm(forces, axis=1)
    return np.asarray(size > _STANDS_OUT * np.median(size))


def on_one_side(x: Floats, held: NDArray[np.bool_], few: float) -> bool:
    """Tell whether some atoms, but less than a part `few` of all, lie on one side of the crystal.

    A potential that is wrong at surfaces makes forces stand out all around.
    """
    if not 0 < np.mean(held) < few:
        return False
    away = np.linalg.norm(x[held].mean(axis=0) - x.mean(axis=0))
    return bool(away > _ASIDE * equivalent_diameter(x))


def balancing(forces: Floats, held: NDArray[np.bool_]) -> Floats:
    """Return external forces on held atoms that balance those of the potential, (n, 3) [eV/Å].

    Their sum is 0, as neither counts nor energy keep the crystal in its place.
    """
    out = np.where(held[:, None], -forces, 0.0)
    if held.any():
        out[held] -= out[held].mean(axis=0)
    return np.asarray(out)


def loaded_fit(
    misfit: PoissonMisfit,
    crystal: Energies,
    x: Floats,
    stiffness: float,
    iterations: int,
) -> tuple[Floats, NDArray[np.bool_]]:
    """Find which atoms are held, and fit all positions with forces on these alone.

    Parameters
    ----------
    misfit : PoissonMisfit
        All ranks call this together.
    crystal : Energies
    x : (n, 3) ndarray
        Positions that the counts have pulled off the minimum of the energy [Å].
    stiffness : float
        Weight of the energy [1/eV].
    iterations : int
        Of L-BFGS.

    Returns
    -------
    positions : (n, 3) ndarray
        [Å]
    held : (n,) bool ndarray
    """
    _, forces = crystal.energy_forces(x)
    held = held_atoms(forces)
    loaded = Loaded(crystal, balancing(forces, held))
    return restrained_fit(misfit, loaded, x, stiffness, iterations), held
