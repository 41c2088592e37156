"""From counts to atoms: the loop, its presets, and what they work on.

:mod:`prammol.reconstruction.loop` reads like Algorithm 1 of the paper. A preset is a list of
stages; ``paper`` is Algorithm 1 as printed, ``default`` the best known. The parts:

* :mod:`prammol.reconstruction.occupancy`: which sites hold an atom;
* :mod:`prammol.reconstruction.refinement`: where the atoms are;
* :mod:`prammol.reconstruction.uncertainty`: how sure both are;
* :mod:`prammol.reconstruction.stages`: the steps of the loop, for each preset.
"""

from __future__ import annotations

from prammol.reconstruction.loop import make_problem, reconstruct
from prammol.reconstruction.model import Model
from prammol.reconstruction.observer import Observer, Observers
from prammol.reconstruction.preset import USER_SETTINGS, Loop, Preset, Setting
from prammol.reconstruction.presets import PRESETS, get_preset
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.result import Cause, Reconstruction
from prammol.reconstruction.setting_kinds import Checked
from prammol.reconstruction.state import LoopStatus, Stage, State
from prammol.reconstruction.verdict import Verdict, judge

__all__ = [
    "PRESETS",
    "USER_SETTINGS",
    "Cause",
    "Checked",
    "Loop",
    "LoopStatus",
    "Model",
    "Observer",
    "Observers",
    "Preset",
    "Problem",
    "Reconstruction",
    "Setting",
    "Stage",
    "State",
    "Verdict",
    "get_preset",
    "judge",
    "make_problem",
    "reconstruct",
]
