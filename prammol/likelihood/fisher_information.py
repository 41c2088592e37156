"""Fisher information of the positions: what the photons say about each atom.

For Poisson counts of mean lambda the information on parameters t is
F = sum_q (dlambda/dt)(dlambda/dt)^T / lambda, with

    dlambda/dx_j = 2 C^2 Re[conj(Omega) (-i q) exp(-i q.x_j)].

and the response of the detector applied to it, if there is one. Its inverse bounds the
covariance of any unbiased estimate (Cramér and Rao).
"""

from __future__ import annotations

from itertools import combinations_with_replacement, product

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.dataset import Shard
from prammol.diffraction.debye_waller import ThermalStructureFactor
from prammol.diffraction.structure_factor import StructureFactor, squared
from prammol.likelihood.extra_photons import extra_photons
from prammol.likelihood.linear_maps import imaginary_product, map_derivatives, moments_of
from prammol.likelihood.point_blocks import Derivatives, at_points, blocks


class Fisher:
    """The information on the positions of all atoms, C unknown; all ranks call it together.

    Parameters
    ----------
    shard : Shard
        Mask and background; the counts aren't used.
    factor : StructureFactor
        Transform of atoms at rest on the same points.
    x : (n, 3) ndarray
        Positions [Å].
    scale : float
        C [sqrt(photons)].
    displacements : (n,) ndarray, optional
        Mean square displacement of each atom along one axis [Å^2]; few different values.
    weight : (m,) ndarray, optional
        Weight of each point, :attr:`prammol.likelihood.quasi_likelihood.PoissonMisfit.weight`.
    occupancies : (n,) ndarray, optional
        Part of the time each atom is in its place; 1 if not given.
    """

    def __init__(
        self,
        shard: Shard,
        factor: StructureFactor,
        x: NDArray[np.float64],
        scale: float,
        displacements: NDArray[np.float64] | None = None,
        weight: NDArray[np.float64] | None = None,
        occupancies: NDArray[np.float64] | None = None,
    ) -> None:
        self._comm, self._factor, self._rest, self._scale = shard.comm, factor, factor, scale
        self.x = x
        self._motion = np.zeros(len(x)) if displacements is None else displacements
        self._present = np.ones(len(x)) if occupancies is None else occupancies
        if self._motion.any() or occupancies is not None:
            # One mean motion, and the rest as weights near the Bragg vectors: half the transforms.
            square = shard.comm.sum(float(np.sum(factor.q**2))) / shard.comm.sum(factor.size)
            mean = np.full(len(x), np.median(self._motion))
            weights = self._present * np.exp(-0.5 * square * (self._motion - mean))
            self._factor = ThermalStructureFactor(
                factor.patches,
                mean,
                np.sqrt(square),
                factor.epsilon,
                factor.threads,
                weights,
                factor.amplitude,
                factor.scatterers,
            )
        omega = self._factor.forward(x)
        self._omega = shard.whole(omega)
        self._response = shard.response
        self._visible = shard.visibility
        signal = scale**2 * shard.detected(omega)
        background = 0.0 if shard.background is None else shard.background
        # The misfit adds as many photons, and so gives up what less than that would tell.
        extra = extra_photons(shard)
        self._weight = (shard.weight if weight is None else weight) / (signal + background + extra)
        self._signal = signal
        self._by_scale = self._comm.sum(float(self._weight @ signal**2))

    def times(self, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return F v for shifts v of all atoms, (n, 3) [Å], as (n, 3) [1/Å].

        The information that C takes away, since it is fitted too, is missing in F.
        """
        change = self._change(v)
        return self.slope(change if self._response is None else self._response.apply(change))

    def _change(self, shifts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return by how much lambda changes, (m,), if each atom moves by a shift, (n, 3) [Å]."""
        change = np.zeros(self._factor.size)
        for axis, shift in enumerate(shifts.T):
            own = imaginary_product(self._omega, self._factor.forward(self.x, shift))
            own *= self._factor.component(axis)
            change += own
        change *= 2.0 * self._scale**2
        return change

    def slope(self, change: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return sum_q dlambda/dx change / lambda, (n, 3) [1/Å], C free.

        Parameters
        ----------
        change : (m,) ndarray
            Photons on this rank's points. Of lambda less the counts it is the slope of the misfit.
        """
        along = self._comm.sum(float((self._weight * self._signal) @ change))
        residual = self._weight * (change - self._signal * (along / max(self._by_scale, 1e-300)))
        if self._response is not None:
            residual = self._response.adjoint(residual)
        field = 2.0 * self._scale**2 * residual * self._omega
        return self._comm.allreduce(-self._factor.adjoint_moments(field, self.x).imag)

    def blocks(self) -> NDArray[np.float64]:
        """Return the information on each atom with the others and C known, (n, 3, 3) [1/Å^2].

        Im(z)^2 = (abs(z)^2 - Re z^2) / 2 makes it an adjoint transform at 2 x. A response leaves of
        the interference what it does on the average over the other atoms.
        """
        out = np.empty((len(self.x), 3, 3))
        kinds = self._rest.kinds_of(self.x)
        for u, kind in product(np.unique(self._motion), range(len(self._rest.of_elements))):
            here, rest = (self._motion == u) & (kinds == kind), self._rest.of_elements[kind]
            w = 2.0 * self._scale**4 * self._weight * self._visible
            if u > 0:
                w = w * np.exp(-u * sum(rest.component(a) ** 2 for a in range(3)))
            power = w * squared(self._omega) * rest.of_one_atom
            doubled = self._omega**2
            doubled *= w
            del w
            if rest.amplitude is not None:
                doubled *= rest.amplitude  # its adjoint has the other one
            for a, b in combinations_with_replacement(range(3), 2):
                both = rest.component(a)
                both *= rest.component(b)
                mean = self._comm.sum(float(power @ both))
                part = rest.adjoint(doubled * both, 2.0 * self.x[here]).real.copy()
                out[here, a, b] = out[here, b, a] = mean - self._comm.allreduce(part)
        if self._response is not None:
            out *= self._response.visibility_at(self.x)[:, None, None]
        return out * self._present[:, None, None] ** 2

    def of_maps(self, generators: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the covariance of the coefficients of even maps of the object, (k, k).

        Parameters
        ----------
        generators : (k, 3, 3) ndarray
            The maps x -> x + sum_a c_a g_a (x - centre), such as rotations.
        """
        moments = moments_of(self.x, self._omega, self._factor)
        size = len(generators) + 1
        system = np.zeros((size, size))

        def own(points: slice) -> NDArray[np.float64]:
            q = self._factor.q_of(points)
            return self._scale**2 * map_derivatives(q, moments[:, points], generators)

        slopes: Derivatives = own
        if self._response is not None:
            slopes = at_points(self._response.apply(own(slice(None))))
        for part in blocks(self._factor.size):
            slope = np.vstack([slopes(part), self._signal[part]])
            system += (slope * self._weight[part]) @ slope.T
        system = self._comm.allreduce(system)
        return np.asarray(np.linalg.pinv(system, hermitian=True)[:-1, :-1])
