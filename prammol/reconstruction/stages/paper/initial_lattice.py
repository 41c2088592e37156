"""The first atoms: a perfect lattice in the support, or atoms at random."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import InputError
from prammol.diffraction.support import Support
from prammol.likelihood.poisson import amplitude_scale
from prammol.reconstruction.model import Model
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.setting_kinds import Axes, Checked, NonNegative, Positive
from prammol.reconstruction.state import State
from prammol.structure.separation import apart


@dataclass(frozen=True)
class FillLattice(Checked):
    """Fill the support with a perfect lattice at a random place (the paper's start).

    The lattice has the structure of the potential (fcc or bcc) and the right
    orientation; its constant needn't be exact. C follows by Eq. 9.

    Attributes
    ----------
    lattice_constant : float
        Edge of the cubic cell [Å]; if 0, the potential's by 80/81, as the paper's 4.0
        for aluminium's 4.05.
    orientation : (3, 3) tuple
        Rows are the directions of the cubic axes, a rotation matrix.
    """

    lattice_constant: NonNegative = 0.0  # derived: none given
    orientation: Axes = ((1, 0, 0), (0, 1, 0), (0, 0, 1))

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state with the lattice's atoms, whatever atoms it had."""
        shift = problem.rng("fill_lattice", state.status.iteration).random(3)
        potential = problem.potential
        basis = potential.lattice.basis
        edge = self.lattice_constant or potential.lattice_constant * 80 / 81
        axes = np.array(self.orientation, dtype=float)
        if axes.shape != (3, 3) or not np.allclose(axes @ axes.T, np.eye(3), atol=1e-3):
            msg = "orientation must be a rotation matrix, three orthogonal unit rows"
            raise InputError(msg)
        x = lattice_in_support(problem.support, edge * axes, basis, shift)
        if len(x) == 0:
            msg = "no lattice point lies in the support; is it smaller than a unit cell?"
            raise InputError(msg)
        omega = problem.factor.forward(x)
        valid = problem.shard.valid
        scale = amplitude_scale(problem.shard.signal[valid], omega[valid], problem.comm)
        return replace(state, model=Model(x, scale))


def lattice_in_support(
    support: Support,
    cell: NDArray[np.float64],
    basis: NDArray[np.float64],
    shift: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the lattice points inside a support.

    Parameters
    ----------
    support : Support
        Where there may be atoms.
    cell : (3, 3) ndarray
        Rows are the edges of the unit cell [Å].
    basis : (b, 3) ndarray
        Atoms of the cell, in units of its edges.
    shift : (3,) ndarray
        Displacement of the whole lattice, in units of the edges.

    Returns
    -------
    (n, 3) ndarray
        Positions [Å].
    """
    # Corners of the box of voxels, half a voxel beyond the outermost centres.
    box = np.indices((2, 2, 2)).reshape(3, -1).T * np.array(support.inside.shape) - 0.5
    corners = (support.origin + box @ support.voxel) @ np.linalg.inv(cell)
    low = np.floor(corners.min(axis=0) - 1).astype(int)
    count = np.ceil(corners.max(axis=0) + 1).astype(int) - low + 1
    cells = np.indices(tuple(count)).reshape(3, -1).T + low
    points = (cells[:, None, :] + basis + shift).reshape(-1, 3) @ cell
    return points[support.contains(points)]


@dataclass(frozen=True)
class FillAtRandom(Checked):
    """Put a random number of atoms at random places in the support (paper, "Results").

    The harder of the paper's starts: nothing is known of the lattice.

    Attributes
    ----------
    fewest, most : float
        The number of atoms is drawn evenly between these parts of what the support
        holds at the density of the perfect crystal.
    apart : float
        No two atoms are closer than this [neighbour distances]; so dense a packing as the
        crystal's can't be reached by chance, and fewer atoms are placed when no gap is found.
    force_tolerance : float
        The atoms are relaxed until the norm of all forces is below this [eV/Å].
    """

    fewest: NonNegative = 0.5  # derived: the paper's
    most: NonNegative = 1.0  # derived: the paper's
    apart: NonNegative = 0.75  # chosen: as generate_candidates.distance; not varied
    force_tolerance: Positive = 1.0  # chosen: only overlaps are to go; not varied

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state with random atoms, whatever atoms it had."""
        potential = problem.potential
        rng = problem.rng("fill_at_random", state.status.start)
        support = problem.support
        cell = support.voxel
        capacity = len(support.centres()) * abs(np.linalg.det(cell)) / potential.atomic_volume
        number = int(rng.uniform(self.fewest, self.most) * capacity)
        if number < 1:
            msg = "the support has room for less than one atom"
            raise InputError(msg)
        centres = support.centres()
        tries = 20 * number
        points = (
            centres[rng.integers(0, len(centres), tries)] + (rng.random((tries, 3)) - 0.5) @ cell
        )
        points = points[apart(points, self.apart * potential.neighbour_distance)][:number]
        x, _, _ = problem.cluster.relax(points, force_tolerance=self.force_tolerance)
        omega = problem.factor.forward(x)
        valid = problem.shard.valid
        scale = amplitude_scale(problem.shard.signal[valid], omega[valid], problem.comm)
        return replace(state, model=Model(x, scale))
