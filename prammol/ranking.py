"""What removing or adding one atom does to the likelihood, for all atoms at once.

An atom at x scatters the wave e(q) = exp(-i q.x). Without it (sign -), or with one
more (sign +), lambda' = C^2 |Omega -+ e|^2. With r = |Omega|, rho = min(r, 1/r) and
theta the phase of e against Omega,

    ln |Omega -+ e|^2 = ln max(r^2, 1) - sum_m (+-1)^m (2/m) rho^m cos(m theta),

the logarithm's series, which converges on strong points (r > 1) and weak ones (r < 1)
alike. Here the upper sign is removal; for an addition the terms alternate. Since
e^m is the wave of an atom at m x, the sum over all points of one term is one adjoint
transform, evaluated at m x for all atoms together:

    sum_q I rho^m cos(m theta_j) = Re sum_q I rho^m (Omega/r)^m exp(+i q.(m x_j)).

A few terms suffice: only points where r is about 1 need more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prammol.comm import Communicator
from prammol.likelihood import TINY_INTENSITY
from prammol.scattering import StructureFactor

REMOVE, ADD = -1, 1


def single_atom_gains(
    factor: StructureFactor,
    omega: NDArray[np.complex128],
    counts: NDArray[np.float64],
    points: NDArray[np.bool_],
    scale: float,
    x: NDArray[np.float64],
    sign: int,
    comm: Communicator,
    terms: int = 3,
) -> NDArray[np.float64]:
    """Return the change of the log-likelihood if each atom alone were removed or added.

    Costs `terms` adjoint transforms in all, whatever the number of atoms.

    Parameters
    ----------
    factor : StructureFactor
        Transform on this rank's points.
    omega : (m,) complex ndarray
        Structure factor of the object there.
    counts : (m,) ndarray
        Photons.
    points : (m,) bool ndarray
        Points that count.
    scale : float
        C, held.
    x : (n, 3) ndarray
        Atoms of the object (`sign` REMOVE) or positions for new ones (`sign` ADD) [Å].
    sign : int
        ``REMOVE`` or ``ADD``.
    comm : Communicator
        The ranks that share the points.
    terms : int
        Terms of the series, at least 1.

    Returns
    -------
    (n,) ndarray
        Positive where the change is an improvement.
    """
    used = np.flatnonzero(points)
    om, photons = omega[used], counts[used]
    r = np.abs(om)
    direction = np.divide(om, r, out=np.zeros_like(om), where=r > 0)
    rho = np.minimum(r, np.divide(1.0, r, out=np.zeros_like(r), where=r > 0))
    # The same for every atom: the mean over theta of the logarithm and -C^2 |e|^2.
    weak = (r < 1) & (photons > 0)
    floor = np.sqrt(TINY_INTENSITY) / scale
    constant = -2 * photons[weak] @ np.log(np.maximum(r[weak], floor)) - scale**2 * len(used)
    total = np.zeros(len(x))
    power = np.ones_like(om)
    for m in range(1, terms + 1):
        power = power * (rho * direction)
        field = (2 / m) * photons * power
        if m == 1:  # the other part of Eq. 6, -C^2 |Omega -+ e|^2, is all in this term
            field -= 2 * scale**2 * om
        values = np.zeros(factor.size, dtype=complex)
        values[used] = field
        # -(+-1)^m of the module's formula: - for a removal, -(-1)^m for an addition.
        factor_m = -((-sign) ** m)
        total += factor_m * factor.adjoint(values, m * x).real
    total = comm.allreduce(np.append(total, constant))
    return total[:-1] + total[-1]
