"""Where the lattice lies against the shape: what phasing each patch alone leaves open.

The constant phase of each wave is free. Changing the three by alpha_p shifts the
lattice by G^-1 alpha against the envelope, and so changes which sites lie inside.
The intensities far from the Bragg peaks tell one shift from another.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from prammol.misfit import AmplitudeMisfit
from prammol.phasing import bulk_amplitude
from prammol.synthesis import Waves

WHOLE = 0.5  # the bulk's amplitude at a flat surface halfway between two layers


def weights_of_amplitude(amplitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return first occupancies: 0 below a quarter of the bulk's amplitude, 1 above three.

    A site on a flat surface has half the amplitude of the bulk.
    """
    return np.clip(2.0 * (amplitude - 0.25), 0.0, 1.0)


def rank_shifts(
    cell: NDArray[np.float64],
    waves: Waves,
    sites: NDArray[np.float64],
    misfit: AmplitudeMisfit,
    steps: int,
    keep: int,
) -> NDArray[np.float64]:
    """Return the occupancies that belong to the best shifts of the lattice.

    Parameters
    ----------
    cell : (3, 3) ndarray
        Rows are primitive vectors of the lattice [Å].
    waves : Waves
        The waves of the three patches.
    sites : (n, 3) ndarray
        Sites from the patches' origin [Å].
    misfit : AmplitudeMisfit
        Decides between the shifts.
    steps : int
        Shifts tried along each primitive vector.
    keep : int
        Number of shifts to return.

    Returns
    -------
    (keep, n) ndarray
        Occupancies in [0, 1], best shift first.
    """
    bulk = bulk_amplitude(np.abs(waves(sites)))
    tried = []
    for turn in product(np.arange(steps) / steps, repeat=3):
        shift = (np.array(turn) - 0.5) @ cell
        amplitude = (np.abs(waves(sites + shift)) / bulk).mean(axis=1)
        # Compared as whole atoms: soft weights blur the surface that tells the shifts apart.
        value = misfit(sites[amplitude > WHOLE]).value
        tried.append((value, weights_of_amplitude(amplitude)))
    order = np.argsort([value for value, _ in tried], kind="stable")
    return np.array([tried[i][1] for i in order[:keep]])
