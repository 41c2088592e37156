"""Rotation and strain of the whole object: what no energy determines, the data do.

With x_j = exp(A) x_j' about the centre the structure factor changes by

    dOmega = -i sum_ab q_a A_ab M_b(q),  M_b = sum_j (x_jb - c_b) exp(-i q.x_j),

so three transforms M_b give the derivative by all nine elements of A.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from prammol.misfit import PoissonMisfit
from prammol.scattering import StructureFactor

# Antisymmetric A turn the object, symmetric ones strain it.
ROTATIONS = np.zeros((3, 3, 3))
for _k in range(3):
    ROTATIONS[_k, (_k + 2) % 3, (_k + 1) % 3] = 1.0
    ROTATIONS[_k, (_k + 1) % 3, (_k + 2) % 3] = -1.0
LINEAR_MAPS = np.eye(9).reshape(9, 3, 3)

# A map with six more parameters lowers J by 3 on average if there is no strain.
_SIGNIFICANT = 30.0
# While atoms are missing any map gains a little; one that doesn't explain this part of the
# misfit would only take the atoms off the minimum of the energy.
_WORTHWHILE = 0.05
_LARGEST_STRAIN = 0.1
_HALVINGS = 4


def align_rotation(
    misfit: PoissonMisfit,
    factor: StructureFactor,
    x: NDArray[np.float64],
    steps: int = 3,
) -> tuple[NDArray[np.float64], float]:
    """Turn an object about its centre so that the misfit is least.

    Gauss-Newton on the three angles and the scale; a step that doesn't lower the
    misfit isn't taken.

    Parameters
    ----------
    misfit : PoissonMisfit
    factor : StructureFactor
    x : (n, 3) ndarray
        Positions [Å].
    steps : int
        Largest number of steps.

    Returns
    -------
    positions : (n, 3) ndarray
        Turned positions [Å].
    value : float
        Misfit there.
    """
    return _align(misfit, factor, x, ROTATIONS, steps)


def align_strained(
    misfit: PoissonMisfit,
    factor: StructureFactor,
    x: NDArray[np.float64],
    data: NDArray[np.float64],
    steps: int = 6,
) -> tuple[NDArray[np.float64], float]:
    """Turn an object and, where the data insist, strain it evenly.

    A warm crystal is larger than the minimum of its energy, and so is one whose
    potential has another lattice constant.

    Parameters
    ----------
    misfit, factor
        As for :func:`align_rotation`.
    x : (n, 3) ndarray
        Positions at a minimum of the energy [Å].
    data : (n, 3) ndarray
        Where the data had put the same atoms before [Å]: the even part of the
        difference is tried first.
    steps : int
        Largest number of steps.

    Returns
    -------
    positions : (n, 3) ndarray
        Positions [Å]; strained only if that lowers the misfit by more than noise would.
    value : float
        Misfit there.
    """
    turned, value = align_rotation(misfit, factor, x)
    arm = x - x.mean(axis=0)
    if np.linalg.matrix_rank(arm) < arm.shape[1]:
        return turned, value
    even = np.linalg.lstsq(arm, data - data.mean(axis=0), rcond=None)[0]
    candidates = [turned]
    if np.abs(np.linalg.svd(even, compute_uv=False) - 1.0).max() < _LARGEST_STRAIN:
        candidates.append(x.mean(axis=0) + arm @ even)
    start = min(candidates, key=lambda y: misfit(y).value)
    least = max(_SIGNIFICANT, _WORTHWHILE * value)
    strained, lower = _align(misfit, factor, start, LINEAR_MAPS, steps, least)
    return (strained, lower) if lower < value - least else (turned, value)


def _align(
    misfit: PoissonMisfit,
    factor: StructureFactor,
    x: NDArray[np.float64],
    generators: NDArray[np.float64],
    steps: int,
    least: float = 1e-3,
) -> tuple[NDArray[np.float64], float]:
    """Gauss-Newton on the coefficients of the generators, (k, 3, 3), and the scale.

    It ends when a step promises to lower the misfit by less than `least`.
    """
    omega = factor.forward(x)
    value, scale, _ = misfit.field(omega)
    centre = x.mean(axis=0)
    for _ in range(steps):
        derivatives = _derivatives(factor, x, centre, generators)
        change, gain = misfit.newton_step(omega, scale, derivatives)
        if gain < least:
            break
        for halving in range(_HALVINGS):
            turn = expm(np.tensordot(change / 2**halving, generators, axes=1))
            moved = centre + (x - centre) @ turn.T
            omega_new = factor.forward(moved)
            new, scale_new, _ = misfit.field(omega_new, scale)
            if new < value:
                break
        else:
            break
        x, value, omega, scale = moved, new, omega_new, scale_new
    return x, value


def _derivatives(
    factor: StructureFactor,
    x: NDArray[np.float64],
    centre: NDArray[np.float64],
    generators: NDArray[np.float64],
) -> NDArray[np.complex128]:
    """Derivative of Omega by the coefficient of each generator, (k, points)."""
    moments = np.array([factor.forward(x, arm) for arm in (x - centre).T])
    q = factor.q
    return np.array([-1j * ((q @ a).T * moments).sum(axis=0) for a in generators])
