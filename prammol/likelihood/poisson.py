"""Poisson likelihood of atoms, its gradient, and the scale.

With lambda = C^2 abs(Omega)^2 + b the log-likelihood of the counts I is

    l = sum I ln(lambda) - lambda                          (paper Eq. 6)

up to a constant; sums run over the valid points of all ranks. The background b, photons
expected that the crystal didn't scatter, is 0 in the paper.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import DataError
from prammol.core.parallel import Communicator
from prammol.diffraction.structure_factor import squared

Background = NDArray[np.float64] | float

# lambda of a point where Omega is exactly 0: keeps l finite, far below a photon.
TINY_INTENSITY = 1e-12  # derived: far below a photon, with a finite logarithm


def poisson_log_likelihood(
    counts: NDArray[np.float64],
    omega: NDArray[np.complex128],
    scale: float,
    comm: Communicator,
    background: Background = 0.0,
) -> float:
    """Return sum I ln(lambda) - lambda over the points of all ranks (paper Eq. 6).

    Parameters
    ----------
    counts : (m,) ndarray
        Photons on this rank's points (valid ones only).
    omega : (m,) complex ndarray
        Structure factor there.
    scale : float
        C; lambda = C^2 abs(omega)^2 + background.
    comm : Communicator
    background : (m,) ndarray or 0.0
        Expected background there [photons].
    """
    lam = expected_counts(omega, scale, background)
    return comm.sum(float(np.sum(counts * np.log(lam) - lam)))


def expected_counts(
    omega: NDArray[np.complex128], scale: float, background: Background = 0.0
) -> NDArray[np.float64]:
    """Return lambda = C^2 abs(omega)^2 + background, at least `TINY_INTENSITY`."""
    return np.maximum(scale**2 * squared(omega) + background, TINY_INTENSITY)


def amplitude_scale(
    counts: NDArray[np.float64], omega: NDArray[np.complex128], comm: Communicator
) -> float:
    """Return the C that minimises sum (sqrt(I) - C abs(omega))^2 (paper Eq. 9).

    From counts with a background, take what is left without it.

    Raises
    ------
    DataError
        If the atoms scatter nothing into these points.
    """
    size = np.abs(omega)
    sums = comm.allreduce(np.array([np.sqrt(counts) @ size, size @ size], dtype=float))
    return _ratio(sums)


def poisson_scale(
    counts: NDArray[np.float64],
    omega: NDArray[np.complex128],
    comm: Communicator,
    background: Background = 0.0,
) -> float:
    """Return the C that maximises the Poisson likelihood.

    Without background C^2 = sum I / sum abs(omega)^2. With it, the likelihood is concave in
    C^2 and its maximum is found by Newton's method.

    Raises
    ------
    DataError
        If the atoms scatter nothing into these points.
    """
    power = squared(omega)
    sums = comm.allreduce(np.array([counts.sum(), power.sum()], dtype=float))
    square = _ratio(sums)
    if isinstance(background, float) and background == 0.0:
        return float(np.sqrt(square))
    for _ in range(50):
        # dl/ds and -d2l/ds2 for s = C^2
        ratio = power / np.maximum(square * power + background, TINY_INTENSITY)
        pair = [np.sum(counts * ratio) - power.sum(), np.sum(counts * ratio**2)]
        slope, bend = comm.allreduce(np.array(pair, dtype=float))
        new = max(square + float(slope) / max(float(bend), 1e-300), 0.1 * square)
        done = abs(new - square) < 1e-12 * square
        square = new
        if done:
            break
    return float(np.sqrt(square))


def _ratio(sums: NDArray[np.float64]) -> float:
    """Return the first sum over the second, photons over what the atoms scatter."""
    if not sums[1] > 0:
        msg = (
            "the atoms scatter nothing into the points that count, no scale fits; "
            "is any atom left, and are the patches at Bragg peaks of this crystal?"
        )
        raise DataError(msg)
    return float(sums[0] / sums[1])


def residual_weights(
    counts: NDArray[np.float64],
    omega: NDArray[np.complex128],
    scale: float,
    background: Background = 0.0,
) -> NDArray[np.complex128]:
    """Return C^2 (1 - I / lambda) Omega, the field whose adjoint gives all gradients.

    With L = -l: dL/dx_j = -2 Im sum_q q W Omega exp(+i q.x_j) and, for a weight
    w_j of an atom, dL/dw_j = 2 Re sum_q W Omega exp(+i q.x_j), W = C^2 (1 - I/lambda).
    """
    lam = expected_counts(omega, scale, background)
    return scale**2 * (1.0 - counts / lam) * omega
