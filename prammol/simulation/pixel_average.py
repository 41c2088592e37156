"""The mean of a scattered intensity over what blurs a point, by Gaussian quadrature.

A point of a scan is blurred along images, rows and columns by a box (the pixel, the turning
during an image) and a Gaussian (point spread, partial coherence). The intensity of a crystal is
a sum of waves of limited frequency, so a few sub-points of each axis give its mean to any
accuracy. Nothing here uses the model that is fitted: it is the reference for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import InputError
from prammol.diffraction.curved_patch import CurvedPatch
from prammol.diffraction.structure_factor import StructureFactor, squared

FloatArray = NDArray[np.float64]
_ACCURACY = 1e-10  # derived: of the amplitude, far below the counting noise of any flux
_ERROR = 1e-4  # derived: of the finest fringe, below the counting noise of 1e20 photons/um^2
_FINE = 40  # derived: sub-points of the box and of the Gaussian that stand for the integral
_MOST = 16  # chosen: memory of the fine rule; not varied


def blur_rule(box: float, sigma: float, frequency: float) -> tuple[FloatArray, FloatArray]:
    """Return sub-points and weights for the mean over a box and a Gaussian.

    The Gauss rule of their convolution (Golub and Welsch, Math. Comp. 23, 221 (1969)), with as
    few points as give the mean of every wave up to a frequency.

    Parameters
    ----------
    box : float
        Width of the box [steps].
    sigma : float
        Standard deviation of the Gaussian [steps].
    frequency : float
        Highest frequency of the intensity [rad per step].

    Returns
    -------
    nodes : (n,) ndarray
        Offsets from the point [steps].
    weights : (n,) ndarray
        Their sum is 1.

    Raises
    ------
    InputError
        If the blur is so wide that it needs more than 16 sub-points.
    """
    t, v = np.polynomial.legendre.leggauss(_FINE)
    u, w = np.polynomial.hermite_e.hermegauss(_FINE)
    x = (box / 2 * t[:, None] + sigma * u).ravel()
    weight = (v[:, None] * w / (v.sum() * w.sum())).ravel()
    wave = np.linspace(0.0, frequency, _FINE)[:, None]
    true = np.cos(wave * x) @ weight
    if box == 0 and sigma == 0:
        return np.zeros(1), np.ones(1)
    for n in range(1, _MOST + 1):
        nodes, weights = _gauss(x, weight, n)
        if np.abs(np.cos(wave * nodes) @ weights - true).max() < _ERROR:
            return nodes, weights
    msg = (
        f"a blur of {box:g} steps and a standard deviation of {sigma:g} steps is too wide for a "
        f"crystal with fringes {2 * np.pi / frequency:.2g} steps apart"
    )
    raise InputError(msg)


def _gauss(x: FloatArray, weight: FloatArray, n: int) -> tuple[FloatArray, FloatArray]:
    """Return the n-point Gauss rule of a symmetric discrete measure, by Lanczos' method."""
    rows = [np.sqrt(weight)]
    beyond: list[float] = []
    for _ in range(n - 1):
        new = x * rows[-1]
        for _twice in range(2):
            for row in rows:
                new = new - (row @ new) * row
        beyond.append(float(np.linalg.norm(new)))
        rows.append(new / beyond[-1])
    nodes, vectors = np.linalg.eigh(np.diag(beyond, 1) + np.diag(beyond, -1))
    return nodes, vectors[0] ** 2


def mean_intensity(
    snapshots: Sequence[FloatArray],
    point: Callable[[FloatArray], tuple[FloatArray, FloatArray]],
    rules: Sequence[tuple[FloatArray, FloatArray]],
    coherent: bool = False,
) -> FloatArray:
    """Return the mean of factor abs(Omega)^2 over snapshots and sub-points.

    Each snapshot is used at some of the sub-points, each sub-point with about as many snapshots:
    the expectation is that of all snapshots at all sub-points.

    Parameters
    ----------
    snapshots : sequence of (n, 3) ndarray
        Positions [Å]; a single one for atoms at rest.
    point : callable
        Takes an offset in units of the three steps, (3,), and returns the scattering vectors of
        the points there, (n1, n2, n3, 3) [1/Å], and the factor of the intensity, (n1, n2, n3).
    rules : sequence of (nodes, weights)
        Of the three axes, see :func:`blur_rule`.
    coherent : bool
        abs(<Omega>)^2 instead of <abs(Omega)^2>, from products of different snapshots.

    Returns
    -------
    (n1, n2, n3) ndarray
    """
    nodes = np.stack(np.meshgrid(*[r[0] for r in rules], indexing="ij"), axis=-1).reshape(-1, 3)
    weights = np.einsum("i,j,k->ijk", *[r[1] for r in rules]).ravel()
    pairs = coherent and len(snapshots) > 1
    visits = max(len(snapshots), len(nodes) * (1 + pairs))
    total: FloatArray | None = None
    for node, (offset, weight) in enumerate(zip(nodes, weights, strict=True)):
        q, factor = point(offset)
        patch = StructureFactor([CurvedPatch(q)], _ACCURACY)
        amplitude, power = np.zeros(patch.size, dtype=complex), np.zeros(patch.size)
        used = [v * len(snapshots) // visits for v in range(node, visits, len(nodes))]
        for k in used:
            omega = patch.forward(snapshots[k])
            amplitude += omega
            power += squared(omega)
        if pairs:
            mean = (squared(amplitude) - power) / (len(used) * (len(used) - 1))
        else:
            mean = power / len(used)
        part = weight * factor * mean.reshape(factor.shape)
        total = part if total is None else total + part
    assert total is not None
    return np.maximum(total, 0.0)
