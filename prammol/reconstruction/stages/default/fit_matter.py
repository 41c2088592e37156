"""Does matter that isn't the crystal explain what the atoms don't?"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.calibration import Calibration
from prammol.diffraction.matter import Matter
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.occupancy.candidate_sites import relaxed_vacant_sites
from prammol.reconstruction.occupancy.low_signal import is_low_signal
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.matter_fit import (
    ACCURACY,
    HALF,
    ITERATIONS,
    PRICE,
    Projection,
    Shell,
    bare_misfit,
    confirmed_shell,
    empty_shell,
    fitted_shell,
)
from prammol.reconstruction.refinement.rotation_strain import (
    align_strained,
    even_map,
    rotation_of,
)
from prammol.reconstruction.setting_kinds import (
    Accuracy,
    Checked,
    NonNegative,
    Part,
    Positive,
    Whole,
)
from prammol.reconstruction.state import State
from prammol.reconstruction.subsampling import coarser
from prammol.reconstruction.verdict import judge
from prammol.structure.surface import on_surface

Floats = NDArray[np.float64]

# chosen: 800 atoms with 370 light ones; 300 iterations leave 0.4 sigma, 150 leave 7
_LONGER = 3  # times the iterations, for the last fit
_LOOSE = 1e-2  # chosen: eV/Å, as complete_atoms.force_tolerance; not varied
_TIGHT = 1e-6  # derived: eV/Å, as relax_and_align.force_tolerance
_TURNS = 2  # chosen: pose and density in turn; not varied
_MOST = 0.9  # of the misfit that is left makes no difference; chosen: not varied


@dataclass(frozen=True)
class FitMatter(Checked):
    """Fit a density around the crystal: an oxide, adsorbates, ligands.

    Done when the stages before found nothing and the counts contradict the object. The density is
    fitted together with the occupancies of the surface and of vacant sites beside it
    (:mod:`prammol.reconstruction.refinement.matter_fit`), on a part of the points. It is taken if
    the others confirm it and most of what contradicted the object is gone. Then sites above a
    half are the atoms; when these no longer change all points are used.

    Attributes
    ----------
    enabled : bool
        Whether matter that isn't the crystal is looked for; the run isn't converged with it, as a
        density may pass for an atom of the surface.
    price : float
        Of the density of an atom, in units of what a missing atom costs.
    iterations : int
        L-BFGS iterations of one fit.
    most : float
        Part of what contradicted the object that has to be gone on the points held out.
    nearly : float
        Tried only when the misfit is worth fewer missing atoms than this part of all.
    significance : float
        As in :class:`~prammol.reconstruction.stages.default.relax_and_align.RelaxAndAlign`.
    tried : int
        How many doubtful sites are flipped, one by one, with all atoms relaxed.
    doubtful : float
        By how much occupancies of doubtful sites differ from 0 or 1.
    least : float
        What a flip has to gain, in units of what a missing atom costs.
    epsilon : float
        Accuracy of the Fourier transforms.
    """

    enabled: bool = False
    price: NonNegative = PRICE  # chosen: 156 atoms with 50 light ones; 0.01 to 0.3 alike
    iterations: Whole = ITERATIONS  # chosen: not varied
    # chosen: 800 atoms, 370 light ones and 26 wrong, 0.67; 181 atoms on a substrate, 0.37
    most: Part = 0.5
    nearly: NonNegative = 0.5  # chosen: not varied
    tried: Whole = 8  # chosen: time; not varied
    # chosen: 156 atoms with 50 light ones, where a missing one has 0.43; not varied
    doubtful: Part = 0.2
    least: NonNegative = 0.05  # chosen: not varied
    significance: Positive = 5.0  # derived: five standard deviations
    epsilon: Accuracy = ACCURACY  # chosen: 800 atoms at 1e19; 1e-5 is off by 1000 sigma

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state with the density, and the atoms that are right beside it."""
        had = problem.calibration.matter if problem.calibration else None
        x = state.positions
        if not self.enabled or not self._may_be(problem, state, had):
            return state
        distance, reach = problem.potential.neighbour_distance, problem.potential.bond_reach
        shell = empty_shell(x, relaxed_vacant_sites(problem, x), distance, had)
        free = np.ones(len(shell.sites), dtype=bool)
        free[: len(x)] = on_surface(x, reach)
        fewer = coarser(problem)
        fewer = replace(fewer, factor=fewer.factor.with_accuracy(self.epsilon))
        if had is None:
            shell, explained = confirmed_shell(fewer, shell, free, self.price, self.iterations)
            if explained < self.most:
                return state
        found = fitted_shell(fewer, shell, free, self.price, self.iterations)
        better = self._better(fewer, state, found)
        if better is not None:
            return better
        return self._settled(problem, state, found.matter)

    def _may_be(self, problem: Problem, state: State, had: Matter | None) -> bool:
        """Tell whether matter is to be looked for."""
        x, verdict = state.positions, state.verdict
        if verdict.explained or not (had or state.status.slow) or len(state.model.displacements):
            return False
        if verdict.wrong > self.nearly * len(x):
            return False
        return not is_low_signal(problem.shard, problem.factor, problem.factor.forward(x))

    def _settled(self, problem: Problem, state: State, matter: Matter) -> State:
        """Return the state with matter fitted to all points at no price, if that is better.

        Beside atoms at the minimum of the energy, if that is enough: while the density was rough
        the counts may have strained them.
        """
        x = state.positions
        rest, _, _ = problem.cluster.relax(x, force_tolerance=_TIGHT)
        calibration = problem.calibration or Calibration.nominal(len(problem.data.patches))
        even = even_map(rest, x)
        turn = np.eye(3) if even is None else rotation_of(even)
        turned = x.mean(axis=0) + (rest - rest.mean(axis=0)) @ turn
        for y in (turned, x):
            shell = self._alone(problem, y, matter, 0.0, _LONGER * self.iterations)
            new = self._with(problem, state.moved(y), calibration, shell.matter)
            new = self._judged(problem, state, new)
            if new.verdict.explained:
                break
        return new

    def _better(self, problem: Problem, state: State, found: Shell) -> State | None:
        """Return the state with the atoms changed that explains more once they are relaxed, if any.

        All sites whose occupancy says so, those that are added, those that are removed; then the
        doubtful ones one by one: an atom that is missing or too many bends its surroundings, which
        hides half of it.
        """
        atoms = len(state.positions)
        old = np.arange(len(found.sites)) < atoms
        taken = found.taken(HALF, problem.potential.neighbour_distance)
        sets = [taken, taken | old, taken & old]
        calibration = problem.calibration or Calibration.nominal(len(problem.data.patches))
        few = self.iterations // 2
        start = self._alone(problem, state.positions, found.matter, self.price, few)
        misfit = bare_misfit(problem)
        omega = misfit.factor.forward(state.positions)
        most = start.value - self.least * misfit.cost_of_one_atom(omega, misfit.scale(omega))
        tried = {old.tobytes()}
        ends: list[tuple[Shell, NDArray[np.bool_]]] = []
        doubt = np.abs(found.occupancies - old)
        order = np.argsort(-doubt, kind="stable")[: self.tried]
        singles = [old ^ (np.arange(len(old)) == k) for k in order if doubt[k] > self.doubtful]
        for number, keep in enumerate([*sets, *singles]):
            if number >= len(sets) and ends:
                break
            if keep.tobytes() in tried:
                continue
            tried.add(keep.tobytes())
            shell = self._relaxed(problem, found, keep, few)
            if shell.value < most:
                ends.append((shell, keep))
        if not ends:
            return None
        shell, keep = min(ends, key=lambda end: end[0].value)
        state = state.changed(shell.sites, int((keep & ~old).sum()), int((old & ~keep).sum()))
        return self._with(problem, state, calibration, shell.matter)

    def _relaxed(
        self, problem: Problem, found: Shell, keep: NDArray[np.bool_], iterations: int
    ) -> Shell:
        """Return some sites relaxed and laid on the counts, and the density fitted beside them."""
        x, _, _ = problem.cluster.relax(found.sites[keep], force_tolerance=_LOOSE)
        matter = found.matter
        for _ in range(_TURNS):
            beside = replace(problem.shard, beside=matter.structure_factor(problem.factor))
            x, _ = align_strained(PoissonMisfit(beside, problem.factor), x, x)
            shell = self._alone(problem, x, matter, self.price, iterations // _TURNS)
            matter = shell.matter
        return shell

    def _alone(
        self, problem: Problem, x: Floats, matter: Matter, price: float, iterations: int
    ) -> Shell:
        """Return the density fitted beside atoms, (n, 3) [Å], all of which are there."""
        distance = problem.potential.neighbour_distance
        shell = empty_shell(x, np.empty((0, 3)), distance, matter)
        return fitted_shell(problem, shell, np.zeros(len(x), dtype=bool), price, iterations)

    def _with(
        self, problem: Problem, state: State, calibration: Calibration, matter: Matter
    ) -> State:
        """Return the state with some matter in its calibration."""
        rng = problem.rng("matter freedom", state.status.iteration)
        free = Projection(problem, state.positions, matter).freedom(rng)
        matter = replace(matter, freedom=free)
        model = replace(state.model, calibration=replace(calibration, matter=matter))
        return replace(state, model=model)

    def _judged(self, problem: Problem, state: State, new: State) -> State:
        """Return the state with other matter, if that is better than what it has."""
        made = problem.calibrated(new.model.calibration)
        omega = new.model.structure_factor(made.factor)
        model, verdict = judge(made, new.model, omega, self.significance)
        if verdict.wrong > _MOST * state.verdict.wrong:
            return state
        return replace(new, model=model, verdict=verdict).changed(new.positions)
