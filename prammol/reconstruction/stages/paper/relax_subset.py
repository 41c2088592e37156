"""Energy minimisation of a part of the object (paper, "MD energy minimization")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prammol.reconstruction.problem import Problem
from prammol.reconstruction.setting_kinds import Checked, NonNegative, PartOrNone, Positive, Whole
from prammol.reconstruction.state import State
from prammol.structure.separation import apart


@dataclass(frozen=True)
class RelaxSubset(Checked):
    """Relax the atoms of high energy and a random half of the others (Algorithm 1, 15).

    The other atoms stay fixed: physics enters, but not so strongly that the object
    can't leave a local maximum of the likelihood. While many atoms come and go a few iterations
    do: the energy is that of a crystal of another shape.

    Attributes
    ----------
    fraction : float
        Part of all atoms that is drawn at random.
    cutoff : float
        Atoms above this energy are relaxed too, in units of the energy per atom of
        a free tetrahedron (a negative energy; the paper takes one half).
    force_tolerance : float
        Stop when the norm of all forces is below this [eV/Å].
    max_iterations : int
        Iterations of the minimiser.
    coarse_iterations : int
        The same after more than `many` atoms were added or removed.
    many : int
        How many that are.
    overlap : float
        Of two atoms closer than this only the first is kept [Å]: no potential
        describes them.
    """

    fraction: PartOrNone = 0.5  # derived: the paper's
    cutoff: NonNegative = 0.5  # derived: the paper's
    force_tolerance: Positive = 1e-2  # chosen: not varied
    max_iterations: Whole = 200  # chosen: not varied
    coarse_iterations: Whole = 40  # chosen: vacancy crystal; 0.5 instead of 2.3 s with 200
    many: Whole = 10  # chosen: not varied
    overlap: NonNegative = 0.5  # derived: physics, no potential describes atoms so close

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state with relaxed positions."""
        x = state.positions
        keep = apart(x, self.overlap)
        x = x[keep]
        if len(x) == 0:
            return state
        cluster = problem.cluster
        limit = self.cutoff * cluster.free_tetrahedron_energy()
        rng = problem.rng("relax", state.status.iteration)
        free = np.zeros(len(x), dtype=bool)
        free[rng.choice(len(x), round(self.fraction * len(x)), replace=False)] = True
        free |= cluster.atom_energies(x) > limit
        changing = state.status.added + state.status.removed > self.many
        most = min(self.coarse_iterations, self.max_iterations) if changing else self.max_iterations
        x, _, _ = cluster.relax(x, free, self.force_tolerance, most)
        lost = int((~keep).sum())
        return state.changed(x, removed=lost) if lost else state.moved(x)
