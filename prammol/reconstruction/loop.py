"""The reconstruction: from photon counts to every atom (paper Algorithm 1)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from prammol.core.defaults import RECONSTRUCTION
from prammol.core.errors import InputError
from prammol.core.memory import keep_freed_memory
from prammol.core.parallel import Communicator
from prammol.diffraction.dataset import Diffraction, local_shard
from prammol.diffraction.detector_flaws import masked_flaws
from prammol.diffraction.photon_flux import with_form_factor
from prammol.diffraction.structure_factor import StructureFactor
from prammol.diffraction.support import Support
from prammol.phasing.known_reflections import oriented
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import Potential, aluminium
from prammol.reconstruction.clock import Clock
from prammol.reconstruction.continuing import (
    better_of,
    is_doubtful,
    is_undecided,
    room_and_state,
    with_initial,
)
from prammol.reconstruction.diagnosis import diagnose, found_besides, outstanding
from prammol.reconstruction.earlier_state import EarlierState
from prammol.reconstruction.effects import Unexplained
from prammol.reconstruction.history import Record, record_of, require_finite
from prammol.reconstruction.model import Model, atoms_of
from prammol.reconstruction.observer import Observer
from prammol.reconstruction.preset import Preset
from prammol.reconstruction.presets import get_preset
from prammol.reconstruction.problem import Problem, extent_of, responding, scatterers_of
from prammol.reconstruction.result import Reconstruction
from prammol.reconstruction.setting_kinds import name_of
from prammol.reconstruction.state import LoopStatus, State
from prammol.reconstruction.stopping import (
    doubt_about,
    good_enough_start,
    is_slow,
    is_stalled,
    is_stalling,
    iterations_without_selection,
    reason_to_stop,
)
from prammol.reconstruction.strain_or_geometry import STRAIN_OR_GEOMETRY, cause_of, strain_taken
from prammol.reconstruction.uncertainty.mean_density import mean_density
from prammol.reconstruction.uncertainty.per_atom import error_bars
from prammol.reconstruction.uncertainty.shape_posterior import shape_posterior
from prammol.structure.atoms import Atoms
from prammol.structure.crystal_fields import crystal_fields

_LEFT = 0.5  # derived: a loop taken up again halves what is wrong each time, so it ends


def reconstruct(
    data: Diffraction,
    support: Support | None,
    potential: Potential | None = None,
    preset: str | Preset = RECONSTRUCTION["preset"],
    seed: int = 0,
    comm: Communicator | None = None,
    settings: Mapping[str, Any] | None = None,
    observer: Observer | None = None,
    resume: tuple[State, list[Record]] | None = None,
    threads: int = 1,
    epsilon: float = 1e-7,  # chosen: vacancy crystal, preset paper; 1e-9 ends in the same atoms
    initial: EarlierState | None = None,
) -> Reconstruction:
    """Find the atoms that scattered the counts.

    Called together by all ranks; all get the same result.

    Parameters
    ----------
    data : Diffraction
        Counts around three independent Bragg peaks, or fewer if others are known.
    support : Support or None
        Where there may be atoms; None if an earlier state is given and nothing else may be tried.
    potential : Potential, optional
        Interatomic potential; aluminium of Mishin et al. 1999 if not given.
    preset : str or Preset
        ``"default"``, ``"shape"``, ``"paper"`` (Algorithm 1 as printed), or one's own.
    seed : int
        Seed of all random choices.
    comm : Communicator, optional
        The ranks that share the points; a single process if not given.
    settings : mapping, optional
        Settings of the preset to change, by name: ``{"fit_positions.fraction": 0.01}``.
    observer : Observer, optional
        Told of each stage and iteration, on every rank.
    resume : (State, list of records), optional
        What :meth:`Observer.iterated` was given, to continue from there.
    threads : int
        Threads of one Fourier transform, per rank.
    epsilon : float
        Relative accuracy of the transforms.
    initial : EarlierState, optional
        Another state, to start from unless the counts contradict it.

    Returns
    -------
    Reconstruction
        Its ``history`` has a :func:`~prammol.reconstruction.history.record_of` of each iteration.

    Raises
    ------
    InputError
        If the preset or a setting doesn't exist, or the points don't hold what the response of the
        detector is computed from.
    DataError
        If the peaks don't determine positions in three dimensions, or no atom is left.
    SimulationError
        If LAMMPS fails, or the likelihood isn't finite.
    """
    keep_freed_memory()
    plan = preset if isinstance(preset, Preset) else get_preset(preset)
    plan = plan.with_settings(settings or {})
    if data.response is not None and not plan.judges:
        msg = (
            f"preset {plan.name} knows no response of the detector, expected preset default, or "
            "data without one"
        )
        raise InputError(msg)
    comm = comm or Communicator()
    potential = potential or aluminium()
    plan.require_known(potential)
    clock = Clock()
    if plan.control.mask_flaws:
        data = masked_flaws(data)
    support, initial = room_and_state(support, initial)
    problem = make_problem(data, support, potential, seed, comm, threads, epsilon)
    observer = observer or Observer()
    try:
        problem = with_initial(problem, plan, initial, observer)
        run = _Run(problem, plan, observer, clock)
        state, history, reason = run.from_start() if resume is None else run.resumed(*resume)
        problem = run.problem
        columns, info, density, vacant = _described(problem, plan, state)
        wrong = plan.judges and not state.verdict.right
        about = diagnose if wrong else found_besides
        diagnosis = about(problem, state.model) if plan.judges else ()
        undecided = is_undecided(problem, state)
        taken = strain_taken(problem, state.model) if plan.judges and not wrong else None
    finally:
        problem.cluster.close()
    matter = state.model.calibration.matter if state.model.calibration else None
    converged = reason == "converged" or (reason == "patience" and not plan.judges)
    fractional, shapes = bool(data.fractional()), bool(plan.control.shapes)
    if converged and (doubt := doubt_about(history, fractional, undecided, bool(matter), shapes)):
        converged, reason = False, doubt
    if taken is not None:
        diagnosis = (cause_of(taken), *diagnosis)
        if taken.offset:
            converged, reason = False, STRAIN_OR_GEOMETRY
    wall, core = clock.read()
    return Reconstruction(
        atoms=atoms_of(potential, state.model, columns, info),
        scale=state.model.scale,
        history=history,
        converged=converged,
        reason=reason,
        wall_s=comm.max(wall),
        core_s=comm.sum(core),
        ranks=comm.size,
        seed=seed,
        preset=plan.name,
        settings=plan.settings(),
        density=density,
        vacant=vacant,
        calibration=state.model.calibration_of(problem.data.patches),
        diagnosis=diagnosis,
    )


def make_problem(
    data: Diffraction,
    support: Support,
    potential: Potential,
    seed: int,
    comm: Communicator,
    threads: int = 1,
    epsilon: float = 1e-7,  # chosen: as of reconstruct; see there
) -> Problem:
    """Return what the stages work on: this rank's points, its transforms, LAMMPS.

    Raises
    ------
    DataError
        If the peaks don't determine positions in three dimensions, nor the orientation.
    InputError
        If there are more ranks than planes of points, the points don't hold the intensity of the
        object and the detector has a response, or the potential is of other elements, or of
        several without sites of their own.
    """
    data = oriented(data, potential)
    data.require_three_dimensions()
    data = with_form_factor(data, potential.element)
    scatterers = scatterers_of(data, potential)
    planes = sum(p.shape[0] for p in data.patches)
    if comm.size > planes:
        msg = f"{comm.size} ranks for {planes} planes of points; expected at most {planes} ranks"
        raise InputError(msg)
    shard = responding(local_shard(data, comm), data, extent_of(support, potential))
    return Problem(
        data=data,
        shard=shard,
        factor=StructureFactor(shard.patches, epsilon, threads, shard.amplitude, scatterers),
        support=support,
        cluster=Cluster(potential, comm),
        seed=seed,
        comm=comm,
    )


class _Run:
    """One reconstruction from its start, or from where it was interrupted, to its end."""

    def __init__(self, problem: Problem, plan: Preset, observer: Observer, clock: Clock) -> None:
        self.problem, self._whole, self._plan = problem, problem, plan
        self._observer, self._clock = observer, clock
        self._history: list[Record] = []
        self._outliers = 0

    def from_start(self) -> tuple[State, list[Record], str]:
        """Start and iterate; return the last state, all records and why it ended."""
        state, seconds = self._begun()
        return self._iterated(self._reported(state, seconds))

    def _begun(self) -> tuple[State, dict[str, float]]:
        """Return the start: an earlier state, or where the counts contradict it the usual one."""
        if self._whole.earlier is None:
            return self._best_start()
        state, seconds = self._applied(self._plan.continued, State.empty(), self._observer)
        state = replace(state, handed=())
        if is_doubtful(self.problem, state, ended=False):
            usual, more = self._best_start()
            state, seconds = better_of(state, usual, self._observer), {**seconds, **more}
        self._forget_earlier(state)
        return state, seconds

    def _forget_earlier(self, state: State) -> None:
        """Leave an earlier state that isn't used any more out of the problem."""
        if not state.status.earlier:
            self._whole = replace(self._whole, earlier=None)
            self.problem = replace(self.problem, earlier=None)

    def resumed(self, state: State, history: list[Record]) -> tuple[State, list[Record], str]:
        """Iterate from a state and its history; return as :meth:`from_start`."""
        self._history = list(history)
        self._forget_earlier(state)
        return self._iterated(state)

    def _iterated(self, state: State) -> tuple[State, list[Record], str]:
        """Run the stages of the loop until there is a reason to stop (Algorithm 1)."""
        plan, history = self._plan, self._history
        while not (reason := self._reason(state)):
            start, iteration = state.status.start, state.status.iteration
            stalling, slow = is_stalling(plan, history), is_slow(history)
            status = LoopStatus(
                start, iteration, stalling=stalling, slow=slow, earlier=state.status.earlier
            )
            state, seconds = self._applied(plan.loop, replace(state, status=status))
            status = replace(state.status, iteration=state.status.iteration + 1)
            state = self._reported(replace(state, status=status, handed=()), seconds)
        if is_doubtful(self.problem, state, ended=True):
            usual, seconds = self._best_start()
            if better_of(state, usual, self._observer) is usual:
                self._history.clear()
                self._forget_earlier(usual)
                return self._iterated(self._reported(usual, seconds))
        self._mask_outliers(state)
        return state, history, reason

    def _mask_outliers(self, state: State) -> None:
        """Make the problem of a model, without the points that only a detector can explain.

        Anew for each stage: what a wrong model blames on the detector is the crystal's later.
        """
        model = state.model
        if not (self._plan.control.mask_flaws and len(state.positions)):
            self.problem = _made_for(self.problem, model)
            return
        whole = _made_for(self._whole, model)
        points = outstanding(Unexplained(whole, state.model))
        self.problem = whole.without(points)
        self._outliers = sum(int(p.sum()) for p in points)

    def _reason(self, state: State) -> str:
        idle = iterations_without_selection(self._history)
        return reason_to_stop(self._plan, state, idle, self._history[-1].get("stalled", False))

    def _reported(self, state: State, seconds: dict[str, float]) -> State:
        """Finish if this is the last iteration; record it and tell the observer."""
        plan, history = self._plan, self._history
        selected = state.status.selected or not history
        idle = 0 if selected else iterations_without_selection(history) + 1
        stalled = is_stalled(plan, state, history)
        if reason_to_stop(plan, state, idle, stalled):
            before = state
            state, more = self._applied(plan.finish, state)
            seconds = {**seconds, **more}
            if (again := self._taken_up(before, state)) is not None:
                state, stalled = again, False
        problem = self.problem
        record = record_of(problem, state, seconds, self._clock.lap())
        if plan.control.mask_flaws:
            record["outliers"] = self._outliers
        history.append({**record, "stalled": True} if stalled else record)
        require_finite(state, history[-1])
        problem.cluster.forget()  # so that a resumed run has the same bits
        self._observer.iterated(state, history)
        return state

    def _taken_up(self, before: State, after: State) -> State | None:
        """Return the atoms of the finish at rest if the loop should go on from them, or None.

        The finish looks for atoms while the held-out points confirm them; the loop had worse ones.
        """
        last = before.status.iteration >= self._plan.control.max_iterations
        if not self._plan.again or last or before.verdict.explained or after.verdict.right:
            return None
        problem = self.problem
        rest = replace(after, model=after.model.at_rest()).changed(after.positions)
        rest, _ = self._applied(self._plan.again, rest)
        if rest.verdict.wrong < _LEFT * before.verdict.wrong:
            return rest
        self.problem = problem
        return None

    def _best_start(self) -> tuple[State, dict[str, float]]:
        """Try starts until one is good; return the best, and the seconds of all."""
        plan, tried = self._plan, list[State]()
        total: dict[str, float] = {}
        for number in range(plan.control.starts):
            self.problem = self._whole
            state, seconds = self._applied(plan.start, State.empty(number), self._observer)
            tried.append(replace(state, handed=()))
            total = {name: total.get(name, 0.0) + value for name, value in seconds.items()}
            if good_enough_start(plan, tried):
                break
        best = min(tried, key=lambda state: state.verdict.wrong)
        self.problem = self.problem.labelled(best.model.labels)
        return best, total

    def _applied(
        self, stages: tuple[Any, ...], state: State, observer: Observer | None = None
    ) -> tuple[State, dict[str, float]]:
        """Run stages one after the other; return the state and the seconds each took."""
        seconds: dict[str, float] = {}
        for number, stage in enumerate(stages, start=1):
            begin = time.perf_counter()
            name = name_of(type(stage))
            self._observer.entered(name, number, len(stages))
            self._mask_outliers(state)
            state = stage(self.problem, state)
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - begin
            if observer is not None and stage is not stages[-1]:
                observer.started(name, state)
        model = state.model.contiguous()
        self.problem = _made_for(self.problem, model)
        return replace(state, model=model), seconds


def _made_for(problem: Problem, model: Model) -> Problem:
    """Return the problem with what a model has found besides its atoms."""
    made = problem.with_diffuse(model.diffuse).calibrated(model.calibration)
    return made.labelled(model.labels)


def _described(
    problem: Problem, plan: Preset, state: State
) -> tuple[dict[str, NDArray[Any]], dict[str, Any], Atoms | None, Atoms | None]:
    """Return columns of the atoms, the lattice, the density if it is warm, vacant sites."""
    model, iteration = state.model, state.status.iteration
    columns = {"energy": problem.cluster.atom_energies(model.positions), **model.columns()}
    density = vacant = None
    if plan.control.error_bars:
        bars, vacant = error_bars(problem, model, iteration)
        columns |= bars
        density = mean_density(problem, model, iteration)
    elif plan.control.shapes:
        bars, vacant = shape_posterior(problem, model, iteration, plan.settings())
        columns |= bars
    fields, info = crystal_fields(model.positions, problem.potential.lattice)
    return columns | fields, info, density, vacant
