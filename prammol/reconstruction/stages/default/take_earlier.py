"""Begin with the atoms of an earlier state."""

from __future__ import annotations

from dataclasses import dataclass, replace

from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.model import Model
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.setting_kinds import Checked
from prammol.reconstruction.stages.default.choose_sites import rough_scales
from prammol.reconstruction.state import State


@dataclass(frozen=True)
class TakeEarlier(Checked):
    """Take the atoms of an earlier state where the counts have them.

    In the place of phase retrieval: :mod:`prammol.reconstruction.refinement.lay_earlier` has laid
    them there.
    """

    def __call__(self, problem: Problem, state: State) -> State:
        """Return a state with the earlier state's atoms."""
        assert problem.earlier is not None
        x = problem.earlier.positions
        calibration = rough_scales(problem, x)
        seen = problem.calibrated(calibration)
        scale = PoissonMisfit(seen.shard, seen.factor)(x).scale
        status = replace(state.status, earlier=True)
        return replace(state, model=Model(x, scale, calibration=calibration), status=status)
