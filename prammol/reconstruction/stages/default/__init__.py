"""The stages of preset ``default``: phase, choose sites, complete, reconsider, refine, check.

None of them is in the paper; together they replace its Algorithm 1 with fewer, larger steps.
"""

from __future__ import annotations

from prammol.reconstruction.stages.default.anneal import Anneal
from prammol.reconstruction.stages.default.check_changes import CheckChanges
from prammol.reconstruction.stages.default.choose_sites import ChooseSites
from prammol.reconstruction.stages.default.complete_atoms import CompleteAtoms
from prammol.reconstruction.stages.default.exchange_elements import ExchangeElements
from prammol.reconstruction.stages.default.fit_diffuse import FitDiffuse
from prammol.reconstruction.stages.default.fit_matter import FitMatter
from prammol.reconstruction.stages.default.join_grains import JoinGrains
from prammol.reconstruction.stages.default.move_shape import MoveShape
from prammol.reconstruction.stages.default.phase_patches import PhasePatches
from prammol.reconstruction.stages.default.reconsider_atoms import ReconsiderAtoms
from prammol.reconstruction.stages.default.refine_held import RefineHeld
from prammol.reconstruction.stages.default.relax_and_align import RelaxAndAlign
from prammol.reconstruction.stages.default.restrained_refinement import RestrainedRefinement
from prammol.reconstruction.stages.default.take_earlier import TakeEarlier
from prammol.reconstruction.stages.default.update_sites import UpdateSites

__all__ = [
    "Anneal",
    "CheckChanges",
    "ChooseSites",
    "CompleteAtoms",
    "ExchangeElements",
    "FitDiffuse",
    "FitMatter",
    "JoinGrains",
    "MoveShape",
    "PhasePatches",
    "ReconsiderAtoms",
    "RefineHeld",
    "RelaxAndAlign",
    "RestrainedRefinement",
    "TakeEarlier",
    "UpdateSites",
]
