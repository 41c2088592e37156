"""Kinematic scattering of point atoms: structure factor and its adjoint.

With positions x_j and weights w_j the structure factor is

    Omega(q) = sum_j w_j exp(-i q . x_j)                   (paper Eq. 10)

and its adjoint, for values v on the points,

    (adjoint v)_j = sum_q v(q) exp(+i q . x_j).

Atoms of several elements have a weight of their own besides, the ratio of their form factor to that
of the first element (:class:`prammol.diffraction.scatterers.Scatterers`), which may depend on q.

On an affine grid both are non-uniform Fourier transforms, done by ducc0 in
O(n + N log N), one patch at a time; on a curved patch
transforms between two non-uniform sets, about ten times slower.
:func:`direct_structure_factor` is the plain sum: the reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import ducc0
import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.curved_patch import CurvedPatch
from prammol.diffraction.scatterers import Scatterers
from prammol.structure.labels import Labels

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
    chunk = max(1, 30_000 // max(len(x), 1))  # what fits into the cache of a core
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
    amplitude : (size,) ndarray, optional
        Factor of the amplitude at each point, such as the form factor of the atoms in units of
        that at the peak: Omega and its adjoint are multiplied by it. 1 if not given.
    scatterers : Scatterers, optional
        Which element scatters how, and which is where. All atoms alike if not given.
    """

    def __init__(
        self,
        patches: Sequence[BraggPatch],
        # chosen: the relative noise of 1e18 photons; 1e-7 ends in the same atoms
        epsilon: float = 1e-9,
        threads: int = 1,
        amplitude: NDArray[np.float64] | None = None,
        scatterers: Scatterers | None = None,
    ) -> None:
        self.patches = list(patches)
        self.amplitude = amplitude
        self.scatterers = scatterers
        self.epsilon = float(epsilon)
        self.threads = int(threads)
        self.single = self.epsilon > 1e-6
        self._real = np.float32 if self.single else np.float64
        self._complex = np.complex64 if self.single else np.complex128
        ends = np.cumsum([0, *(p.size for p in self.patches)])
        self._slices = [slice(int(a), int(b)) for a, b in pairwise(ends)]
        self.size = int(ends[-1])
        self._parts: list[StructureFactor] | None = None

    def with_accuracy(self, epsilon: float) -> StructureFactor:
        """Return that of atoms at rest on the same points, to another relative accuracy."""
        return self.on(self.patches, self.amplitude, epsilon)

    def on(
        self,
        patches: Sequence[BraggPatch],
        amplitude: NDArray[np.float64] | None,
        epsilon: float | None = None,
    ) -> StructureFactor:
        """Return that of the same atoms at rest on other points, with other amplitudes there."""
        return StructureFactor(
            patches, epsilon or self.epsilon, self.threads, amplitude, self.scatterers
        )

    def labelled(self, labels: Labels) -> StructureFactor:
        """Return that of atoms at rest on the same points, elements where labels have them."""
        other = self.on(self.patches, self.amplitude)
        if self.scatterers is not None:
            other.scatterers, other._parts = self.scatterers.labelled(labels), self.of_elements
        return other

    @property
    def of_one_atom(self) -> NDArray[np.float64] | float:
        """What one atom of weight 1 alone gives for abs(Omega)^2, (size,), or 1.0 everywhere.

        Of the first element, if there are several.
        """
        return 1.0 if self.amplitude is None else self.amplitude**2

    @property
    def of_elements(self) -> list[StructureFactor]:
        """Transforms of atoms of each element alone, wherever they are; itself if all are alike."""
        if self.scatterers is None:
            return [self]
        if self._parts is None:
            ratios = self.scatterers.ratios(self.q)
            own = np.ones(self.size) if self.amplitude is None else self.amplitude
            self._parts = [
                StructureFactor(self.patches, self.epsilon, self.threads, r * own) for r in ratios
            ]
        return self._parts

    def kinds_of(self, x: Positions) -> NDArray[np.int_]:
        """Return which of `of_elements` is that of an atom at x, (n, 3) [Å], as (n,) int."""
        if self.scatterers is None:
            return np.zeros(len(x), dtype=int)
        return self.scatterers.labels.kinds_of(x)

    def weights_of(self, x: Positions) -> NDArray[np.float64] | float:
        """Return the weight of an atom at each place, (n, 3) [Å], as (n,); 1.0 if all are alike.

        The ratio of form factors, averaged over the points.
        """
        if self.scatterers is None:
            return 1.0
        return np.asarray(self.scatterers.mean_ratios[self.kinds_of(x)])

    @property
    def q(self) -> NDArray[np.float64]:
        """Scattering vectors of all points, (size, 3) [1/Å]; computed each time."""
        return self.q_of(slice(0, self.size))

    def q_of(self, points: slice) -> NDArray[np.float64]:
        """Return the scattering vectors of neighbouring points, (m, 3) [1/Å]."""
        first, stop, _ = points.indices(self.size)
        # Each component in one piece: they are used one by one.
        out = np.empty((stop - first, 3), order="F")
        for patch, part in zip(self.patches, self._slices, strict=True):
            lo, hi = max(first, part.start), min(stop, part.stop)
            if lo < hi:
                out[lo - first : hi - first] = patch.q_of(lo - part.start, hi - part.start)
        return out

    def component(self, axis: int) -> NDArray[np.float64]:
        """Return one component of the scattering vectors of all points, (size,) [1/Å]."""
        return np.concatenate([np.empty(0), *(p.component(axis) for p in self.patches)])

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
        if len(x) == 0:
            return np.zeros(self.size, dtype=self._complex)
        if self.scatterers is not None:
            kinds = self.kinds_of(x)
            total: NDArray[np.complex128] = np.zeros(self.size, dtype=self._complex)
            for k, factor in enumerate(self.of_elements):
                here = kinds == k
                if here.any():
                    own = None if weights is None else weights[here]
                    total = total + factor.forward(x[here], own)
            return total
        out: NDArray[np.complex128] = np.empty(self.size, dtype=self._complex)
        for patch, part, coord in self._grids(x):
            waves = _waves(x, patch, -1.0)
            if weights is not None:
                waves *= weights
            points = waves.astype(self._complex, copy=False)
            if isinstance(patch, CurvedPatch):
                out[part] = ducc0.nufft.experimental.nu2nu(
                    points_in=points,
                    coord_in=x.astype(self._real),
                    coord_out=(patch.q() - patch.middle).astype(self._real),
                    forward=True,
                    epsilon=self.epsilon,
                    nthreads=self.threads,
                )
                continue
            ducc0.nufft.nu2u(
                points=points,
                coord=coord,
                forward=True,
                epsilon=self.epsilon,
                nthreads=self.threads,
                out=out[part].reshape(patch.shape),
                periodicity=2 * np.pi,
            )
        if self.amplitude is not None:
            out *= self.amplitude
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
        return self._adjoint(values, (None,), x)[0]

    def adjoint_moments(
        self, values: NDArray[np.complexfloating], x: Positions
    ) -> NDArray[np.complex128]:
        """Return ``sum_q q values(q) exp(+i q . x_j)``, (n, 3) complex."""
        return self._adjoint(values, (0, 1, 2), x).T

    def _adjoint(
        self,
        values: NDArray[np.complexfloating],
        axes: Sequence[int | None],
        x: Positions,
    ) -> NDArray[np.complex128]:
        """Return the adjoint of values times each of some components of q, (k, n); None for 1."""
        total = np.zeros((len(axes), len(x)), dtype=complex)
        if len(x) == 0:
            return total
        if self.scatterers is not None:
            kinds = self.kinds_of(x)
            for k, factor in enumerate(self.of_elements):
                here = kinds == k
                if here.any():
                    total[:, here] = factor._adjoint(values, axes, x[here])
            return total
        for patch, part, coord in self._grids(x):
            waves, own = _waves(x, patch, 1.0), values[part]
            if self.amplitude is not None:
                own = own * self.amplitude[part]
            # One field at a time: all in one call are no faster and take more memory.
            for k, axis in enumerate(axes):
                field = own if axis is None else own * patch.component(axis)
                field = field.astype(self._complex, copy=False)
                if isinstance(patch, CurvedPatch):
                    found = ducc0.nufft.experimental.nu2nu(
                        points_in=field,
                        coord_in=(patch.q() - patch.middle).astype(self._real),
                        coord_out=x.astype(self._real),
                        forward=False,
                        epsilon=self.epsilon,
                        nthreads=self.threads,
                    )
                else:
                    found = ducc0.nufft.u2nu(
                        grid=field.reshape(patch.shape),
                        coord=coord,
                        forward=False,
                        epsilon=self.epsilon,
                        nthreads=self.threads,
                        periodicity=2 * np.pi,
                    )
                total[k] += waves * found
        return total

    def _grids(
        self, x: Positions
    ) -> Iterator[tuple[BraggPatch, slice, NDArray[np.floating] | None]]:
        """Yield each patch, its points, and positions in units of its grid, None if curved."""
        last, coord = None, None
        for patch, part in zip(self.patches, self._slices, strict=True):
            if isinstance(patch, CurvedPatch):
                yield patch, part, None
                continue
            if last is None or not np.array_equal(last.step, patch.step):
                last, coord = patch, self._coordinates(patch, x)
            yield patch, part, coord

    def _coordinates(self, patch: BraggPatch, x: Positions) -> NDArray[np.floating]:
        """Positions in units of the patch's grid, reduced to one period."""
        u = x @ patch.step.T
        turns = u / (2 * np.pi)
        np.rint(turns, out=turns)
        turns *= 2 * np.pi
        u -= turns
        return u.astype(self._real, copy=False)


def _waves(x: Positions, patch: BraggPatch, sign: float) -> NDArray[np.complex128]:
    """Return exp(sign i middle.x) of each atom, (n,)."""
    phase = x @ patch.middle
    waves = np.empty(phase.shape, dtype=complex)
    # Faster than the exponential of a complex number.
    np.cos(phase, out=waves.real)
    np.sin(phase, out=waves.imag)
    waves.imag *= sign
    return waves
