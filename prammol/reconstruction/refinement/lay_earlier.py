"""An earlier state laid on new counts: turned and strained as the Bragg peaks have moved.

Shifts don't change intensities. A linear map of the atoms moves the peaks: with Bragg vectors
G of the atoms and G' = A G of the data, x' = A^-T x has the peaks of the data.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import DataError
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.rotation_strain import align_strained, strain_of

_ROUNDS = 3  # chosen: one is enough unless a peak was at the edge of its patch; not varied
# derived: as for the lattice of an earlier state
_LARGEST_STRAIN = 0.06
_THERE = 0.1  # chosen: as well as few photons tell a peak's place; not varied
_NEAR = 0.5  # derived: half of a peak's width, 2 pi over the size of the crystal


def laid_on_counts(problem: Problem) -> NDArray[np.float64]:
    """Return the atoms of the problem's earlier state where the counts have them, (n, 3) [Å].

    Raises
    ------
    DataError
        If its peaks aren't where the data's are after they were laid on each other.
    """
    earlier = problem.earlier
    assert earlier is not None
    x = earlier.positions
    misfit = PoissonMisfit(problem.shard, problem.factor)
    there = problem.data.peaks()
    width = 2.0 * np.pi / np.ptp(x, axis=0).max()
    best, least = align_strained(misfit, x, x)
    gap = _gaps(problem, best, there).max()
    for _ in range(_ROUNDS):
        if gap < _THERE * width:
            break
        own = _peaks_of(problem, x)
        linear = np.linalg.lstsq(own, there, rcond=None)[0]  # rows: G' = G linear
        middle = x.mean(axis=0)
        x = middle + (x - middle) @ np.linalg.inv(linear).T
        y, value = align_strained(misfit, x, x)
        if value < least:
            best, least = y, value
            gap = _gaps(problem, y, there).max()
    arm = earlier.positions - earlier.positions.mean(axis=0)
    total = np.linalg.lstsq(arm, best - best.mean(axis=0), rcond=None)[0]
    strain = float(np.abs(strain_of(total)).max())
    if gap > _NEAR * width or strain > _LARGEST_STRAIN:
        msg = (
            "the earlier state's orientation or lattice is too far off: laid on the data its "
            f"peaks are {gap:.2g} 1/Å away and it is strained by {100 * strain:.2g} %, expected at "
            f"most {_NEAR * width:.2g} 1/Å and {100 * _LARGEST_STRAIN:.2g} %"
        )
        raise DataError(msg)
    return best


def _peaks_of(problem: Problem, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where the peaks of atoms are on the data's points, (patches, 3) [1/Å]."""
    shard = problem.shard
    mine = np.zeros(sum(p.size for p in problem.data.patches))
    mine[shard.global_index] = shard.detected(problem.factor.forward(x))
    every = problem.comm.allreduce(mine)
    ends = np.cumsum([p.size for p in problem.data.patches])
    parts = np.split(every, ends[:-1])
    counts = [part.reshape(p.shape) for part, p in zip(parts, problem.data.patches, strict=True)]
    return replace(problem.data, counts=counts, background=[], bragg=None).peaks()


def _gaps(
    problem: Problem, x: NDArray[np.float64], there: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how far the peaks of atoms are from the data's, (patches,) [1/Å]."""
    return np.asarray(np.linalg.norm(_peaks_of(problem, x) - there, axis=1))
