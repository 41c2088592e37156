"""Low signal: so few photons that single atoms are hardly seen.

One missing atom raises the misfit by C^2 N_hkl. Where that is small, greedy changes of the set of
atoms get stuck: each follows the noise, and phases away from the Bragg peaks are those of a wrong
surface. Sets are sampled instead (:mod:`prammol.reconstruction.stages.default.anneal`), and what a
bond is worth is learnt from the samples (:mod:`prammol.reconstruction.occupancy.bond_energy`):
learnt from the best object, which it had made smooth itself, it grew without end.
"""

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.dataset import Shard
from prammol.diffraction.structure_factor import StructureFactor
from prammol.likelihood.quasi_likelihood import PoissonMisfit

# derived: half of five standard deviations squared, a log-likelihood
_LOW_SIGNAL_GAIN = 12.5  # an atom's worth at five standard deviations


def is_low_signal(shard: Shard, factor: StructureFactor, omega: NDArray[np.complex128]) -> bool:
    """Tell whether one missing atom is seen with less than five standard deviations.

    Parameters
    ----------
    shard : Shard
    factor : StructureFactor
    omega : (m,) complex ndarray
        Structure factor of the object on this rank's points.
    """
    misfit = PoissonMisfit(shard, factor)
    return is_low_gain(misfit.cost_of_one_atom(omega, misfit.scale(omega)))


def is_low_gain(worth: float) -> bool:
    """Tell whether so much misfit for a missing atom is less than five standard deviations."""
    return worth < _LOW_SIGNAL_GAIN
