"""Harmonic vibrations of a cluster: its softest modes, and the force constants inside.

The curvature of the energy times a displacement costs two evaluations of the forces. The softest
modes are elastic waves of the whole body, as in resonant ultrasound spectroscopy: they are sought
among polynomials of the positions (Visscher et al., J. Acoust. Soc. Am. 90, 2154 (1991)), but with
the forces of the atoms, and improved by steps of LOBPCG (Knyazev, SIAM J. Sci. Comput. 23, 517
(2001)). All masses are 1: at a temperature a mode has the variance k_B T / stiffness whatever the
mass.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.polynomial.legendre import legvander
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, lobpcg
from scipy.spatial import cKDTree

from prammol.core.errors import SimulationError
from prammol.potentials.lammps import Cluster

Floats = NDArray[np.float64]

_DISTANCE = 0.02  # chosen: largest way of an atom in a finite difference [Å]; not varied
_DEGREE = 8  # chosen: 800 atoms; 100 modes are 2 to 20 % too stiff then, which a factor mends
_STEPS = 2  # chosen: 800 atoms; of LOBPCG, halves what the polynomials are off
_INDEPENDENT = 1e-6  # derived: rounding, relative to the largest singular value
_INNERMOST = 64  # chosen: atoms compared for the most regular surroundings; not varied


@dataclass(frozen=True, eq=False)
class SoftModes:
    """The softest modes of a cluster, without rigid motion.

    Attributes
    ----------
    stiffness : (k,) ndarray
        Eigenvalues of the Hessian [eV/Å^2], ascending, above 0.
    vectors : (k, n, 3) ndarray
        Eigenvectors of norm 1.
    """

    stiffness: Floats
    vectors: Floats


@dataclass(frozen=True, eq=False)
class ForceConstants:
    """What the displacement of an inner atom does to the atoms around it.

    Attributes
    ----------
    places : (k, 3) ndarray
        From the atom to the others, itself the first [Å].
    constants : (k, 3, 3) ndarray
        Second derivatives of the energy [eV/Å^2]; their sum is 0.
    """

    places: Floats
    constants: Floats

    def curvature(self, k: Floats) -> Floats:
        """Return the curvature of plane waves exp(i k.x), (m, 3, 3) [eV/Å^2], k (m, 3) [1/Å].

        The dynamical matrix of the crystal that has such an atom everywhere, without the mass.
        """
        out = np.empty((len(k), 9))
        flat = self.constants.reshape(-1, 9)
        flat = 0.5 * (flat + self.constants.transpose(0, 2, 1).reshape(-1, 9))
        step = max(1, 4_000_000 // len(flat))  # what fits into some 30 MB
        for first in range(0, len(k), step):
            part = slice(first, first + step)
            out[part] = np.cos(k[part] @ self.places.T) @ flat
        return out.reshape(-1, 3, 3)


def soft_modes(cluster: Cluster, x: Floats, number: int) -> SoftModes:
    """Return the softest modes of atoms at a minimum of the energy, approximately.

    Called together by all ranks, which get the same bits. The stiffnesses are upper bounds.

    Parameters
    ----------
    cluster : Cluster
        Energies and forces.
    x : (n, 3) ndarray
        Positions [Å].
    number : int
        How many modes; fewer are returned of a crystal that hasn't as many.

    Raises
    ------
    SimulationError
        If no mode has a stiffness above 0.
    """
    basis, rigid = _polynomials(x), _rigid_motions(x)
    basis -= rigid @ (rigid.T @ basis)
    left, singular, _ = np.linalg.svd(basis, full_matrices=False)
    basis = left[:, singular > _INDEPENDENT * singular[0]]
    number = min(number, basis.shape[1])

    def product(v: Floats) -> Floats:
        return curvature_times(cluster, x, v)

    reduced = basis.T @ product(basis)
    stiffness, mixed = np.linalg.eigh(0.5 * (reduced + reduced.T))
    vectors = basis @ mixed[:, :number]
    stiffness = stiffness[:number]
    # With fewer LOBPCG has no room, and the polynomials are as good as all displacements.
    if 5 * number < x.size - rigid.shape[1]:
        operator = LinearOperator((x.size, x.size), matvec=product, matmat=product, dtype=float)
        with warnings.catch_warnings():  # that so few steps don't end at its tolerance
            warnings.simplefilter("ignore", UserWarning)
            stiffness, vectors = lobpcg(
                operator, vectors, Y=rigid, largest=False, maxiter=_STEPS, tol=0.0
            )
    order = np.argsort(stiffness)
    order = order[stiffness[order] > 0]
    if len(order) == 0:
        msg = "no vibration of the crystal has a stiffness above 0, its atoms aren't at rest"
        raise SimulationError(msg)
    modes = SoftModes(stiffness[order], vectors[:, order].T.reshape(-1, len(x), 3).copy())
    return cluster.comm.bcast(modes)


def curvature_times(cluster: Cluster, x: Floats, vectors: Floats) -> Floats:
    """Return the Hessian of the energy times vectors, (3 n, k) [eV/Å^2], by finite differences."""
    columns = np.asarray(vectors).reshape(x.size, -1)
    out = np.empty(columns.shape)
    for k, column in enumerate(columns.T):
        step = _DISTANCE / max(float(np.abs(column).max()), 1e-300)
        move = step * column.reshape(x.shape)
        plus, minus = (cluster.energy_forces(x + s * move)[1] for s in (1.0, -1.0))
        out[:, k] = ((minus - plus) / (2.0 * step)).ravel()
    return out.reshape(np.shape(vectors))


def force_constants(cluster: Cluster, x: Floats) -> ForceConstants:
    """Return the force constants of the inner atom with the most regular surroundings.

    Called together by all ranks.

    Parameters
    ----------
    cluster : Cluster
    x : (n, 3) ndarray
        Positions [Å], at least one.
    """
    reach = 2.0 * cluster.cutoff()  # through the density at a common neighbour
    tree = cKDTree(x)
    centre = _most_regular(x, tree, reach)
    near = np.array(sorted(tree.query_ball_point(x[centre], reach), key=lambda j: j != centre))
    constants = np.empty((len(near), 3, 3))
    for axis in range(3):
        column = np.zeros(x.shape)
        column[centre, axis] = 1.0
        constants[:, :, axis] = curvature_times(cluster, x, column.reshape(-1, 1)).reshape(-1, 3)[
            near
        ]
    constants[0] -= constants.sum(axis=0)
    return ForceConstants(x[near] - x[centre], constants)


def _most_regular(x: Floats, tree: cKDTree, reach: float) -> int:
    """Return the atom around which the atoms lie opposite to each other, as in a crystal."""
    number = tree.query_ball_point(x, reach, return_length=True)
    best, least = 0, np.inf
    for j in np.argsort(-number, kind="stable")[:_INNERMOST]:
        around = x[tree.query_ball_point(x[j], reach)]
        gap, _ = tree.query(2.0 * x[j] - around)
        if gap.mean() < least:
            best, least = int(j), float(gap.mean())
    return best


def _rigid_motions(x: Floats) -> Floats:
    """Return an orthonormal basis of translations and rotations, (3 n, r)."""
    arm = x - x.mean(axis=0)
    motions = [np.tile(e, (len(x), 1)) for e in np.eye(3)]
    motions += [np.cross(e, arm) for e in np.eye(3)]
    left, singular, _ = np.linalg.svd(np.array(motions).reshape(6, -1).T, full_matrices=False)
    return np.asarray(left[:, singular > _INDEPENDENT * singular[0]])


def _polynomials(x: Floats) -> Floats:
    """Return displacements along each axis by products of Legendre polynomials, (3 n, k)."""
    arm = x - x.mean(axis=0)
    arm = arm / max(float(np.abs(arm).max()), 1e-300)
    along = [legvander(arm[:, a], _DEGREE).T for a in range(3)]
    powers = range(_DEGREE + 1)
    products = np.array(
        [
            along[0][i] * along[1][j] * along[2][k]
            for i in powers
            for j in powers[: _DEGREE + 1 - i]
            for k in powers[: _DEGREE + 1 - i - j]
        ]
    )
    return np.einsum("kn,ab->nakb", products, np.eye(3)).reshape(x.size, -1)
