"""Difference synthesis: where the data want an atom more, or one less.

The derivative of the misfit with respect to the weight of an atom at x,

    g(x) = dJ/dw = Re sum_q W(q) Omega(q) exp(+i q.x),

is crystallography's difference Fourier map. Adding an atom at x changes J by about
g + h/2 with the curvature h, which is nearly the same everywhere: a missing atom
shows as g = -h, a wrong one as g = +h.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.core.parallel import Communicator
from prammol.diffraction.structure_factor import StructureFactor
from prammol.likelihood.point_blocks import blocks
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.structure.separation import apart

# chosen: as of candidate_sites; see there
_OVERLAP_ACCURACY = 1e-4  # accuracy of the overlaps


@dataclass(frozen=True)
class DifferenceMap:
    """The difference map of an object.

    Attributes
    ----------
    value : float
        Misfit J of the object.
    scale : float
        Its best C.
    height : float
        Curvature h: the depth of a whole missing atom.
    field : (m,) complex ndarray
        On this rank's points; its adjoint is g h.
    """

    value: float
    scale: float
    height: float
    field: NDArray[np.complex128]
    _weight: NDArray[np.float64]
    _factor: StructureFactor
    _comm: Communicator

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return g at x, (n, 3) [Å], in units of a whole atom: -1 one is missing."""
        g = self._comm.allreduce(self._factor.adjoint(self.field, x).real.copy())
        return g / self.height

    def gradient(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return dg/dx, (n, 3) [1/Å], in the same unit."""
        d = -self._factor.adjoint_moments(self.field, x).imag
        return self._comm.allreduce(d) / self.height

    def overlap(self, apart: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how alike the images of two atoms are, (n, 3) [Å] apart: 1 for the same place.

        Of two atoms of one element, the first.
        """
        factor, weight = self._factor.of_elements[0].with_accuracy(_OVERLAP_ACCURACY), self._weight
        if factor.amplitude is not None:
            weight = weight / factor.amplitude  # which the adjoint has again
        at = np.concatenate([np.zeros((1, 3)), apart])
        values = self._comm.allreduce(factor.adjoint(weight + 0j, at).real.copy())
        return np.asarray(values[1:] / values[0])

    def _stiffness(self) -> NDArray[np.float64]:
        """Return mean q q^T, (3, 3) [1/Å^2].

        Of an isolated atom g(x) = -h mean cos(q.x), so that is its curvature.
        """
        weight, own = self._weight, np.zeros(10)
        for part in blocks(len(weight)):
            q = self._factor.q_of(part)
            square = (q * weight[part, None]).T @ q
            own += [weight[part].sum(), *square.ravel()]
        sums = self._comm.allreduce(own)
        return np.asarray(sums[1:].reshape(3, 3) / sums[0])

    def minima(
        self,
        x: NDArray[np.float64],
        near: NDArray[np.float64],
        threshold: float,
        neighbour_distance: float,
        rng: np.random.Generator,
        points: int,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Find the minima below a threshold around an object.

        Parameters
        ----------
        x : (n, 3) ndarray
            The object's atoms [Å].
        near : (m, 3) ndarray
            Atoms to search around [Å].
        threshold : float
            Keep minima with g below this, for example -0.2.
        neighbour_distance : float
            Nearest-neighbour distance [Å].
        rng : Generator
            Draws the starting points.
        points : int
            Number of starting points.

        Returns
        -------
        positions : (k, 3) ndarray
            Minima, deepest first, no two closer than 0.4 neighbour distances [Å].
        depth : (k,) ndarray
            g there.
        """
        d = neighbour_distance
        start = near[rng.integers(0, len(near), points)]
        start = start + rng.uniform(-1.5 * d, 1.5 * d, (points, 3))
        gap = cKDTree(x).query(start)[0]
        p = start[(gap > 0.15 * d) & (gap < 1.5 * d)]
        # A starting point within a third of a neighbour distance of a minimum
        # already sees half of it.
        p = p[self(p) < 0.4 * threshold]
        inverse = np.linalg.inv(self._stiffness())
        for _ in range(6):
            g = self(p)
            step = -(self.gradient(p) @ inverse) / np.maximum(-g, -0.4 * threshold)[:, None]
            length = np.linalg.norm(step, axis=1, keepdims=True)
            p = p + step * np.minimum(1.0, 0.1 * d / np.maximum(length, 1e-12))
        g = self(p)
        p, g = p[g < threshold], g[g < threshold]
        keep = apart(p, 0.4 * d, -g)
        p, g = p[keep], g[keep]
        order = np.argsort(g, kind="stable")
        return p[order], g[order]


def difference_map(
    misfit: PoissonMisfit,
    x: NDArray[np.float64],
    omega: NDArray[np.complex128] | None = None,
) -> DifferenceMap:
    """Return the difference map of an object.

    Parameters
    ----------
    misfit : PoissonMisfit
        Its transform is that of a single atom.
    x : (n, 3) ndarray
        The object's atoms [Å].
    omega : (m,) complex ndarray, optional
        Their structure factor, if it isn't that of atoms at rest.
    """
    factor, comm = misfit.factor, misfit.comm
    omega = factor.forward(x) if omega is None else omega
    value, scale, field = misfit.field(omega)
    weight = misfit.sharpness(omega, scale) * factor.of_one_atom
    height = 2.0 * scale**2 * comm.sum(float(weight.sum()))
    return DifferenceMap(value, scale, height, field, weight, factor, comm)
