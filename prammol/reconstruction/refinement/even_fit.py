"""Rotation and even strain of a relaxed crystal, where the data may say little of either.

The maximum of likelihood and prior by Gauss-Newton: one peak measures three of the nine elements of
a linear map, the others stay where the potential has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.refinement.rotation_strain import ROTATIONS, Pose

Floats = NDArray[np.float64]

# chosen: what a lattice constant, and the shape of a crystal of some nanometres, may do; not varied
_TURN, _SIZE, _SHEAR = 0.05, 1e-2, 3e-4
_STEPS = 12  # chosen: not varied
_DONE = 1e-2  # derived: far below a log-likelihood ratio that counts
_HALVINGS = 8  # chosen: not varied


def _orthonormal() -> Floats:
    """Return three rotations, the even expansion and five strains without one, (9, 3, 3)."""
    expansion = np.eye(3)[None] / 3**0.5
    pairs = [(0, 1), (0, 2), (1, 2)]
    shears = np.zeros((5, 3, 3))
    for k, (a, b) in enumerate(pairs):
        shears[k, a, b] = shears[k, b, a] = 0.5**0.5
    shears[3] = np.diag([1, -1, 0]) / 2**0.5
    shears[4] = np.diag([1, 1, -2]) / 6**0.5
    return np.concatenate([ROTATIONS, expansion, shears])


MAPS = _orthonormal()
# derived: variances of a Gaussian prior
_PRIOR = np.array([_TURN] * 3 + [_SIZE] + [_SHEAR] * 5) ** -2.0


@dataclass(frozen=True, eq=False)
class EvenFit:
    """A relaxed crystal as data and prior want it turned and strained.

    Attributes
    ----------
    positions : (n, 3) ndarray
        [Å].
    value : float
        J and the prior's part.
    coefficients : (9,) ndarray
        Of `MAPS`.
    """

    positions: Floats
    value: float
    coefficients: Floats


def fit_even(misfit: PoissonMisfit, x: Floats, near: Floats | None = None) -> EvenFit:
    """Turn and strain a crystal evenly as data and prior want.

    Parameters
    ----------
    misfit : PoissonMisfit
    x : (n, 3) ndarray
        Positions at a minimum of the energy [Å].
    near : (9,) ndarray, optional
        Coefficients of a similar crystal: J has other minima.
    """
    starts = [np.zeros(len(MAPS))] if near is None else [near, np.zeros(len(MAPS))]
    values = [_cost(misfit, x, start)[0] for start in starts]
    found = starts[int(np.argmin(values))]
    value, pose = _cost(misfit, x, found)
    for _ in range(_STEPS):
        system, right = _normal(misfit, pose, found)
        step = -np.linalg.solve(system, right)
        if -0.5 * float(step @ right) < _DONE:
            break
        for halving in range(_HALVINGS):
            tried = found + step[:-1] / 2**halving
            cost, moved = _cost(misfit, x, tried)
            if cost < value:
                break
        else:
            break
        found, pose, value = tried, moved, cost
    return EvenFit(pose.x, value, found)


def drawn_even(misfit: PoissonMisfit, x: Floats, fit: EvenFit, rng: np.random.Generator) -> Floats:
    """Return positions by a map drawn from the posterior near its maximum, (n, 3) [Å]."""
    system, _ = _normal(misfit, Pose(misfit, fit.positions), fit.coefficients)
    drawn = np.linalg.cholesky(np.linalg.inv(system)) @ rng.standard_normal(len(system))
    return _mapped(x, fit.coefficients + drawn[:-1])


def _cost(misfit: PoissonMisfit, x: Floats, coefficients: Floats) -> tuple[float, Pose]:
    pose = Pose(misfit, _mapped(x, coefficients))
    return pose.value + 0.5 * float(_PRIOR @ coefficients**2), pose


def _normal(misfit: PoissonMisfit, pose: Pose, coefficients: Floats) -> tuple[Floats, Floats]:
    """Return Hessian, (10, 10), and slope, (10,), of J and prior; the scale is the last."""
    derivatives = misfit.seen(partial(pose.derivatives, MAPS))
    system, right = misfit.normal_equations(pose.power, pose.scale, derivatives)
    system, right = misfit.comm.allreduce(system), misfit.comm.allreduce(right)
    system[:-1, :-1] += np.diag(_PRIOR)
    right[:-1] += _PRIOR * coefficients
    return system, right


def _mapped(x: Floats, coefficients: Floats) -> Floats:
    centre = x.mean(axis=0)
    turn = expm(np.tensordot(coefficients, MAPS, axes=1))
    return np.asarray(centre + (x - centre) @ turn.T)
