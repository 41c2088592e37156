"""How abs(Omega)^2 changes with linear maps of an object.

With x_j = exp(A) x_j' about the centre the structure factor changes by

    dOmega = -i sum_ab q_a A_ab M_b(q),  M_b = sum_j (x_jb - c_b) exp(-i q.x_j),

so three transforms M_b give the derivative by all nine elements of A.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.structure_factor import StructureFactor
from prammol.likelihood.point_blocks import blocks


def imaginary_product(
    one: NDArray[np.complexfloating], other: NDArray[np.complexfloating]
) -> NDArray[np.float64]:
    """Return Im(conj(one) other), (m,)."""
    out = np.empty(len(one))
    for part in blocks(len(one)):
        a, b = one[part], other[part]
        out[part] = a.real * b.imag - a.imag * b.real
    return out


def moments_of(
    x: NDArray[np.float64], omega: NDArray[np.complex128], factor: StructureFactor
) -> NDArray[np.float32]:
    """Return Im(conj(Omega) M_b) of atoms at x, (n, 3) [Å], as (3, m).

    In single precision: they say where to step, the misfit whether it is better there.
    """
    centre, out = x.mean(axis=0), np.empty((3, factor.size), dtype=np.float32)
    for b, own in enumerate(out):
        own[:] = imaginary_product(omega, factor.forward(x, x[:, b] - centre[b]))
    return out


def map_derivatives(
    q: NDArray[np.float64], moments: NDArray[np.float32], generators: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the derivatives of abs(Omega)^2 by the coefficient of each generator, (k, p).

    Parameters
    ----------
    q : (p, 3) ndarray
        Scattering vectors [1/Å].
    moments : (3, p) ndarray
        Of :func:`moments_of`.
    generators : (k, 3, 3) ndarray
        The maps x -> x + sum_a c_a g_a (x - centre), such as rotations.
    """
    out = np.zeros((len(generators), len(q)))
    for k, a, b in np.argwhere(generators):
        out[k] += 2.0 * generators[k, a, b] * q[:, a] * moments[b]
    return out
