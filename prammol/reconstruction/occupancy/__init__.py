"""Which sites hold an atom.

The paper decides this by cross-validation over an ordering of single atoms (Eqs. 10, 11).
Preset ``default`` decides it jointly: binary quadratic optimisation, Gibbs sampling, a prior of
bond energy, moves with the neighbours relaxed.
"""

from __future__ import annotations

from prammol.reconstruction.occupancy.binary_quadratic import best_flips, flip
from prammol.reconstruction.occupancy.bond_energy import learnt_bond
from prammol.reconstruction.occupancy.bond_prior import BondPrior
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites, Choice, Expansion
from prammol.reconstruction.occupancy.continuous import fit_occupancies
from prammol.reconstruction.occupancy.gibbs_sampling import (
    exchanges,
    heat_bath,
    sample_near,
    sample_sets,
    swept,
)
from prammol.reconstruction.occupancy.low_signal import is_low_gain, is_low_signal
from prammol.reconstruction.occupancy.relaxed_moves import (
    Moves,
    cheapest_moves,
    relaxed_costs,
    with_neighbours_relaxed,
)

__all__ = [
    "BondPrior",
    "CandidateSites",
    "Choice",
    "Expansion",
    "Moves",
    "best_flips",
    "cheapest_moves",
    "exchanges",
    "fit_occupancies",
    "flip",
    "heat_bath",
    "is_low_gain",
    "is_low_signal",
    "learnt_bond",
    "relaxed_costs",
    "sample_near",
    "sample_sets",
    "swept",
    "with_neighbours_relaxed",
]
