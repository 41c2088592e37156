"""Kinematic scattering of point atoms: structure factor and its adjoint.

With positions x_j and weights w_j the structure factor is

    Omega(q) = sum_j w_j exp(-i q . x_j)                   (paper Eq. 10)

and its adjoint, for values v on the points,

    (adjoint v)_j = sum_q v(q) exp(+i q . x_j).

Atoms of several elements have a weight of their own besides, the ratio of their form factor to that
of the first element (:class:`prammol.diffraction.scatterers.Scatterers`), which may depend on q.

On an affine grid both are non-uniform Fourier transforms, done by ducc0 in
O(n + N log N), patches with the same steps and shape together; on a curved patch
transforms between two non-uniform sets, about ten times slower.
:func:`direct_structure_factor` is the plain sum: the reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
        self._single = self.epsilon > 1e-6
        self._real = np.float32 if self._single else np.float64
        self._complex = np.complex64 if self._single else np.complex128
        self._groups = _groups(self.patches)
        self.size = sum(p.size for p in self.patches)
        self._q: NDArray[np.float64] | None = None
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
        """Scattering vectors of all points, (size, 3) [1/Å]."""
        if self._q is None:
            parts = [p.q() for p in self.patches]
            # Each component in one piece: they are used one by one.
            self._q = np.array(np.concatenate(parts) if parts else np.empty((0, 3)), order="F")
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
        for patches, part in self._groups:
            waves = _waves(x, patches, -1.0)
            if weights is not None:
                waves *= weights
            points = waves.astype(self._complex, copy=False)
            first = patches[0]
            if isinstance(first, CurvedPatch):
                out[part] = ducc0.nufft.experimental.nu2nu(
                    points_in=points[0],
                    coord_in=x.astype(self._real),
                    coord_out=(first.q() - first.middle).astype(self._real),
                    forward=True,
                    epsilon=self.epsilon,
                    nthreads=self.threads,
                )
                continue
            ducc0.nufft.nu2u(
                points=points,
                coord=self._coordinates(first, x),
                forward=True,
                epsilon=self.epsilon,
                nthreads=self.threads,
                out=out[part].reshape(len(patches), *first.shape),
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
        return self._adjoint(values, None, x)[0]

    def adjoint_moments(
        self, values: NDArray[np.complexfloating], x: Positions
    ) -> NDArray[np.complex128]:
        """Return ``sum_q q values(q) exp(+i q . x_j)``, (n, 3) complex."""
        return self._adjoint(values, self.q.T, x).T

    def _adjoint(
        self,
        values: NDArray[np.complexfloating],
        times: NDArray[np.float64] | None,
        x: Positions,
    ) -> NDArray[np.complex128]:
        """Return the adjoint of values, (1, n), or of them times each of several fields, (k, n)."""
        total = np.zeros((1 if times is None else len(times), len(x)), dtype=complex)
        if len(x) == 0:
            return total
        if self.scatterers is not None:
            kinds = self.kinds_of(x)
            for k, factor in enumerate(self.of_elements):
                here = kinds == k
                if here.any():
                    total[:, here] = factor._adjoint(values, times, x[here])
            return total
        if self.amplitude is not None:
            values = values * self.amplitude
        for patches, part in self._groups:
            waves = _waves(x, patches, 1.0)
            first = patches[0]
            if isinstance(first, CurvedPatch):
                offset = (first.q() - first.middle).astype(self._real)
                for k, field in enumerate(_fields(values, times, part)):
                    total[k] += waves[0] * ducc0.nufft.experimental.nu2nu(
                        points_in=field.astype(self._complex, copy=False),
                        coord_in=offset,
                        coord_out=x.astype(self._real),
                        forward=False,
                        epsilon=self.epsilon,
                        nthreads=self.threads,
                    )
                continue
            coord = self._coordinates(first, x)
            # One field at a time: all in one call are no faster and take more memory.
            for k, field in enumerate(_fields(values, times, part)):
                grid = field.reshape(len(patches), *first.shape)
                found = ducc0.nufft.u2nu(
                    grid=grid.astype(self._complex, copy=False),
                    coord=coord,
                    forward=False,
                    epsilon=self.epsilon,
                    nthreads=self.threads,
                    periodicity=2 * np.pi,
                )
                total[k] += np.einsum("pj,pj->j", waves, found)
        return total

    def _coordinates(self, patch: BraggPatch, x: Positions) -> NDArray[np.floating]:
        """Positions in units of the patch's grid, reduced to one period."""
        u = x @ patch.step.T
        turns = u / (2 * np.pi)
        np.rint(turns, out=turns)
        turns *= 2 * np.pi
        u -= turns
        return u.astype(self._real, copy=False)


def _alike(one: BraggPatch, other: BraggPatch) -> bool:
    """Whether one call of ducc0 does both patches: only the phases differ."""
    return (
        not isinstance(one, CurvedPatch)
        and not isinstance(other, CurvedPatch)
        and one.shape == other.shape
        and np.array_equal(one.step, other.step)
    )


def _groups(patches: Sequence[BraggPatch]) -> list[tuple[list[BraggPatch], slice]]:
    """Return neighbouring patches that are alike, and where their points are."""
    groups: list[tuple[list[BraggPatch], slice]] = []
    end = 0
    for patch in patches:
        start, end = end, end + patch.size
        if groups and _alike(groups[-1][0][0], patch):
            members, part = groups.pop()
            groups.append(([*members, patch], slice(part.start, end)))
        else:
            groups.append(([patch], slice(start, end)))
    return groups


def _fields(
    values: NDArray[np.complexfloating], times: NDArray[np.float64] | None, part: slice
) -> Iterator[NDArray[np.complexfloating]]:
    """Yield a part of values, or of them times each of several fields, one after the other."""
    if times is None:
        yield values[part]
    else:
        yield from (values[part] * t[part] for t in times)


def _waves(x: Positions, patches: Sequence[BraggPatch], sign: float) -> NDArray[np.complex128]:
    """Return exp(sign i middle.x) of each patch and atom, (p, n)."""
    phase = np.array([patch.middle for patch in patches]) @ x.T
    waves = np.empty(phase.shape, dtype=complex)
    # Faster than the exponential of a complex number.
    np.cos(phase, out=waves.real)
    np.sin(phase, out=waves.imag)
    waves.imag *= sign
    return waves
