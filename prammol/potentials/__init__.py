"""Interatomic potentials and LAMMPS: energies, forces, relaxation, molecular dynamics.

The paper's "physics": the energy keeps the structure physical between likelihood steps
(paper, Methods, "Molecular dynamics"; aluminium of Mishin et al. 1999). LAMMPS is known to
:mod:`prammol.potentials.lammps` and the two modules beside it alone.
"""

from __future__ import annotations

from prammol.potentials.adatoms import relax_adatoms
from prammol.potentials.choose import choose_potential
from prammol.potentials.equilibrium_lattice import Bulk, bulk_at_rest
from prammol.potentials.lammps import Cluster
from prammol.potentials.periodic_crystal import PeriodicCrystal, thermal_expansion
from prammol.potentials.potential import Potential, aluminium
from prammol.potentials.vibrations import force_constants, soft_modes

__all__ = [
    "Bulk",
    "Cluster",
    "PeriodicCrystal",
    "Potential",
    "aluminium",
    "bulk_at_rest",
    "choose_potential",
    "force_constants",
    "relax_adatoms",
    "soft_modes",
    "thermal_expansion",
]
