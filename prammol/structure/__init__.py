"""Atoms and the geometry of crystals: lattices, grains, dislocations, surfaces, vacant sites.

The samples of the paper (Methods, "Simulated crystals") are cut and deformed with these
functions; the reconstruction asks them where atoms could be and which lie at the surface.
No energies and no scattering.
"""

from __future__ import annotations

from prammol.structure.atoms import Atoms
from prammol.structure.crystal_fields import crystal_fields
from prammol.structure.dislocation import add_screw, burgers_vector, line_between_rows
from prammol.structure.fitted_lattice import FittedLattice, fit_lattice
from prammol.structure.lattices import LATTICES, Lattice
from prammol.structure.periodic_box import in_one_piece
from prammol.structure.separation import apart, groups_apart, require_angstrom
from prammol.structure.surface import (
    equivalent_diameter,
    mean_of_class,
    neighbour_classes,
    on_surface,
)
from prammol.structure.vacant_sites import vacant_sites
from prammol.structure.voronoi import aspect_ratio, neighbour_counts, voronoi_grain

__all__ = [
    "LATTICES",
    "Atoms",
    "FittedLattice",
    "Lattice",
    "add_screw",
    "apart",
    "aspect_ratio",
    "burgers_vector",
    "crystal_fields",
    "equivalent_diameter",
    "fit_lattice",
    "groups_apart",
    "in_one_piece",
    "line_between_rows",
    "mean_of_class",
    "neighbour_classes",
    "neighbour_counts",
    "on_surface",
    "require_angstrom",
    "vacant_sites",
    "voronoi_grain",
]
