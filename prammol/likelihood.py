"""Poisson likelihood of atoms, its gradient, and the scale.

With lambda = C^2 |Omega|^2 the log-likelihood of the counts I is

    l = sum I ln(lambda) - lambda                          (paper Eq. 6)

up to a constant; sums run over the valid points of all ranks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prammol.comm import Communicator

# lambda of a point where Omega is exactly 0: keeps l finite, far below a photon.
TINY_INTENSITY = 1e-12


def poisson_log_likelihood(
    counts: NDArray[np.float64],
    omega: NDArray[np.complex128],
    scale: float,
    comm: Communicator,
) -> float:
    """Return sum I ln(lambda) - lambda over the points of all ranks (paper Eq. 6).

    Parameters
    ----------
    counts : (m,) ndarray
        Photons on this rank's points (valid ones only).
    omega : (m,) complex ndarray
        Structure factor there.
    scale : float
        C; lambda = C^2 abs(omega)^2.
    comm : Communicator
    """
    lam = np.maximum(scale**2 * np.abs(omega) ** 2, TINY_INTENSITY)
    return comm.sum(float(np.sum(counts * np.log(lam) - lam)))


def amplitude_scale(
    counts: NDArray[np.float64], omega: NDArray[np.complex128], comm: Communicator
) -> float:
    """Return the C that minimises sum (sqrt(I) - C abs(omega))^2 (paper Eq. 9)."""
    size = np.abs(omega)
    sums = comm.allreduce(np.array([np.sqrt(counts) @ size, size @ size], dtype=float))
    return float(sums[0] / sums[1])


def poisson_scale(
    counts: NDArray[np.float64], omega: NDArray[np.complex128], comm: Communicator
) -> float:
    """Return the C that maximises the Poisson likelihood, C^2 = sum I / sum abs(omega)^2."""
    sums = comm.allreduce(np.array([counts.sum(), np.sum(np.abs(omega) ** 2)], dtype=float))
    return float(np.sqrt(sums[0] / sums[1]))


def residual_weights(
    counts: NDArray[np.float64], omega: NDArray[np.complex128], scale: float
) -> NDArray[np.complex128]:
    """Return C^2 (1 - I / lambda) Omega, the field whose adjoint gives all gradients.

    With L = -l: dL/dx_j = -2 Im sum_q q W Omega exp(+i q.x_j) and, for a weight
    w_j of an atom, dL/dw_j = 2 Re sum_q W Omega exp(+i q.x_j), W = C^2 (1 - I/lambda).
    """
    lam = np.maximum(scale**2 * np.abs(omega) ** 2, TINY_INTENSITY)
    return scale**2 * (1.0 - counts / lam) * omega
