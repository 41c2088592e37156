"""Rotation of the whole object: what no energy determines, the data do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from prammol.comm import Communicator
from prammol.misfit import AmplitudeMisfit
from prammol.scattering import StructureFactor


def align_rotation(
    misfit: AmplitudeMisfit,
    factor: StructureFactor,
    comm: Communicator,
    x: NDArray[np.float64],
    steps: int = 3,
) -> tuple[NDArray[np.float64], float]:
    """Turn an object about its centre so that the misfit is least.

    Gauss-Newton on the three angles and the scale; a step that doesn't lower the
    misfit isn't taken.

    Parameters
    ----------
    misfit : AmplitudeMisfit
    factor : StructureFactor
    comm : Communicator
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
    omega = factor.forward(x)
    value, scale, _ = misfit.field(omega)
    centre = x.mean(axis=0)
    radius = float(np.sqrt(((x - centre) ** 2).sum(axis=1).mean()))
    for _ in range(steps):
        derivative = _derivatives(factor, x, centre, 1e-4 / radius, omega)
        model = misfit.model(omega, scale)
        slope = scale**2 * (omega.conj() * derivative).real / model
        slope = np.vstack([slope, scale * np.abs(omega) ** 2 / model])
        residual = model - misfit.measured
        system = comm.allreduce((slope * misfit.weight) @ slope.T)
        right = comm.allreduce((slope * misfit.weight) @ residual)
        angle = -np.linalg.solve(system, right)[:3]
        turned = centre + Rotation.from_rotvec(angle).apply(x - centre)
        omega = factor.forward(turned)
        new, scale, _ = misfit.field(omega, scale)
        if new >= value:
            break
        gain = value - new
        x, value = turned, new
        if gain < 0.1:
            break
    return x, value


def _derivatives(
    factor: StructureFactor,
    x: NDArray[np.float64],
    centre: NDArray[np.float64],
    angle: float,
    omega: NDArray[np.complex128],
) -> NDArray[np.complex128]:
    """Derivative of Omega by the angle about each axis, (3, points)."""
    out = np.empty((3, len(omega)), dtype=complex)
    for axis in range(3):
        turn = Rotation.from_rotvec(np.eye(3)[axis] * angle)
        plus = factor.forward(centre + turn.apply(x - centre))
        minus = factor.forward(centre + turn.inv().apply(x - centre))
        out[axis] = (plus - minus) / (2 * angle)
    return out
