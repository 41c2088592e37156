"""Candidate atoms relaxed in a fixed object (paper, "Atom generation").

The object, the host, doesn't move and the adatoms don't feel each other: each adatom
is minimised as if it were alone. An EAM potential is evaluated for all adatoms at once
from its table (:mod:`prammol.potentials.eam`). With any other, adatoms share an evaluation by
LAMMPS when they are so far apart that neither feels what the other changes in the host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.potentials.eam import AdatomEnergy, read_setfl
from prammol.potentials.potential import Potential
from prammol.structure.separation import groups_apart

Floats = NDArray[np.float64]
# Numbers and positions of some adatoms -> energy and force of each.
Evaluate = Callable[[NDArray[np.int_], Floats], tuple[Floats, Floats]]

_FIRST_RADIUS = 0.3  # chosen: speed only [Å]; not varied
_LARGEST_RADIUS = 0.5  # chosen: a step stays in one basin [Å]; not varied
_SMALLEST_RADIUS = 1e-5  # derived: a step so short moves nothing that counts [Å]
_LEAST_CURVATURE = 1e-6  # derived: a step by it is far longer than any may be [eV/Å^2]
_FIRST_CURVATURE = 2.0  # chosen: speed only [eV/Å^2]; not varied


class Energies(Protocol):
    """What is asked of LAMMPS here; a :class:`prammol.potentials.lammps.Cluster`."""

    @property
    def potential(self) -> Potential:
        """The interatomic potential."""

    def atom_energies(self, x: Floats) -> Floats:
        """Return the energy of each atom, (n,) [eV]."""

    def atom_energies_forces(self, x: Floats) -> tuple[Floats, Floats]:
        """Return the energy of each atom, (n,) [eV], and the forces, (n, 3) [eV/Å]."""

    def kinds_of(self, x: Floats) -> NDArray[np.int_]:
        """Return the element of atoms at x, (n, 3) [Å], a number from 0, (n,)."""

    def cutoff(self) -> float:
        """Return the distance beyond which two atoms don't feel each other [Å]."""


def minimise_each(
    evaluate: Evaluate, x: Floats, force_tolerance: float, max_iterations: int, farthest: float
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Minimise many independent functions of three variables side by side.

    Quasi-Newton steps (BFGS) of bounded length, which is reduced when the energy
    doesn't fall.

    Parameters
    ----------
    evaluate : callable
        Energies (k,) [eV] and forces (k, 3) [eV/Å] of the points with given numbers
        at given positions, (k, 3) [Å].
    x : (m, 3) ndarray
        Starts [Å].
    force_tolerance : float
        A point is done when the norm of its force is below this [eV/Å].
    max_iterations : int
        Most steps of one point.
    farthest : float
        A point stops before it is this far from its start [Å].

    Returns
    -------
    x : (m, 3) ndarray
        Ends [Å].
    energies : (m,) ndarray
        Energies there [eV].
    stopped : (m,) bool ndarray
        Points that stopped because they came too far.
    """
    x, start = x.copy(), x
    energy, force = evaluate(np.arange(len(x)), x)
    hessian = np.tile(_FIRST_CURVATURE * np.eye(3), (len(x), 1, 1))
    radius = np.full(len(x), _FIRST_RADIUS)
    stopped = np.zeros(len(x), dtype=bool)
    for _ in range(max_iterations):
        tense = np.linalg.norm(force, axis=1) > force_tolerance
        stopped = tense & (np.linalg.norm(x - start, axis=1) + radius > farthest)
        k = np.flatnonzero(tense & ~stopped & (radius > _SMALLEST_RADIUS))
        if len(k) == 0:
            break
        # Where forces are steep at first, updates leave nothing of a curvature but rounding.
        curvature, along = np.linalg.eigh(hessian[k])
        curvature = np.maximum(curvature, _LEAST_CURVATURE)
        step = np.einsum("nij,nj,nkj,nk->ni", along, 1.0 / curvature, along, force[k])
        length = np.linalg.norm(step, axis=1)
        step = step * np.minimum(1, radius[k] / length)[:, None]
        length = np.minimum(length, radius[k])
        new_energy, new_force = evaluate(k, x[k] + step)
        hessian[k] = _bfgs(hessian[k], step, force[k] - new_force)
        fell = new_energy < energy[k] - 1e-4 * (force[k] * step).sum(axis=1)
        radius[k] = np.where(
            fell,
            np.where(length > 0.9 * radius[k], 1.5 * radius[k], radius[k]),
            0.3 * length,
        ).clip(max=_LARGEST_RADIUS)
        ok = k[fell]
        x[ok] += step[fell]
        energy[ok], force[ok] = new_energy[fell], new_force[fell]
    return x, energy, stopped


def _bfgs(hessian: Floats, step: Floats, change: Floats) -> Floats:
    """Return updated Hessians, (k, 3, 3), positive definite as before.

    `change` is that of the gradient. Powell's damping keeps the curvature along the
    step above a fifth of what it was.
    """
    hs = np.einsum("nij,nj->ni", hessian, step)
    shs = np.einsum("ni,ni->n", step, hs)
    sy = np.einsum("ni,ni->n", step, change)
    with np.errstate(divide="ignore", invalid="ignore"):
        damp = np.where(sy < 0.2 * shs, 0.8 * shs / (shs - sy), 1.0)
    y = damp[:, None] * change + (1 - damp)[:, None] * hs
    sy = np.einsum("ni,ni->n", step, y)
    ok = (shs > 1e-20) & (sy > 1e-20)
    new = hessian[ok]
    new += y[ok, :, None] * y[ok, None, :] / sy[ok, None, None]
    new -= hs[ok, :, None] * hs[ok, None, :] / shs[ok, None, None]
    out = hessian.copy()
    out[ok] = new
    return out


def relax_adatoms(
    cluster: Energies,
    host: Floats,
    adatoms: Floats,
    force_tolerance: float,
    max_iterations: int,
    margin: float,
) -> tuple[Floats, Floats]:
    """See :meth:`prammol.potentials.lammps.Cluster.relax_adatoms`."""
    x = np.array(adatoms, dtype=float)
    energy = np.zeros(len(x))
    if len(x) == 0 or len(host) == 0:
        return x, energy
    table = read_setfl(cluster.potential)
    if table is not None:
        x, energy, _ = minimise_each(
            AdatomEnergy(table, host, cluster.kinds_of(host), cluster.kinds_of(x)),
            x,
            force_tolerance,
            max_iterations,
            np.inf,
        )
        return x, energy
    alone = cluster.atom_energies(host)
    cutoff = cluster.cutoff()
    # How far an adatom changes the energies of atoms.
    reach = 2 * cutoff if cluster.potential.shares_bonds else cutoff
    pending = np.arange(len(x))
    for _ in range(1 + max_iterations // 10):
        far = []
        for members in groups_apart(x[pending], 2 * (reach + margin)):
            chosen = pending[members]
            # A host atom counts if it feels an adatom or is felt by one that does.
            near = cKDTree(x[chosen]).query(host)[0] < reach + cutoff + margin
            evaluate = _lammps_energies(cluster, reach, host[near], alone[near], x[chosen])
            x[chosen], energy[chosen], stopped = minimise_each(
                evaluate, x[chosen], force_tolerance, max_iterations, margin
            )
            far.append(chosen[stopped])
        pending = np.sort(np.concatenate(far))
        if len(pending) == 0:
            break
    return x, energy


def _lammps_energies(
    cluster: Energies, reach: float, host: Floats, alone: Floats, start: Floats
) -> Evaluate:
    """Return a function for the energies and forces of adatoms that can't feel each other."""
    x, n = start.copy(), len(host)
    tree = cKDTree(host) if n else None

    def evaluate(which: NDArray[np.int_], new: Floats) -> tuple[Floats, Floats]:
        x[which] = new
        if tree is None:
            return np.zeros(len(new)), np.zeros_like(new)
        energies, forces = cluster.atom_energies_forces(np.concatenate([host, x]))
        change = energies[:n] - alone
        near = tree.query_ball_point(new, reach)
        shared = np.array([change[i].sum() for i in near])
        return energies[n:][which] + shared, forces[n:][which]

    return evaluate
