"""What removing or adding one atom does to the likelihood, for all atoms at once.

An atom at x scatters the wave e(q) = exp(-i q.x). Without it, or with one more,
lambda' = C^2 abs(Omega -+ e)^2 (upper sign: removal). With r = abs(Omega), rho = min(r, 1/r)
and theta the phase of e against Omega, the logarithm's series

    ln |Omega -+ e|^2 = ln max(r^2, 1) - sum_m (+-1)^m (2/m) rho^m cos(m theta)

converges on strong points (r > 1) and weak ones (r < 1) alike. Since e^m is the wave
of an atom at m x, one term summed over all points is, for all atoms together, one
adjoint transform evaluated at m x: with u = Omega / max(r^2, 1), of modulus rho,

    sum_q I rho^m cos(m theta_j) = Re sum_q I u^m exp(+i q.(m x_j)).

A few terms suffice: only points where r is about 1 need more.

With a background b, beta = b / C^2, the same series holds for ln(|Omega -+ e|^2 + beta):
r^2 + 1 + beta -+ 2 r cos(theta) = K (1 -+ 2 rho cos(theta) + rho^2) with rho = r / K and
K = (A + sqrt(A^2 - 4 r^2)) / 2, A = r^2 + 1 + beta, so that K takes the place of
max(r^2, 1), which it is for beta = 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.dataset import Shard
from prammol.diffraction.structure_factor import StructureFactor
from prammol.likelihood.poisson import TINY_INTENSITY

# Accuracy of the transforms that suffices: the series is cut off, and the gains only sort.
RANKING_ACCURACY = 1e-5  # derived: single precision


def single_atom_gains(
    shard: Shard,
    factor: StructureFactor,
    omega: NDArray[np.complex128],
    points: NDArray[np.bool_],
    scale: float,
    x: NDArray[np.float64],
    inside: NDArray[np.bool_],
    terms: int = 3,  # chosen: as cross_validate.terms; not varied
) -> NDArray[np.float64]:
    """Return the change of the log-likelihood if each atom alone were removed or added.

    Costs `terms` adjoint transforms in all, whatever the number of atoms.

    Parameters
    ----------
    shard : Shard
        This rank's points, their photons and background.
    factor : StructureFactor
        Transform on them.
    omega : (m,) complex ndarray
        Structure factor of the object there.
    points : (m,) bool ndarray
        Points that count.
    scale : float
        C, held.
    x : (n, 3) ndarray
        Atoms of the object and positions for new ones [Å].
    inside : (n,) bool ndarray
        True for the atoms of the object: they would be removed, the others added.
    terms : int
        Terms of the series, at least 1.

    Returns
    -------
    (n,) ndarray
        Positive where the change is an improvement.
    """
    own = factor.of_one_atom
    background = None if shard.background is None else shard.background / own
    if factor.amplitude is not None:
        omega = omega / factor.amplitude  # in units of one atom, as the series has it
    photons = np.where(points, shard.counts, 0).astype(np.float32)
    wave = omega.astype(np.complex64)
    square = wave.real**2 + wave.imag**2
    tiny = np.float32(TINY_INTENSITY / scale**2)
    # What is the same for every atom: on weak points the logarithm loses ln r^2
    # and gains ln 1, and everywhere lambda' has the photons of the atom alone.
    if background is None:
        u = wave / np.maximum(square, np.float32(1))
        weak = square < 1
        constant = -np.sum(photons[weak] * np.log(np.maximum(square[weak], tiny)), dtype=float)
    else:
        beta = (background / scale**2).astype(np.float32)
        A = square + 1 + beta
        K = (A + np.sqrt(np.maximum(A**2 - 4 * square, 0))) / 2
        u = wave / K
        constant = np.sum(photons * np.log(K / np.maximum(square + beta, tiny)), dtype=float)
    constant -= scale**2 * np.sum(points * own)
    total = np.zeros(len(x))
    power = photons.astype(np.complex64)
    for m in range(1, terms + 1):
        power *= u
        field = power * np.float32(2 / m)
        if m == 1:  # -C^2 abs(Omega -+ e)^2 has this and the constant part only
            field -= np.where(points, np.float32(2 * scale**2), np.float32(0)) * own * wave
        if factor.amplitude is not None:
            field = field / factor.amplitude  # which the adjoint has again
        value = factor.adjoint(field, m * x).real
        total -= np.where(inside, value, (-1) ** m * value)
    total = shard.comm.allreduce(np.append(total, constant))
    return total[:-1] + total[-1]
