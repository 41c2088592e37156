"""What a reconstruction is given (Problem) and what it changes (State).

A *stage* is a frozen dataclass of settings that is called with both and returns
the new state. A preset is a list of stages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from prammol.core.parallel import Communicator
from prammol.diffraction.dataset import Diffraction, Shard
from prammol.diffraction.structure_factor import StructureFactor
from prammol.diffraction.support import Support
from prammol.potentials.lammps import Cluster


@dataclass(frozen=True)
class Problem:
    """Everything a stage may use and none may change.

    Attributes
    ----------
    data : Diffraction
        All counts.
    shard : Shard
        This rank's points.
    factor : StructureFactor
        Transform on this rank's points.
    support : Support
        Low-resolution picture of the crystal.
    cluster : Cluster
        Energies and forces.
    seed : int
        Seed of all random choices.
    comm : Communicator
    """

    data: Diffraction
    shard: Shard
    factor: StructureFactor
    support: Support
    cluster: Cluster
    seed: int
    comm: Communicator

    def rng(self, stage: str, iteration: int) -> np.random.Generator:
        """Return the random generator of a stage in an iteration.

        It depends on seed, stage and iteration only: the same on all ranks, for
        any number of ranks, and in a resumed run.
        """
        return np.random.default_rng([self.seed, crc32(stage.encode()), iteration])


@dataclass(frozen=True)
class State:
    """The current object.

    Attributes
    ----------
    positions : (n, 3) ndarray
        Atoms [Å].
    scale : float
        C, the amplitude one atom scatters into one point [sqrt(photons)].
    occupancies : (k, n) ndarray
        While positions are sites, k guesses at their occupancies; empty when they are atoms.
    excess : float
        By how many standard deviations the misfit exceeds pure noise; infinite if not known.
    wrong : float
        The same excess in missing atoms: how many single ones would cause it; infinite if
        not known.
    start : int
        Number of the start, where several are tried.
    iteration : int
        Iterations finished.
    selected : bool
        Whether the last selection changed the set of atoms.
    slow : bool
        Whether the last iteration hardly lowered `wrong`, though few atoms are wrong.
    added, removed : int
        Atoms put in and taken out in the current iteration.
    candidates : (m, 3) ndarray
        Positions proposed for new atoms [Å].
    displacements : (n,) ndarray
        Mean square displacement of each atom along one axis [Å^2]; empty if it isn't fitted.
    site_occupancies : (n,) ndarray
        Part of the time each atom is in its place; empty if that isn't fitted.
    stiffness : float
        Weight of the energy beside the misfit that gave the positions [1/eV]; infinite for a
        minimum of the energy.
    explained : bool
        Whether the data don't contradict the object, though they may not be enough to see a
        single wrong atom.
    converged : bool
        Set by a stage that finds nothing left to do.
    bond : float
        Worth of a bond in a faint crystal, as a log-likelihood (:mod:`prammol.reconstruction.occupancy.bond_energy`).
    training : (m,) bool ndarray, optional
        This rank's points to which the positions were just fitted: not to be used
        to choose a model. Only within an iteration.
    """

    positions: NDArray[np.float64]
    scale: float
    occupancies: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    excess: float = float("inf")
    wrong: float = float("inf")
    start: int = 0
    iteration: int = 0
    selected: bool = False
    slow: bool = False
    added: int = 0
    removed: int = 0
    candidates: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 3)))
    displacements: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    site_occupancies: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    stiffness: float = float("inf")
    explained: bool = False
    converged: bool = False
    bond: float = 1.0
    training: NDArray[np.bool_] | None = None


class Stage(Protocol):
    """One step of the loop: settings in its fields, work in its call."""

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the new state."""
