"""Structure factor and moments in extended precision: what the errors are measured against.

Nothing of prammol is used; even the scattering vectors are put together here, from the
corner and the steps of each patch. The C library reduces the phases, of some hundred rad,
without loss.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray
REAL = np.longdouble
WORK = 2_000_000  # phases held at once


def scattering_vectors(corners: Array, steps: Array, points: int, flat: Array) -> Array:
    """Return q of points of several patches of points^3, given by their flat indices."""
    patch, rest = np.divmod(flat, points**3)
    index = np.stack(np.unravel_index(rest, (points,) * 3), axis=1).astype(REAL)
    # Not by @: for extended precision it is no faster, and einsum keeps the type.
    return corners[patch].astype(REAL) + np.einsum("mk,mka->ma", index, steps[patch].astype(REAL))


def structure_factor(q: Array, x: Array) -> Array:
    """Return sum_j exp(-i q.x_j) for every q."""
    return _sums(q, x, np.ones((len(x), 1), REAL), -1)[:, 0]


def moments(q: Array, field: Array, x: Array) -> Array:
    """Return sum_q q field(q) exp(+i q.x) for every x, (n, 3)."""
    return _sums(x, q, field[:, None] * q, 1)


def _sums(where: Array, over: Array, weights: Array, sign: int) -> Array:
    out = np.empty((len(where), weights.shape[1]), np.clongdouble)
    rows = max(1, WORK // len(over))
    for i in range(0, len(where), rows):
        phase = np.einsum("ma,na->mn", where[i : i + rows].astype(REAL), over.astype(REAL))
        wave = np.empty(phase.shape, np.clongdouble)
        np.cos(phase, out=wave.real)
        np.sin(phase, out=wave.imag)
        wave.imag *= sign
        out[i : i + rows] = wave @ weights
    return out
