"""The stages of preset ``paper``: Algorithm 1 of Meziere et al. 2024, line by line.

Start from a lattice (or random atoms), fit positions on a sample of the points (Eq. 8),
generate candidates, select by cross-validation (Eqs. 10, 11), relax a random half.
"""

from __future__ import annotations

from prammol.reconstruction.stages.paper.cross_validate import CrossValidate
from prammol.reconstruction.stages.paper.fit_positions import FitPositions
from prammol.reconstruction.stages.paper.generate_candidates import GenerateCandidates
from prammol.reconstruction.stages.paper.initial_lattice import FillAtRandom, FillLattice
from prammol.reconstruction.stages.paper.relax_subset import RelaxSubset

__all__ = [
    "CrossValidate",
    "FillAtRandom",
    "FillLattice",
    "FitPositions",
    "GenerateCandidates",
    "RelaxSubset",
]
