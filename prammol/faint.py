"""Faint crystals: so few photons that single atoms are hardly seen.

One missing atom raises the misfit by C^2 N_hkl. Where that is small, greedy changes of the set
of atoms get stuck: each follows the noise, and phases away from the Bragg peaks are those of a
wrong surface. Sets are sampled instead (:mod:`prammol.stages.anneal`), and what a bond is worth
is learnt from the samples (:mod:`prammol.bond_worth`): learnt from the best object, which it had
made smooth itself, it grew without end.
"""

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction import Shard
from prammol.misfit import PoissonMisfit
from prammol.scattering import StructureFactor

_HARDLY = 12.5  # an atom's worth at five standard deviations


def is_faint(shard: Shard, factor: StructureFactor, omega: NDArray[np.complex128]) -> bool:
    """Tell whether one missing atom is seen with less than five standard deviations.

    Parameters
    ----------
    shard : Shard
    factor : StructureFactor
    omega : (m,) complex ndarray
        Structure factor of the object on this rank's points.
    """
    misfit = PoissonMisfit(shard, factor)
    return hardly_seen(misfit.cost_of_one(omega, misfit.scale(omega)))


def hardly_seen(worth: float) -> bool:
    """Tell whether so much misfit for a missing atom is less than five standard deviations."""
    return worth < _HARDLY
