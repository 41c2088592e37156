"""Comparison with a known crystal: registration, missing and extra atoms, errors, resolution.

The paper's measures (Results; Figs. 4 to 8): mean error after registration, resolution
pi/q_c from the phases of the scattering (Fig. 4b), and for warm crystals the mean scattering.
And :func:`plan`: what an experiment that hasn't been done would tell.
"""

from __future__ import annotations

from prammol.evaluation.comparison import Comparison, compare
from prammol.evaluation.mean_scattering import MeanScattering, ScatteringAverage
from prammol.evaluation.metrics import Metrics, against_scattering, evaluate, of_staying
from prammol.evaluation.plan import Plan, plan
from prammol.evaluation.registration import Registration, register
from prammol.evaluation.resolution import Resolution, resolution
from prammol.evaluation.trajectory_statistics import Motion, hops

__all__ = [
    "Comparison",
    "MeanScattering",
    "Metrics",
    "Motion",
    "Plan",
    "Registration",
    "Resolution",
    "ScatteringAverage",
    "against_scattering",
    "compare",
    "evaluate",
    "hops",
    "of_staying",
    "plan",
    "register",
    "resolution",
]
