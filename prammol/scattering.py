"""Kinematic scattering of point atoms: structure factor and its adjoint.

With positions x_j and weights w_j the structure factor is

    Omega(q) = sum_j w_j exp(-i q . x_j)                   (paper Eq. 10)

and its adjoint, for values v on the points,

    (adjoint v)_j = sum_q v(q) exp(+i q . x_j).

On an affine grid both are non-uniform Fourier transforms, done by ducc0 in
O(n + N log N); on a curved patch transforms between two non-uniform sets, about ten
times slower. :func:`direct_structure_factor` is the plain sum: the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import ducc0
import numpy as np
from numpy.typing import NDArray

from prammol.curved import CurvedPatch
from prammol.patches import BraggPatch

Positions = NDArray[np.float64]


def direct_structure_factor(
    q: NDArray[np.float64], x: Positions, weights: NDArray[np.float64] | None = None
) -> NDArray[np.complex128]:
    """Return Omega(q) by direct summation, the reference for the fast transforms.

    Parameters
    ----------
    q : (m, 3) ndarray
        Scattering vectors [1/Å, with 2 pi].
    x : (n, 3) ndarray
        Positions [Å].
    weights : (n,) ndarray, optional
        Scattering weight of each atom; 1 if not given.

    Returns
    -------
    (m,) complex ndarray
    """
    w = np.ones(len(x)) if weights is None else weights
    out = np.empty(len(q), dtype=complex)
    chunk = max(1, 4_000_000 // max(len(x), 1))
    for i in range(0, len(q), chunk):
        out[i : i + chunk] = np.exp(-1j * (q[i : i + chunk] @ x.T)) @ w
    return out


def squared(omega: NDArray[np.complexfloating]) -> NDArray[np.float64]:
    """Return abs(omega)^2 in double precision, without the root that `abs` takes."""
    real = omega.real.astype(float, copy=False)
    imaginary = omega.imag.astype(float, copy=False)
    return np.asarray(real * real + imaginary * imaginary)


class StructureFactor:
    """Structure factor, and its adjoint, on the points of several patches.

    Values on the points are one flat array: the patches one after the other,
    each in C order.

    Parameters
    ----------
    patches : sequence of BraggPatch
        The grids (in an MPI run: this rank's slabs).
    epsilon : float
        Relative accuracy of the transforms. Above 1e-6 they run in single
        precision.
    threads : int
        Threads of one transform.
    """

    def __init__(
        self, patches: Sequence[BraggPatch], epsilon: float = 1e-9, threads: int = 1
    ) -> None:
        self.patches = list(patches)
        self.epsilon = float(epsilon)
        self.threads = int(threads)
        self._single = self.epsilon > 1e-6
        self._real = np.float32 if self._single else np.float64
        self._complex = np.complex64 if self._single else np.complex128
        bounds = np.cumsum([0] + [p.size for p in self.patches])
        self._slices = [slice(a, b) for a, b in pairwise(bounds)]
        self.size = int(bounds[-1])
        self._q: NDArray[np.float64] | None = None

    @property
    def q(self) -> NDArray[np.float64]:
        """Scattering vectors of all points, (size, 3) [1/Å]."""
        if self._q is None:
            parts = [p.q() for p in self.patches]
            self._q = np.concatenate(parts) if parts else np.empty((0, 3))
        return self._q

    def forward(
        self, x: Positions, weights: NDArray[np.float64] | None = None
    ) -> NDArray[np.complex128]:
        """Return Omega on all points.

        Parameters
        ----------
        x : (n, 3) ndarray
            Positions [Å].
        weights : (n,) ndarray, optional
            Scattering weights (occupancies); 1 if not given.

        Returns
        -------
        (size,) complex ndarray
        """
        out: NDArray[np.complex128] = np.zeros(self.size, dtype=self._complex)
        if len(x) == 0:
            return out
        for patch, part in zip(self.patches, self._slices, strict=True):
            phase = np.exp(-1j * (x @ patch.middle))
            if weights is not None:
                phase *= weights
            if isinstance(patch, CurvedPatch):
                out[part] = ducc0.nufft.experimental.nu2nu(
                    points_in=phase.astype(self._complex, copy=False),
                    coord_in=x.astype(self._real),
                    coord_out=(patch.q() - patch.middle).astype(self._real),
                    forward=True,
                    epsilon=self.epsilon,
                    nthreads=self.threads,
                )
                continue
            ducc0.nufft.nu2u(
                points=phase.astype(self._complex, copy=False),
                coord=self._coordinates(patch, x),
                forward=True,
                epsilon=self.epsilon,
                nthreads=self.threads,
                out=out[part].reshape(patch.shape),
                periodicity=2 * np.pi,
            )
        return out

    def adjoint(self, values: NDArray[np.complexfloating], x: Positions) -> NDArray[np.complex128]:
        """Return ``sum_q values(q) exp(+i q . x_j)`` for every atom.

        Parameters
        ----------
        values : (size,) complex ndarray
            Values on the points.
        x : (n, 3) ndarray
            Positions [Å].

        Returns
        -------
        (n,) complex ndarray
        """
        return self._adjoint([values], x)[0]

    def adjoint_moments(
        self, values: NDArray[np.complexfloating], x: Positions
    ) -> NDArray[np.complex128]:
        """Return ``sum_q q values(q) exp(+i q . x_j)``, (n, 3) complex."""
        return self._adjoint([values * self.q[:, a] for a in range(3)], x).T

    def _adjoint(
        self, fields: Sequence[NDArray[np.complexfloating]], x: Positions
    ) -> NDArray[np.complex128]:
        total = np.zeros((len(fields), len(x)), dtype=complex)
        if len(x) == 0:
            return total
        for patch, part in zip(self.patches, self._slices, strict=True):
            phase = np.exp(1j * (x @ patch.middle))
            if isinstance(patch, CurvedPatch):
                offset = (patch.q() - patch.middle).astype(self._real)
                for k, field in enumerate(fields):
                    total[k] += phase * ducc0.nufft.experimental.nu2nu(
                        points_in=field[part].astype(self._complex, copy=False),
                        coord_in=offset,
                        coord_out=x.astype(self._real),
                        forward=False,
                        epsilon=self.epsilon,
                        nthreads=self.threads,
                    )
                continue
            coord = self._coordinates(patch, x)
            for k, field in enumerate(fields):
                total[k] += phase * ducc0.nufft.u2nu(
                    grid=field[part].reshape(patch.shape).astype(self._complex, copy=False),
                    coord=coord,
                    forward=False,
                    epsilon=self.epsilon,
                    nthreads=self.threads,
                    periodicity=2 * np.pi,
                )
        return total

    def _coordinates(self, patch: BraggPatch, x: Positions) -> NDArray[np.floating]:
        """Positions in units of the patch's grid, reduced to one period."""
        u = x @ patch.step.T
        u -= 2 * np.pi * np.round(u / (2 * np.pi))
        return u.astype(self._real, copy=False)
