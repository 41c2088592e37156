"""Resolution: pi / q_c, where q_c is the first shell whose phases are wrong.

The paper's definition: the complex scattering of the trials of one condition is
averaged and its phases are compared with those of the true crystal, shell by
shell in abs(q); q_c is the smallest abs(q) where the mean phase error exceeds half a
radian (Meziere et al. 2024, "Evaluation of the reconstructions").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ducc0
import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import InputError
from prammol.evaluation.registration import register

FloatArray = NDArray[np.float64]

PHASE_LIMIT = 0.5  # derived: the paper's definition [rad]
Q_MAX = 1000.0  # chosen: display, pi/q of 0.003 Å; how far is looked [1/Å]
# derived: the precision of q_c asked for
_FINE = 1.02  # ratio of neighbouring shells where the scattering has structure
# derived: narrowed down to 1 % afterwards, so only speed depends on it
COARSE = 1.15  # and beyond, where the phase error only grows with q
_BLOCK = 24  # chosen: speed only; not varied
# chosen: speed only; not varied
_GRID_LIMIT = 3e6  # above this many grid points a direct sum of few terms is cheaper
# chosen: memory; not varied
_GRID_LARGEST = 5e7  # 0.8 GB
# chosen: speed only; not varied
_GRID_COST = 30  # of a grid point, in terms of a direct sum
_CHUNK = 2_000_000  # chosen: memory, speed only; not varied


@dataclass(frozen=True, eq=False)
class Resolution:
    """Resolution of one condition.

    Attributes
    ----------
    value : float
        pi / q_c [Å]; an upper bound if ``failed`` is False.
    q_c : float
        Smallest abs(q) whose mean phase error exceeds 0.5 rad [1/Å, with 2 pi], or the
        largest abs(q) looked at if ``failed`` is False.
    failed : bool
        Whether a shell failed. False means the phases are right as far as was
        looked, so the resolution is better than ``value``.
    q : (m,) ndarray
        Shells looked at, ascending [1/Å].
    phase_error : (m,) ndarray
        Mean abs(phase(F_rec conj(F_true))) of each [rad].
    """

    value: float
    q_c: float
    failed: bool
    q: FloatArray
    phase_error: FloatArray


def resolution(
    trials: Sequence[FloatArray],
    truth: FloatArray,
    *,
    directions: int = 512,  # chosen: not varied
    q_max: float = Q_MAX,
    registered: bool = False,
) -> Resolution:
    """Return the resolution of one or several reconstructions of a crystal.

    Shells are 2 % apart up to where the scattering has Bragg peaks to get wrong
    (q = 10/d, d the mean distance of atoms, n^(-1/3) of the volume), then 15 %
    apart with the one that fails narrowed down to 1 %.

    Parameters
    ----------
    trials : sequence of (n, 3) ndarray
        Positions of each trial [Å].
    truth : (m, 3) ndarray
        True positions [Å].
    directions : int
        Directions on each shell, a Fibonacci lattice on half the sphere (the
        other half says the same, F(-q) = conj F(q)).
    q_max : float
        Where to stop looking [1/Å, with 2 pi].
    registered : bool
        True if the trials already lie over the truth.

    Returns
    -------
    Resolution

    Raises
    ------
    InputError
        If there is no trial or one of them has no atoms.
    """
    if not len(trials) or not len(truth) or any(not len(t) for t in trials):
        msg = "a resolution needs a truth and at least one trial, each with at least one atom"
        raise InputError(msg)
    centre = np.mean(truth, axis=0)
    reference = np.asarray(truth, dtype=float) - centre
    objects = [
        (t if registered else register(t, truth).apply(t)) - centre
        for t in (np.asarray(t, dtype=float) for t in trials)
    ]
    unit = fibonacci_hemisphere(directions)
    extent = 2 * float(np.linalg.norm(reference, axis=1).max()) + 1.0
    spacing = extent * (np.pi / 6 / len(reference)) ** (1 / 3)
    shells, errors = [], []
    q = np.pi / extent
    while q < q_max:
        structured = q < 10 / spacing
        ratio = _FINE if structured else COARSE
        steps = range(_BLOCK if structured else 1)
        block = np.array([q * ratio**k for k in steps if q * ratio**k <= q_max])
        error = _phase_errors(objects, reference, unit, block)
        shells += list(block)
        errors += list(error)
        if (error > PHASE_LIMIT).any():
            if not structured:
                _narrow(objects, reference, unit, shells, errors)
            break
        q = block[-1] * ratio
    return first_failure(np.array(shells), np.array(errors))


def fibonacci_hemisphere(n: int) -> FloatArray:
    """Return ``n`` unit vectors spread evenly over half a sphere, (n, 3)."""
    i = np.arange(n) + 0.5
    z = i / n
    angle = np.pi * (1 + 5**0.5) * i
    r = np.sqrt(1 - z**2)
    return np.stack([r * np.cos(angle), r * np.sin(angle), z], axis=1)


def first_failure(q: FloatArray, error: FloatArray) -> Resolution:
    """Return the resolution from shells, (m,) [1/Å], and their mean phase errors, (m,) [rad]."""
    order = np.argsort(q)
    q, error = q[order], error[order]
    bad = np.flatnonzero(error > PHASE_LIMIT)
    q_c = float(q[bad[0]] if len(bad) else q[-1])
    return Resolution(np.pi / q_c, q_c, bool(len(bad)), q, error)


def _narrow(
    objects: Sequence[FloatArray],
    truth: FloatArray,
    unit: FloatArray,
    shells: list[float],
    errors: list[float],
) -> None:
    """Add shells between the last good and the first bad one until 1 % apart."""
    low, high = shells[-2], shells[-1]
    while high > 1.01 * low:
        middle = float(np.sqrt(low * high))
        error = float(_phase_errors(objects, truth, unit, np.array([middle]))[0])
        shells.append(middle)
        errors.append(error)
        low, high = (low, middle) if error > PHASE_LIMIT else (middle, high)


def _phase_errors(
    objects: Sequence[FloatArray], truth: FloatArray, unit: FloatArray, shells: FloatArray
) -> FloatArray:
    """Return the mean phase error of each shell [rad]."""
    q = (shells[:, None, None] * unit).reshape(-1, 3)
    mean = np.sum([structure_factor(x, q) for x in objects], axis=0)
    return phase_error_of_shells(mean, structure_factor(truth, q), len(shells))


def phase_error_of_shells(
    found: NDArray[np.complexfloating], truth: NDArray[np.complexfloating], shells: int
) -> FloatArray:
    """Return the mean abs(phase(F_rec conj(F_true))) of each shell, (shells,) [rad].

    Both are (m,), one shell after the other, with equally many points in each.
    """
    phase = np.abs(np.angle(found * truth.conj()))
    return np.asarray(phase.reshape(shells, -1).mean(axis=1))


def structure_factor(
    x: FloatArray, q: FloatArray, weights: FloatArray | None = None
) -> NDArray[np.complex128]:
    """Return sum_j w_j exp(-i q.x_j) at scattered points, to about 1e-5 sqrt(n).

    Parameters
    ----------
    x : (n, 3) ndarray
        Positions [Å], best centred at the origin.
    q : (m, 3) ndarray
        Scattering vectors [1/Å, with 2 pi].
    weights : (n,) ndarray, optional
        Weights w; 1 if not given.
    """
    w = np.ones(len(x)) if weights is None else weights
    # Bandwidth in x times bandwidth in q is what a transform between scattered
    # points needs as a grid.
    grid = np.prod(np.ptp(x, axis=0) * np.ptp(q, axis=0) / (2 * np.pi) * 1.5 + 16)
    terms = len(x) * len(q)
    many = _GRID_COST * grid < terms and grid < _GRID_LARGEST
    if many or grid < min(_GRID_LIMIT, terms):
        return np.asarray(
            ducc0.nufft.experimental.nu2nu(
                points_in=w.astype(np.complex128),
                coord_in=x,
                coord_out=q,
                forward=True,
                epsilon=1e-6,
                nthreads=1,
            )
        )
    out = np.empty(len(q), dtype=np.complex128)
    rows = max(1, _CHUNK // len(x))
    for i in range(0, len(q), rows):
        turns = q[i : i + rows] @ x.T / (2 * np.pi)
        # Reduced to one turn in double precision, the sine and cosine can be
        # taken in single precision, which is ten times faster.
        turns -= np.rint(turns)
        angle = (2 * np.pi * turns).astype(np.float32)
        out[i : i + rows] = np.cos(angle) @ w - 1j * (np.sin(angle) @ w)
    return out
