"""The reconstruction: from photon counts to every atom (paper Algorithm 1)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prammol.core.defaults import RECONSTRUCTION
from prammol.core.errors import DataError, InputError, SimulationError
from prammol.core.memory import keep_freed_memory, resident_mib
from prammol.core.parallel import Communicator
from prammol.diffraction.dataset import Diffraction, local_shard
from prammol.diffraction.debye_waller import thermal_structure_factor
from prammol.diffraction.structure_factor import StructureFactor
from prammol.diffraction.support import Support
from prammol.likelihood.poisson import poisson_log_likelihood
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import Potential, aluminium
from prammol.reconstruction.presets import Preset, get_preset, stage_name
from prammol.reconstruction.problem import Problem, State
from prammol.reconstruction.result import Reconstruction
from prammol.reconstruction.uncertainty.mean_density import mean_density
from prammol.reconstruction.uncertainty.per_atom import error_bars
from prammol.structure.atoms import Atoms

Record = dict[str, Any]
_SLOW = 2  # iterations that may hardly help
# While more of the atoms are wrong the misfit goes up and down before it falls.
_FEW = 0.05
_TOO_GOOD = 5.0  # standard deviations below pure noise


def reconstruct(
    data: Diffraction,
    support: Support,
    potential: Potential | None = None,
    preset: str | Preset = RECONSTRUCTION["preset"],
    seed: int = 0,
    comm: Communicator | None = None,
    settings: Mapping[str, Any] | None = None,
    on_iteration: Callable[[Record], None] | None = None,
    on_state: Callable[[State, list[Record]], None] | None = None,
    on_start: Callable[[str, State], None] | None = None,
    resume: tuple[State, list[Record]] | None = None,
    threads: int = 1,
    epsilon: float = 1e-7,
    keep_frames: bool = False,
) -> Reconstruction:
    """Find the atoms that scattered the counts.

    Called together by all ranks of the communicator; all get the same result.

    Parameters
    ----------
    data : Diffraction
        Photon counts around at least three independent Bragg peaks.
    support : Support
        Where there may be atoms.
    potential : Potential, optional
        Interatomic potential; aluminium of Mishin et al. 1999 if not given.
    preset : str or Preset
        ``"default"`` or ``"paper"`` (Algorithm 1 as printed), or one's own.
    seed : int
        Seed of all random choices.
    comm : Communicator, optional
        The ranks that share the points; a single process if not given.
    settings : mapping, optional
        Settings of the preset to change, by name: ``{"fit_positions.fraction": 0.01}``.
    on_iteration : callable, optional
        Called with the record of each iteration (see Returns) on every rank.
    on_state : callable, optional
        Called after each iteration with the state and the history: enough to resume.
    on_start : callable, optional
        Called with the name of a stage and the state it returned, for the stages of each start
        but its last, of which `on_state` tells: for films.
    resume : (State, list of records), optional
        What `on_state` was given, to continue from there. The random choices of
        an iteration depend on its number only, so a resumed run finds the same atoms.
    threads : int
        Threads of one Fourier transform, per rank.
    epsilon : float
        Relative accuracy of the Fourier transforms.
    keep_frames : bool
        Whether to keep the positions after each iteration, for films.

    Returns
    -------
    Reconstruction
        Its ``history`` has one record per iteration, the first (iteration 0) for the start:
        ``iteration, log_likelihood, atoms, added, removed, selected, scale, energy`` [eV],
        ``energy_per_atom`` [eV], where known ``excess`` (of the misfit over pure noise, in
        standard deviations) and ``wrong`` (the same in missing atoms), ``bond`` (what a bond is
        worth in a faint crystal, as a log-likelihood, once it is learnt), ``stalled`` (true where
        two iterations hardly lowered it), ``seconds`` and ``stages`` (seconds of each stage),
        ``memory_mib`` and ``memory_peak_mib`` (resident memory of the largest rank, now and at
        most so far [MiB]; 0 where the system doesn't say).

    Raises
    ------
    InputError
        If the preset or a setting doesn't exist.
    DataError
        If the peaks don't determine positions in three dimensions, or no atom is left.
    SimulationError
        If LAMMPS fails, or the likelihood isn't finite.
    """
    keep_freed_memory()
    plan = preset if isinstance(preset, Preset) else get_preset(preset)
    plan = plan.with_settings(settings or {})
    comm = comm or Communicator()
    potential = potential or aluminium()
    clock = _Clock()
    problem = make_problem(data, support, potential, seed, comm, threads, epsilon)
    frames: list[NDArray[np.float64]] = []

    def visit(state: State, history: list[Record]) -> None:
        if on_iteration is not None:
            on_iteration(history[-1])
        if on_state is not None:
            on_state(state, history)
        if keep_frames:
            frames.append(state.positions)

    try:
        state, history, reason = _run(problem, plan, resume, clock, visit, on_start)
        density = None
        columns = {"energy": problem.cluster.atom_energies(state.positions)}
        if len(state.displacements):
            columns["mean_square_displacement"] = state.displacements
        if len(state.site_occupancies):
            columns["occupancy"] = state.site_occupancies
        if plan.error_bars:
            columns |= error_bars(problem, state)
            density = mean_density(problem, state)
    finally:
        problem.cluster.close()
    converged = reason == "converged" or (reason == "patience" and not plan.judges)
    if converged and history[-1].get("excess", 0.0) < -_TOO_GOOD and data.fractional():
        # Less noise than photons have: that the misfit is small says nothing.
        converged, reason = False, "counts aren't photons"
    wall, core = clock.read()
    return Reconstruction(
        atoms=Atoms(state.positions, potential.element, columns=columns),
        scale=state.scale,
        history=history,
        converged=converged,
        reason=reason,
        wall_s=comm.max(wall),
        core_s=comm.sum(core),
        ranks=comm.size,
        seed=seed,
        preset=plan.name,
        settings=plan.settings(),
        frames=frames,
        density=density,
    )


def make_problem(
    data: Diffraction,
    support: Support,
    potential: Potential,
    seed: int,
    comm: Communicator,
    threads: int = 1,
    epsilon: float = 1e-7,
) -> Problem:
    """Return what the stages work on: this rank's points, its transforms, LAMMPS.

    Raises
    ------
    DataError
        If the peaks don't determine positions in three dimensions.
    InputError
        If there are more ranks than planes of points to share.
    """
    data.require_three_dimensions()
    planes = sum(p.shape[0] for p in data.patches)
    if comm.size > planes:
        msg = f"{comm.size} ranks for {planes} planes of points; expected at most {planes} ranks"
        raise InputError(msg)
    shard = local_shard(data, comm)
    return Problem(
        data=data,
        shard=shard,
        factor=StructureFactor(shard.patches, epsilon, threads),
        support=support,
        cluster=Cluster(potential, comm),
        seed=seed,
        comm=comm,
    )


def _run(
    problem: Problem,
    plan: Preset,
    resume: tuple[State, list[Record]] | None,
    clock: _Clock,
    visit: Callable[[State, list[Record]], None],
    on_start: Callable[[str, State], None] | None,
) -> tuple[State, list[Record], str]:
    """Run the stages until there is a reason to stop; return it with the state and history."""

    def report(state: State, stages: dict[str, float]) -> State:
        idle = 0 if not history or state.selected else _idle(history) + 1
        stalled = _stalled(plan, state, history)
        if _reason_to_stop(plan, state, idle, stalled):
            state, more = _apply(plan.finish, problem, state)
            stages = {**stages, **more}
        history.append(_record(problem, state, stages, clock.lap()))
        if stalled:
            history[-1]["stalled"] = True
        _require_finite(state, history[-1])
        problem.cluster.forget()  # so that a resumed run has the same bits
        visit(state, history)
        return state

    if resume is not None:
        state, history = resume[0], list(resume[1])
    else:
        history = []
        state, seconds = _best_start(plan, problem, on_start)
        state = report(state, seconds)
    while not (reason := _reason_to_stop(plan, state, _idle(history), _ended(history))):
        state = replace(state, added=0, removed=0, selected=False, slow=_slow(plan, history))
        state, seconds = _apply(plan.loop, problem, state)
        state = report(replace(state, iteration=state.iteration + 1, training=None), seconds)
    return state, history, reason


def _best_start(
    plan: Preset, problem: Problem, on_start: Callable[[str, State], None] | None
) -> tuple[State, dict[str, float]]:
    """Try starts until one is good; return the best, and the seconds of all."""
    best: State | None = None
    wrong: list[float] = []
    total: dict[str, float] = {}
    for number in range(plan.starts):
        state = State(np.empty((0, 3)), 1.0, start=number)
        state, seconds = _apply(plan.start, problem, state, on_start)
        total = {name: total.get(name, 0.0) + value for name, value in seconds.items()}
        if best is None or state.wrong < best.wrong:
            best = state
        wrong.append(state.wrong)
        # With few photons noise alone is worth many atoms: what explains the data is good. Two
        # that agree are as good as a model can be that doesn't explain all, of a warm crystal.
        if best.explained or best.wrong < plan.good_start * len(wrong) * len(best.positions):
            break
        if number and sorted(wrong)[1] < (1 + plan.same_start) * best.wrong:
            break
    assert best is not None
    return best, total


def _apply(
    stages: tuple[Any, ...],
    problem: Problem,
    state: State,
    between: Callable[[str, State], None] | None = None,
) -> tuple[State, dict[str, float]]:
    """Run stages one after the other; return the state and the seconds each took."""
    seconds: dict[str, float] = {}
    for stage in stages:
        begin = time.perf_counter()
        state = stage(problem, state)
        name = stage_name(stage)
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - begin
        if between is not None and stage is not stages[-1]:
            between(name, state)
    return _as_stored(state), seconds


def _as_stored(state: State) -> State:
    """Return the state with its arrays in C order, as they would come back from a file.

    The last bits of a sum depend on the order in memory, too.
    """
    return replace(
        state,
        positions=np.ascontiguousarray(state.positions),
        occupancies=np.ascontiguousarray(state.occupancies),
        candidates=np.ascontiguousarray(state.candidates),
        displacements=np.ascontiguousarray(state.displacements),
        site_occupancies=np.ascontiguousarray(state.site_occupancies),
    )


def _reason_to_stop(plan: Preset, state: State, idle: int, stalled: bool) -> str:
    """Return why the reconstruction ends, or an empty string."""
    if state.converged:
        return "converged"
    if idle >= plan.patience or stalled:
        return "converged" if state.explained else "patience"
    if state.iteration >= plan.max_iterations:
        return "max_iterations"
    return ""


def _idle(history: list[Record]) -> int:
    """Return how many iterations in a row have selected nothing; the start isn't one."""
    return next((n for n, r in enumerate(reversed(history[1:])) if r["selected"]), len(history) - 1)


def _stalled(plan: Preset, state: State, history: list[Record]) -> bool:
    """Tell whether the last two iterations, the one at hand included, hardly helped."""
    wrong = [r["wrong"] for r in history if "wrong" in r]
    if plan.least_progress == 0 or state.explained or len(wrong) < max(len(history), _SLOW):
        return False
    if state.wrong > _FEW * len(state.positions):
        return False
    before = min(wrong[: 1 - _SLOW])
    return min(*wrong[1 - _SLOW :], state.wrong) > (1.0 - plan.least_progress) * before


def _slow(plan: Preset, history: list[Record]) -> bool:
    """Tell whether the last iteration hardly lowered the misfit, though few atoms are wrong."""
    wrong = [r.get("wrong", 0.0) for r in history[-2:]]
    if plan.least_progress == 0 or len(wrong) < 2 or wrong[0] <= 0:
        return False
    if wrong[1] > _FEW * history[-1]["atoms"]:
        return False
    return bool(wrong[1] > (1.0 - plan.least_progress) * wrong[0])


def _ended(history: list[Record]) -> bool:
    """Tell whether the last iteration found that it hardly helped: then it has finished."""
    return bool(history[-1].get("stalled", False))


def _record(problem: Problem, state: State, stages: dict[str, float], seconds: float) -> Record:
    """Return what is known after an iteration; the log-likelihood is over all valid points."""
    x, valid = state.positions, problem.shard.valid
    omega = thermal_structure_factor(problem.factor, x, state.displacements, state.site_occupancies)
    energy, _ = problem.cluster.energy_forces(x)
    known = {"excess": state.excess, "wrong": state.wrong} if np.isfinite(state.excess) else {}
    if state.bond != State.bond:
        known["bond"] = state.bond
    memory, peak = (problem.comm.max(value) for value in resident_mib())
    return {
        "iteration": state.iteration,
        **known,
        "log_likelihood": poisson_log_likelihood(
            problem.shard.counts[valid],
            omega[valid],
            state.scale,
            problem.comm,
            problem.shard.background_at(valid),
        ),
        "atoms": len(x),
        "added": state.added,
        "removed": state.removed,
        "selected": state.selected,
        "scale": state.scale,
        "energy": energy,
        "energy_per_atom": energy / max(len(x), 1),
        "seconds": seconds,
        "stages": stages,
        "memory_mib": memory,
        "memory_peak_mib": peak,
    }


def _require_finite(state: State, record: Record) -> None:
    """Raise if an iteration ended in nothing or in nonsense, before its state is kept."""
    after = f"after iteration {record['iteration']}"
    if record["atoms"] == 0:
        msg = (
            f"no atom is left {after}; do counts, support and potential belong to one crystal, "
            f"and are there photons enough?"
        )
        raise DataError(msg)
    if not all(np.isfinite([record["log_likelihood"], state.scale, record["energy"]])):
        msg = (
            f"{after} the log-likelihood is {record['log_likelihood']:g} and C is {state.scale:g}, "
            f"they should be finite; look for points with impossible counts and mask them"
        )
        raise SimulationError(msg)


class _Clock:
    """Wall and processor time of this rank since it was made."""

    def __init__(self) -> None:
        self._wall = self._lap = time.perf_counter()
        self._core = time.process_time()

    def lap(self) -> float:
        """Return the wall time since the last lap [s]."""
        now = time.perf_counter()
        last, self._lap = self._lap, now
        return now - last

    def read(self) -> tuple[float, float]:
        """Return wall and processor time in all [s]."""
        return time.perf_counter() - self._wall, time.process_time() - self._core
