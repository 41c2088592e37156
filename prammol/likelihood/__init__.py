"""How well atoms explain counts, and what the counts say about each atom.

The Poisson likelihood of the paper (Eqs. 4 to 9), its gradient, the gain of adding or removing one
atom (Eq. 10), Fisher information, difference map, and the points held out for cross-validation.
:mod:`prammol.likelihood.quasi_likelihood` widens the errors where the model is incomplete.
"""

from __future__ import annotations

from prammol.likelihood.atom_gains import single_atom_gains
from prammol.likelihood.deviance import deviance, noise_level
from prammol.likelihood.difference_map import DifferenceMap, difference_map
from prammol.likelihood.fisher_information import Fisher
from prammol.likelihood.holdout_blocks import HeldOut, hold_out_blocks, peak_window, random_field
from prammol.likelihood.model_error import misfit_with_model_error
from prammol.likelihood.poisson import (
    amplitude_scale,
    expected_counts,
    poisson_log_likelihood,
    poisson_scale,
    residual_weights,
)
from prammol.likelihood.prospects import Prospects, measured_patches, prospects
from prammol.likelihood.quasi_likelihood import Misfit, PoissonMisfit

__all__ = [
    "DifferenceMap",
    "Fisher",
    "HeldOut",
    "Misfit",
    "PoissonMisfit",
    "Prospects",
    "amplitude_scale",
    "deviance",
    "difference_map",
    "expected_counts",
    "hold_out_blocks",
    "measured_patches",
    "misfit_with_model_error",
    "noise_level",
    "peak_window",
    "poisson_log_likelihood",
    "poisson_scale",
    "prospects",
    "random_field",
    "residual_weights",
    "single_atom_gains",
]
